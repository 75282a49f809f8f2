//! Asking again for the outcome of a job that the store knows.

use super::{Operation, Transaction};
use crate::failure::FailureKind;
use crate::id::JobId;
use crate::job::ReplyTo;

/// Notes where else the outcome of a job is to be sent.
#[derive(Debug, Clone)]
pub struct AddReply {
    /// The job.
    pub job: JobId,
    /// The task that the message names. A job of another one is not meant.
    pub task: String,
    /// Where the outcome is to be sent.
    pub reply: ReplyTo,
}

/// The answer to [`AddReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyAdded {
    /// It is sent there when the job has ended.
    Registered,
    /// The job has ended: the caller sends it.
    Ended {
        /// Whether it was sent there when the job ended, or is still owed.
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

    fn apply(&self, transaction: &mut Transaction) -> ReplyAdded {
        let Some(entry) = transaction.get_mut(self.job).filter(|entry| entry.job.task == self.task) else {
            return ReplyAdded::NotFound;
        };
        if entry.job.state.is_final() {
            let known = entry.job.replies().any(|known| *known == self.reply);
            // A job whose key was taken ended when its first message came, which is this one as a rule.
            let taken = entry.job.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Taken);
            return if known && taken { ReplyAdded::Registered } else { ReplyAdded::Ended { known } };
        }
        entry.dirty |= entry.job.add_reply(&self.reply);
        ReplyAdded::Registered
    }
}
