//! What a ledger knows apart from its shards.

use crate::policy::Policy;

/// Why no further part of a job may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Halt {
    /// Too many parts failed under the policy `stop`, or the split itself failed for good.
    Stopped,
    /// The job was cancelled.
    Cancelled,
}

/// What a ledger knows apart from its shards; kept with the job.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Head {
    /// Counts the runs of the split; what belongs to an older epoch is ignored. 0: never opened.
    pub epoch: u32,
    /// Parts `0..appended` exist.
    pub appended: u64,
    /// The number of parts, once it is final.
    pub sealed: Option<u64>,
    /// Set when no further part may start.
    pub halted: Option<Halt>,
    /// Set when a halt fixed the number of parts before the split had yielded them all.
    pub cut: bool,
    /// What failed parts mean.
    pub policy: Policy,
    /// Whether a join runs when all is settled.
    pub joined: bool,
}

impl Head {
    /// Whether the number of parts is final and not 0, so that a waiting job waits for parts. A cancel makes the number
    /// final, too: a run of a workflow that is retried after it has 0 parts and waits for its tasks.
    pub const fn has_all_parts(&self) -> bool {
        self.sealed.is_some() && self.appended > 0
    }
}
