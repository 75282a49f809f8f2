//! Accounting: what one transaction does, decided by pure code over the jobs and ledgers it has open.
//!
//! A store loads what an [`Operation`] names into [`Transaction`], lets it [`apply`](Operation::apply), and writes
//! [`Writes`] back, all in one transaction; then the answer counts. So every store, and the model checker, runs the
//! same decisions, and settling the last part, the verdict and what is owed next cannot come apart.

mod add_reply;
mod attempts;
mod control;
mod events;
mod jobs;
mod lease;
mod limits;
mod outbox;
mod parts;
mod resend;
mod schedule;
mod transaction;
mod tree;
mod unique;
mod workflow;

pub use add_reply::{AddReply, ReplyAdded};
pub use attempts::{PartAttemptOutcome, PartKey, PartsStarted, SettleParts, StartPart, StartParts, Started};
pub use control::{Cancel, ControlResult, Retry};
pub use jobs::{Claim, Claimed, JobRejection, NewJob, RecordHookFailure, RejectJob, Settle, Submit, Submitted};
pub use lease::Lease;
pub use limits::{Admit, Admitted, Begin, Limit, Permits, Release, Settles};
pub use outbox::{HeldRow, OutboxId, OutboxKind, OutboxRow};
pub use parts::{AppendParts, Appended, OpenParts, PartPage, SealParts};
pub use resend::Resend;
pub use schedule::{FireSchedule, PauseResult, PauseSchedule};
pub use transaction::{LoadedJob, PartWrite, Transaction, Writes};
pub use tree::{ChildError, MOST_FOLLOWED, are_ends, end_of, ends, ends_before};
pub use unique::{ALIVE, KeyHolder, key_taken};
pub use workflow::StartWorkflow;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{Event, EventRouting};
use crate::id::{JobId, WorkerId};

/// Who acts, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The process.
    pub worker: WorkerId,
    /// The time it has.
    pub now: Timestamp,
    /// Whether what comes to be owed is held by the process at once, so that it can send it without asking for it.
    pub hold: bool,
    /// Which events are told, and how.
    pub events: EventRouting,
}

/// The answer to a settlement.
#[derive(Debug, Clone, PartialEq)]
pub enum SettleResult {
    /// It counted, and this is held by the caller, who must send it.
    Applied(Vec<HeldRow>),
    /// It came from an older attempt, or after the end: nothing changed.
    Stale,
}

/// Which shards of a ledger an operation looks into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// None.
    None,
    /// The one that holds this index.
    Of(JobId, u64),
    /// Those that hold these indices and all between them.
    Between(JobId, u64, u64),
    /// All of them.
    All(JobId),
}

/// News from a store, to whoever waits. But for events it says that something may have changed, never what to believe.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StoreNotice {
    /// The outbox has rows that nobody holds.
    OutboxReady,
    /// This job has ended.
    JobEnded(JobId),
    /// This job has begun, or its parts or its progress have moved.
    JobChanged(JobId),
    /// Another process changed something.
    ChangedElsewhere,
    /// This happened, and is told in this process.
    Event(Arc<Event>),
}

/// What the answer to an operation promises. Nothing is ever forgotten without all that came after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// It will be written soon. Forgotten, it only leads to work that is handed out once more: a claim, a start.
    Lazy,
    /// It outlives the death of the process: a claim of work whose worker may have died before.
    Process,
    /// It outlives the loss of power.
    PowerLoss,
}

/// One change of the truth, whole or not at all.
pub trait Operation: Send + Sync + 'static {
    /// What it answers.
    type Output: Send + 'static;

    /// The job it is about.
    fn job(&self) -> JobId;

    /// Another job that it needs open: the one above a new job. What is above that is opened, too.
    fn with(&self) -> Option<JobId> {
        None
    }

    /// Further jobs that it needs open, which a new job is to follow. What is above these is opened, too.
    fn follows(&self) -> &[JobId] {
        &[]
    }

    /// What its answer promises.
    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }

    /// The shards it needs open, now that its job is.
    fn shards(&self, _books: &Transaction) -> Shards {
        Shards::None
    }

    /// The concurrency limit whose permits it needs open.
    fn limit(&self) -> Option<&Arc<str>> {
        None
    }

    /// The unique key that it needs open.
    fn unique(&self) -> Option<&Arc<str>> {
        None
    }

    /// Decides, and notes in the books what is to be written.
    fn apply(&self, transaction: &mut Transaction) -> Self::Output;
}
