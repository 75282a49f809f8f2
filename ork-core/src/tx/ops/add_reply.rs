//! Adds a reply queue to a job that exists.

use super::super::operation::Operation;
use super::super::transaction::Transaction;
use crate::failure::FailureKind;
use crate::id::JobId;
use crate::job::ReplyTo;

/// Adds a reply queue to a job in the store, so that its outcome is also sent there.
#[derive(Debug, Clone)]
pub struct AddReply {
    /// The job.
    pub job: JobId,
    /// The task that the message names. A job of another task is not changed.
    pub task: String,
    /// The address to which the outcome is sent.
    pub reply: ReplyTo,
}

/// The output of [`AddReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyAdded {
    /// The reply queue was added: the outcome is sent there when the job ends.
    Registered,
    /// The job has ended, so the caller must send the outcome.
    Ended {
        /// Whether the outcome was already sent there, or is in the outbox.
        known: bool,
    },
    /// No job of this task has this id.
    NotFound,
}

impl Operation for AddReply {
    type Output = ReplyAdded;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, tx: &mut Transaction) -> ReplyAdded {
        let Some(loaded) = tx.get_mut(self.job).filter(|loaded| loaded.job.task == self.task) else {
            return ReplyAdded::NotFound;
        };
        if loaded.job.state.is_final() {
            let known = loaded.job.replies().any(|known| *known == self.reply);
            // A job that failed because its unique key was taken ended on arrival of its first message, usually this
            // one.
            let key_taken = loaded.job.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Taken);
            return if known && key_taken { ReplyAdded::Registered } else { ReplyAdded::Ended { known } };
        }
        loaded.dirty |= loaded.job.add_reply(&self.reply);
        ReplyAdded::Registered
    }
}
