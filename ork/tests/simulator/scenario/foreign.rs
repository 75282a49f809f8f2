//! Messages that other programs publish.

use ork::JobId;
use ork_core::message::{Message, WorkKind};
use ork_ports::broker::{DeadLetterReason, Rejected};
use serde::{Deserialize, Serialize};

use crate::broker::Letter;

/// A message that another program publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Foreign {
    /// A body that is not a message of ork.
    Unreadable,
    /// A message with a task that no worker knows.
    UnknownTask,
    /// A message of a part of an unknown job.
    UnknownJob,
}

impl Foreign {
    /// Returns the letter that is published at this moment.
    pub(crate) fn letter(self, now: u64) -> Letter {
        let mut job = [0; 16];
        job.iter_mut().zip(now.to_be_bytes()).for_each(|(to, from)| *to = from);
        let message = Message { body: "null".into(), ..Message::about(JobId::from_bytes(job), "strange") };
        let message = match self {
            Self::Unreadable => {
                let detail = "its header is wrong".to_owned();
                let (reply, job, task, hooks) = (None, None, None, None);
                Err(Rejected { reason: DeadLetterReason::Undecodable, detail, reply, job, task, hooks })
            }
            Self::UnknownTask => Ok(message),
            Self::UnknownJob => {
                Ok(Message { task: "many".to_owned(), kind: WorkKind::Part { epoch: 1, index: 0 }, ..message })
            }
        };
        Letter { message, is_copy: false, anonymous: self == Self::Unreadable, foreign: true }
    }
}
