//! The head of a ledger: what it records apart from its shards.

use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// The reason why no further part of a job may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Halt {
    /// Too many parts failed under the policy `stop`, or the split itself failed permanently.
    Stopped,
    /// The job was cancelled.
    Cancelled,
}

/// The part of a ledger that is not in its shards. It is stored with the job.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// The number of the current run of the split. Anything that belongs to an older epoch is ignored. 0 if the split
    /// has never started.
    pub epoch: u32,
    /// The number of parts so far: parts `0..appended` exist.
    pub appended: u64,
    /// The final number of parts. `None` until it is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<u64>,
    /// Set when no further part may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<Halt>,
    /// Set when a halt fixed the number of parts before the split had yielded all of them.
    pub cut: bool,
    /// The policy for failed parts.
    pub policy: Policy,
    /// Whether the task's join runs after all parts have ended.
    pub has_join: bool,
}

impl Head {
    /// Whether the number of parts is fixed and not 0, so that a waiting job waits for parts. Cancelling fixes the
    /// number, too: a workflow run that is resumed after it was cancelled has 0 parts and waits for its steps.
    pub const fn has_all_parts(&self) -> bool {
        self.sealed.is_some() && self.appended > 0
    }
}
