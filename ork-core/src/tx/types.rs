//! Types that all operations share.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{Event, EventRouting};
use crate::id::{JobId, WorkerId};

/// The process for which an operation is applied, and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The id of the process.
    pub worker: WorkerId,
    /// The current time of its clock, which follows the clock of the store.
    pub now: Timestamp,
    /// Whether this process holds the new outbox rows. It then gets them with their messages, and sends them without
    /// taking them from the store.
    pub hold: bool,
    /// The events that are emitted, and the way in which they reach listeners.
    pub events: EventRouting,
}

/// The output of an operation that settles calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleResult {
    /// The result was recorded.
    Applied,
    /// The call was of an older attempt, or the job has ended. Nothing changed.
    Stale,
}

/// The shards of a ledger that an operation reads or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// No shard.
    None,
    /// The shard that contains this index.
    Of(JobId, u64),
    /// The shards that contain these two indices, and all shards between them.
    Between(JobId, u64, u64),
    /// All shards of the job.
    All(JobId),
}

impl Shards {
    /// Returns the shards that contain these indices of a job, and all shards between them.
    pub(super) fn spanning(job: JobId, indices: impl Iterator<Item = u64> + Clone) -> Self {
        match (indices.clone().min(), indices.max()) {
            (Some(first), Some(last)) => Self::Between(job, first, last),
            _ => Self::None,
        }
    }
}

/// A notice that a store sends to the listeners of this process after a commit.
///
/// Except for events, a notice only announces that something may have changed. Listeners read the store to see what.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreNotice {
    /// The outbox has rows that no process holds.
    OutboxReady,
    /// This job has ended.
    JobEnded(JobId),
    /// This job has started, or its parts or its progress have changed.
    JobChanged(JobId),
    /// Another process has changed something.
    ChangedElsewhere,
    /// An event, for listeners in this process.
    Event(Arc<Event>),
}

/// The failures that a committed operation survives before the store reports it as done.
///
/// A commit is only ever lost together with all later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The operation is written soon. Used for claims: if one is lost, its work is redelivered, and nothing else
    /// happens.
    Lazy,
    /// The operation survives the death of the process. Used for claims of work if the last worker may have died.
    Process,
    /// The operation survives a loss of power.
    PowerLoss,
}

/// The job that acquired a key last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHolder {
    /// The job.
    pub job: JobId,
    /// The time of the job's last sign of life: when it acquired the key, when it started, or when a heartbeat listed
    /// it or a job below it.
    pub seen: Timestamp,
    /// Whether the job exists and has not ended.
    pub open: bool,
}
