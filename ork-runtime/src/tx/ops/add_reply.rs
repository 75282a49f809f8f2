//! Sending the outcome of a known job to one more reply queue.

use super::super::operation::Operation;
use super::super::transaction::Transaction;
use crate::failure::FailureKind;
use crate::id::JobId;
use crate::job::ReplyTo;

/// Adds a reply queue to a job that the store knows.
#[derive(Debug, Clone)]
pub struct AddReply {
    /// The job.
    pub job: JobId,
    /// The task that the message names; a job of another task is left alone.
    pub task: String,
    /// Where to send the outcome.
    pub reply: ReplyTo,
}

/// The output of [`AddReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyAdded {
    /// The outcome is sent there when the job ends.
    Registered,
    /// The job has ended: the caller sends the outcome.
    Ended {
        /// Whether the outcome was already sent there, or is in the outbox.
        known: bool,
    },
    /// There is no such job of this task.
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
            // A job whose unique key was taken has ended when its first message came, usually this one.
            let key_taken = loaded.job.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Taken);
            return if known && key_taken { ReplyAdded::Registered } else { ReplyAdded::Ended { known } };
        }
        loaded.dirty |= loaded.job.add_reply(&self.reply);
        ReplyAdded::Registered
    }
}
