//! The types that all operations share.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{Event, EventRouting};
use crate::id::{JobId, WorkerId};

/// The process that an operation is applied for, and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The process.
    pub worker: WorkerId,
    /// The time by its clock, which follows the clock of the store.
    pub now: Timestamp,
    /// Whether new outbox rows are held by this process at once. It then gets them with their messages and sends them
    /// without taking them from the store.
    pub hold: bool,
    /// Which events are emitted, and how they reach listeners.
    pub events: EventRouting,
}

/// The output of an operation that settles calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleResult {
    /// It was recorded.
    Applied,
    /// It belongs to an older attempt, or the job has ended: nothing changed.
    Stale,
}

/// The shards of a ledger that an operation reads or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// None.
    None,
    /// The shard that holds this index.
    Of(JobId, u64),
    /// The shards that hold these two indices and all between them.
    Between(JobId, u64, u64),
    /// All shards of the job.
    All(JobId),
}

/// A notice that a store sends to the listeners of this process after a commit.
///
/// Except for events, a notice only says that something may have changed; listeners read the store to learn what.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StoreNotice {
    /// The outbox has rows that no process holds.
    OutboxReady,
    /// This job has ended.
    JobEnded(JobId),
    /// This job has started, or its parts or its progress have changed.
    JobChanged(JobId),
    /// Another process has changed something.
    ChangedElsewhere,
    /// This event has happened; it is for listeners in this process.
    Event(Arc<Event>),
}

/// Which failures a committed operation survives before the store reports it as done.
///
/// A commit is only ever lost together with all later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The operation is written soon. If it is lost, work is delivered again, and nothing else happens: for claims.
    Lazy,
    /// The operation survives the death of the process: for claims of work whose last worker may have died.
    Process,
    /// The operation survives a loss of power.
    PowerLoss,
}
