//! Runs of workflows: beginning one, and what follows when one of its tasks ends.

use bytes::Bytes;

use super::books::Books;
use super::jobs::NewJob;
use super::owed::Owed;
use super::{Answer, By, Operation};
use crate::flow::{Flow, FlowStep};
use crate::id::JobId;
use crate::job::{Job, Kind};
use crate::role::Role;

/// Begins a claimed run, or goes on with one that was taken up again: it waits for its tasks from now on, and those that
/// can begin do.
#[derive(Debug, Clone)]
pub struct BeginRun {
    /// The run.
    pub job: JobId,
    /// Which attempt it is.
    pub attempt: u32,
    /// Its tasks; of no consequence to a run that had begun before.
    pub flow: Flow,
    /// Who begins it.
    pub by: By,
}

impl Operation for BeginRun {
    type Answer = Answer;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, books: &mut Books) -> Answer {
        let Some(entry) = books.current(self.job, self.attempt) else { return Answer::Old };
        entry.job.wait_for_tasks(&self.flow);
        entry.dirty = true;
        Answer::Counted(books.advance(self.job, &self.by))
    }
}

impl Books {
    /// A task of a run may have ended: those that waited for it begin, or the run ends.
    pub(super) fn advance(&mut self, run: JobId, by: &By) -> Vec<Owed> {
        if self.get(run).is_none_or(|entry| entry.job.run().is_none()) {
            return Vec::new();
        }
        let begin = self.change(run, |job| {
            let step = |flow: &Flow, at: usize| flow.steps.get(at).map(|step| (at, step.clone()));
            let begin = job.begin_tasks();
            job.run().map(|flow| begin.iter().filter_map(|at| step(flow, *at)).collect::<Vec<_>>()).unwrap_or_default()
        });
        let mut owed = Vec::new();
        for step in begin {
            let Some(job) = self.get(run).map(|entry| task_of(&entry.job, step, by)) else { continue };
            owed.extend(self.submit(&NewJob { job, input: Bytes::from_static(b"null") }, by));
        }
        let effects = self.change(run, |job| job.end_run(by.now));
        owed.extend(self.pass_on(run, effects, by));
        owed
    }
}

/// The job of a task of a run.
fn task_of(run: &Job, (at, step): (usize, FlowStep), by: &By) -> Job {
    let id = step.job(run.id);
    let FlowStep { name, task, .. } = step;
    let mut job = Job::new(id, task, by.now);
    (job.root, job.parent, job.priority) = (run.root, Some(run.id), run.priority);
    (job.kind, job.role) = (Kind::Step, Some(Box::new(Role::Step { at, name })));
    job
}
