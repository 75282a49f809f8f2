//! Rejects messages that no worker can run.

use std::sync::Arc;

use super::super::operation::Operation;
use super::super::transaction::Transaction;
use super::super::types::{Actor, Shards};
use super::NewJob;
use crate::event::EventKind;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{AttemptEnd, AttemptOutcome, JobClaim, Phase, State};
use crate::ledger::Halt;

/// Fails the job of a message that cannot be run, if the job is new or waits for this message. A job that a dead
/// process has left `running` counts as waiting.
///
/// A message that merely names some other job changes nothing: the right to publish messages is the right to submit
/// jobs, not to change them.
#[derive(Debug, Clone)]
pub struct RejectJob {
    /// The job, as far as it could be read from the message. It is created if its id is unknown.
    pub unknown: NewJob,
    /// The function and the attempt that the message requests. `None` if they could not be read.
    pub requested: Option<(Phase, u32)>,
    /// A process that is known to be dead, in the form in which jobs record their worker.
    pub dead: Option<String>,
    /// The failure that the job gets: why the message is rejected.
    pub failure: Failure,
    /// The process that rejects it.
    pub actor: Actor,
}

/// The output of [`RejectJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobRejection {
    /// The job has failed.
    Failed,
    /// This process runs the job. Nothing changed, and nothing may change while that process is alive.
    RunningElsewhere(String),
    /// The job does not wait for this message. Nothing changed.
    Ignored,
}

impl Operation for RejectJob {
    type Output = JobRejection;

    fn job(&self) -> JobId {
        self.unknown.job.id
    }

    fn with(&self) -> Option<JobId> {
        self.unknown.job.parent
    }

    /// Loads all shards, because a failed split that is about to be retried may have yielded parts.
    fn shards(&self, _tx: &Transaction) -> Shards {
        Shards::All(self.unknown.job.id)
    }

    fn apply(&self, tx: &mut Transaction) -> JobRejection {
        let NewJob { job, input } = &self.unknown;
        if tx.get(job.id).is_none() {
            tx.create(job.clone(), input.clone());
            tx.emit(job, EventKind::Created, &self.actor);
        }
        let Some(loaded) = tx.get_mut(job.id).filter(|loaded| loaded.job.task == job.task) else {
            return JobRejection::Ignored;
        };
        let known = &mut loaded.job;
        let (phase, attempt) = (known.phase, known.attempt);
        match known.state {
            State::Ready | State::Retrying => {}
            State::Running if self.requested.is_some_and(|requested| requested != (phase, attempt)) => {
                return JobRejection::Ignored;
            }
            State::Running if self.dead.is_some() && known.worker == self.dead => {}
            State::Running => return JobRejection::RunningElsewhere(known.worker.clone().unwrap_or_default()),
            State::Waiting | State::Succeeded | State::Failed | State::Cancelled => return JobRejection::Ignored,
        }
        let claimed = known.claim(phase, attempt, &self.actor.worker.to_string(), self.actor.now);
        debug_assert_eq!(claimed, JobClaim::Granted, "the job waits for a message");
        let outcome = AttemptOutcome::Failed { failure: self.failure.clone(), retry_at: None };
        let AttemptEnd::Applied(effects) = known.end_attempt(phase, attempt, outcome, self.actor.now) else {
            return JobRejection::Ignored;
        };
        loaded.dirty = true;
        if loaded.ledger.head().sealed.is_none() {
            loaded.ledger.halt(Halt::Stopped);
        }
        let job = Arc::new(loaded.job.clone());
        tx.apply_effects(&job, effects, None, &self.actor);
        JobRejection::Failed
    }
}
