//! Runs of workflows: beginning one, and what follows when one of its tasks ends.

use bytes::Bytes;

use super::jobs::NewJob;
use super::outbox::HeldRow;
use super::transaction::Transaction;
use super::{Actor, Operation, SettleResult};
use crate::id::JobId;
use crate::job::{Job, JobKind};
use crate::role::JobRole;
use crate::workflow_run::{RunStep, WorkflowRun};

/// Begins a claimed run, or goes on with one that was taken up again: it waits for its tasks from now on, and those that
/// can begin do.
#[derive(Debug, Clone)]
pub struct StartWorkflow {
    /// The run.
    pub job: JobId,
    /// Which attempt it is.
    pub attempt: u32,
    /// Its tasks; of no consequence to a run that had begun before.
    pub flow: WorkflowRun,
    /// Who begins it.
    pub actor: Actor,
}

impl Operation for StartWorkflow {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, transaction: &mut Transaction) -> SettleResult {
        let Some(entry) = transaction.current(self.job, self.attempt) else { return SettleResult::Stale };
        entry.job.wait_for_steps(&self.flow);
        entry.dirty = true;
        SettleResult::Applied(transaction.advance_workflow(self.job, &self.actor))
    }
}

impl Transaction {
    /// A task of a run may have ended: those that waited for it begin, or the run ends.
    pub(super) fn advance_workflow(&mut self, run: JobId, actor: &Actor) -> Vec<HeldRow> {
        if self.get(run).is_none_or(|entry| entry.job.workflow_run().is_none()) {
            return Vec::new();
        }
        let begin = self.update_job(run, |job| {
            let step = |flow: &WorkflowRun, at: usize| flow.steps.get(at).map(|step| (at, step.clone()));
            let begin = job.start_ready_steps();
            job.workflow_run()
                .map(|flow| begin.iter().filter_map(|at| step(flow, *at)).collect::<Vec<_>>())
                .unwrap_or_default()
        });
        let mut to_send = Vec::new();
        for step in begin {
            let Some(job) = self.get(run).map(|entry| step_job(&entry.job, step, actor)) else { continue };
            to_send.extend(self.submit(&NewJob { job, input: Bytes::from_static(b"null") }, actor));
        }
        let effects = self.update_job(run, |job| job.end_workflow(actor.now));
        to_send.extend(self.apply_job_effects(run, effects, actor));
        to_send
    }
}

/// The job of a task of a run.
fn step_job(run: &Job, (at, step): (usize, RunStep), actor: &Actor) -> Job {
    let id = step.job(run.id);
    let RunStep { name, task, .. } = step;
    let mut job = Job::new(id, task, actor.now);
    (job.root, job.parent, job.priority) = (run.root, Some(run.id), run.priority);
    (job.kind, job.role) = (JobKind::Step, Some(Box::new(JobRole::Step { at, name })));
    job
}
