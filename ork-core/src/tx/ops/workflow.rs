//! Starts workflow runs.

use super::super::operation::Operation;
use super::super::transaction::Transaction;
use super::super::types::{Actor, SettleResult};
use crate::id::JobId;
use crate::job::role::JobRole;
use crate::job::workflow_run::{RunStep, WorkflowRun};
use crate::job::{Job, JobKind};

/// Starts a claimed workflow run, or continues one that was resumed: starts the steps that can start, and lets the run
/// wait for its steps.
#[derive(Debug, Clone)]
pub struct StartWorkflow {
    /// The job of the run.
    pub job: JobId,
    /// The attempt that was claimed.
    pub attempt: u32,
    /// The steps of the run. A run that has started before keeps its recorded steps.
    pub run: WorkflowRun,
    /// The process that starts it.
    pub actor: Actor,
}

impl Operation for StartWorkflow {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, tx: &mut Transaction) -> SettleResult {
        let Some(loaded) = tx.current(self.job, self.attempt) else { return SettleResult::Stale };
        loaded.job.wait_for_steps(&self.run);
        loaded.dirty = true;
        tx.advance_workflow(self.job, &self.actor);
        SettleResult::Applied
    }
}

/// Creates the job for a step of a workflow run.
pub(in super::super) fn step_job(run: &Job, at: usize, step: RunStep, actor: &Actor) -> Job {
    let id = step.job(run.id);
    let RunStep { name, task, .. } = step;
    let mut job = Job::new(id, task, actor.now);
    (job.root, job.parent, job.priority) = (run.root, Some(run.id), run.priority);
    (job.kind, job.role) = (JobKind::Step, Some(Box::new(JobRole::Step { at, name })));
    job
}
