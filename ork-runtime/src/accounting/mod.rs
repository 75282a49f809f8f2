//! Accounting: what one transaction does, decided by pure code over the jobs and ledgers it has open.
//!
//! A store loads what an [`Operation`] names into [`Books`], lets it [`apply`](Operation::apply), and writes
//! [`Writes`] back, all in one transaction; then the answer counts. So every store, and the model checker, runs the
//! same decisions, and settling the last part, the verdict and what is owed next cannot come apart.

mod asked;
mod attempts;
mod books;
mod jobs;
mod lease;
mod limits;
mod owed;
mod parts;
mod resend;
mod run;
mod schedule;
mod steer;
mod told;
mod tree;
mod unique;

pub use asked::{AskAgain, AskedAgain};
pub use attempts::{PartAttempt, PartKey, RunStarted, SettleParts, StartPart, StartRun, Started};
pub use books::{Books, Entry, PartWrite, Writes};
pub use jobs::{Claim, Claimed, HookFailed, NewJob, Refusal, Refuse, Settle, Submit, Submitted};
pub use lease::Lease;
pub use limits::{Admit, Admitted, Begin, Limit, Permits, Release, Settles};
pub use owed::{Owed, OwedAsk, OwedId, OwedRow};
pub use parts::{Append, Appended, Open, Page, Seal};
pub use resend::Resend;
pub use run::BeginRun;
pub use schedule::{Pause, Paused, Tick};
pub use steer::{Cancel, Retry, Steered};
pub use tree::{MOST_FOLLOWED, NoChild, are_ends, end_of, ends, ends_before};
pub use unique::{ALIVE, Holder, taken};

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{Event, Telling};
use crate::id::{JobId, WorkerId};

/// Who acts, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The process.
    pub worker: WorkerId,
    /// The time it has.
    pub now: Timestamp,
    /// Whether what comes to be owed is held by the process at once, so that it can send it without asking for it.
    pub hold: bool,
    /// Which events are told, and how.
    pub tells: Telling,
}

/// The answer to a settlement.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It counted, and this is held by the caller, who must send it.
    Counted(Vec<Owed>),
    /// It came from an older attempt, or after the end: nothing changed.
    Old,
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
pub enum Change {
    /// The outbox has rows that nobody holds.
    Owed,
    /// This job has ended.
    Ended(JobId),
    /// This job has begun, or its parts or its progress have moved.
    Moved(JobId),
    /// Another process changed something.
    Elsewhere,
    /// This happened, and is told in this process.
    Told(Arc<Event>),
}

/// What the answer to an operation promises. Nothing is ever forgotten without all that came after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// It will be written soon. Forgotten, it only leads to work that is handed out once more: a claim, a start.
    Soon,
    /// It outlives the death of the process: a claim of work whose worker may have died before.
    Written,
    /// It outlives the loss of power.
    Durable,
}

/// One change of the truth, whole or not at all.
pub trait Operation: Send + Sync + 'static {
    /// What it answers.
    type Answer: Send + 'static;

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
    fn promise(&self) -> Promise {
        Promise::Durable
    }

    /// The shards it needs open, now that its job is.
    fn shards(&self, _books: &Books) -> Shards {
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
    fn apply(&self, books: &mut Books) -> Self::Answer;
}
