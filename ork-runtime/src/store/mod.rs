//! The store port: where the truth about jobs is kept. Every operation is one transaction, named by its guard.
//!
//! Adapters decide nothing: they load a [`Job`] and its [`crate::ledger::Ledger`], let those pure types answer, and
//! write what came of it together with what is owed. `tests/contract` says what every adapter does.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use crate::clock::Timestamp;
use crate::context::Progress;
use crate::failure::Failure;
use crate::id::{JobId, WorkerId};
use crate::job::{Attempt, Job, Phase, State};
use crate::ledger::{Append, Counts, Seal};
use crate::message::Outgoing;
use crate::policy::Policy;
use crate::task::parts::SettledPart;

/// What a store could not do, and which kind of trouble that is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of trouble with a store; every adapter means the same by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It cannot be used just now: locked, unreachable, out of space. Trying later may help.
    Unavailable,
    /// It cannot be written: a read-only file or folder.
    ReadOnly,
    /// A newer program made it.
    TooNew,
    /// It holds what no store wrote. Work must stop.
    Corrupt,
    /// The configuration cannot work: a malformed URL, a missing folder.
    Config,
    /// There is no such job.
    NotFound,
    /// There is no store at all, and this needs one.
    NoStore,
    /// The adapter was closed.
    Closed,
}

impl StoreError {
    /// An error of this kind; `message` names the store and what to do.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Which kind of trouble it is.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Says that there is no job of this id.
    pub fn no_job(id: JobId) -> Self {
        Self::new(StoreErrorKind::NotFound, format!("there is no job {id}"))
    }
}

/// One row of the outbox, held by this process.
pub type OwedId = u64;

/// A row of the outbox that this process holds: it alone sends its messages, then [`Store::forget`]s the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// Which row.
    pub id: OwedId,
    /// How often a process that held it died or gave it back without saying why.
    pub lost: u32,
    /// The messages it stands for: one, or a run of parts.
    pub messages: Vec<Outgoing>,
}

/// A job to be made, with its input.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// The job; its state is `ready`.
    pub job: Job,
    /// The input's JSON.
    pub input: Bytes,
}

/// The answer to [`Store::submit`] for each job.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// Whether the job is new; `false` if there was one of its id, which stays as it is.
    pub created: bool,
    /// What must be sent now, if the caller asked to hold it.
    pub owed: Option<Owed>,
}

/// Who asks, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct By {
    /// The process.
    pub worker: WorkerId,
    /// The time it has.
    pub now: Timestamp,
    /// Whether what comes of it is held by the caller at once, so that it can send it without asking again.
    pub hold: bool,
}

/// The answer to [`Store::claim`].
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// Run it.
    Ours(Box<Job>),
    /// It has ended, waits for its parts, or the dispatch is of an older attempt: run nothing.
    Nothing,
}

/// Which part a worker is about to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartKey {
    /// The job it is a part of.
    pub job: JobId,
    /// The run of the split that made it.
    pub epoch: u32,
    /// Which one, from 0.
    pub index: u64,
    /// Which attempt, from 1.
    pub attempt: u32,
}

/// The answer to [`Store::start_part`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// Run it; the number of parts is told once it is fixed.
    Run {
        /// How many parts there are.
        count: Option<u64>,
    },
    /// It has ended, belongs to an older epoch or attempt, or its job takes no further part: run nothing.
    Nothing,
    /// There is no such job here.
    Unknown,
}

/// How an attempt at a part ended.
#[derive(Debug, Clone, PartialEq)]
pub enum PartAttempt {
    /// It returned this.
    Ok(Bytes),
    /// It failed; the next attempt is due at `again`, if there is one.
    Failed {
        /// Why.
        failure: Failure,
        /// When the next attempt is due.
        again: Option<Timestamp>,
    },
    /// The worker had to stop; this costs no attempt.
    Interrupted,
}

/// The answer to a settlement.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It counted, and this must be sent now, if the caller asked to hold it.
    Counted(Vec<Owed>),
    /// It came from an older attempt, or after the end: nothing changed.
    Old,
    /// There is no store: the caller runs the next attempt itself, at this time.
    RetryHere(Timestamp),
}

/// A page of parts that a split has yielded.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The job.
    pub job: JobId,
    /// The run of the split.
    pub epoch: u32,
    /// The index of the first part.
    pub first: u64,
    /// The inputs.
    pub inputs: Vec<Bytes>,
}

/// What a process asks of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// At most this many messages.
    pub limit: usize,
    /// Only of these tasks; `None` for all.
    pub tasks: Option<Vec<String>>,
}

/// The answer to [`Store::take`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Taken {
    /// What this process holds now.
    pub owed: Vec<Owed>,
    /// When the next row that is not due yet will be.
    pub next_due: Option<Timestamp>,
}

/// News from a store, to whoever waits. It says that something may have changed, never what to believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The outbox has rows that nobody holds.
    Owed,
    /// This job has ended.
    Ended(JobId),
    /// The parts or the progress of this job have moved.
    Moved(JobId),
    /// Another process changed something.
    Elsewhere,
}

/// A job with its input and output, as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// How its parts stand.
    pub counts: Counts,
    /// How far it says it is.
    pub progress: Option<Progress>,
    /// What it returned.
    pub output: Option<Bytes>,
}

/// Which jobs to list, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only in one of these states; empty for all.
    pub states: Vec<State>,
    /// Only of this task.
    pub task: Option<String>,
    /// Only older than this one: the last id of the page before.
    pub before: Option<JobId>,
    /// At most this many.
    pub limit: usize,
}

/// The answer to [`Store::cancel`] and [`Store::retry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steered {
    /// It was done.
    Done,
    /// The job is in a state in which it cannot be done.
    Refused(State),
}

/// A process says that it lives.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// For how long that is to be believed.
    pub ttl: Duration,
    /// The jobs it runs, or runs parts of.
    pub running: Vec<JobId>,
}

/// Where the truth about jobs is kept.
///
/// All operations can be dropped at any time: an operation that was begun is done whole or not at all.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Whether anything is kept at all.
    fn keeps(&self) -> bool {
        true
    }

    /// News from now on.
    fn watch(&self) -> broadcast::Receiver<Change>;

    /// Makes jobs and owes their first dispatch. A job whose id is known stays as it is.
    async fn submit(&self, jobs: Vec<NewJob>, by: By) -> Result<Vec<Submitted>, StoreError>;

    /// Claims a dispatch of a job, if it is still owed. `unknown` is made first if there is no job of its id.
    async fn claim(
        &self,
        unknown: NewJob,
        phase: Phase,
        attempt: u32,
        by: By,
    ) -> Result<Claimed, StoreError>;

    /// Records how the claimed attempt of a job ended, and owes what follows.
    async fn settle(
        &self,
        job: JobId,
        phase: Phase,
        attempt: u32,
        how: Attempt,
        output: Option<Bytes>,
        by: By,
    ) -> Result<Answer, StoreError>;

    /// Begins a run of the split of a claimed job: a new epoch, no parts.
    async fn open(&self, job: JobId, attempt: u32, policy: Policy, joined: bool) -> Result<Option<u32>, StoreError>;

    /// Adds a page of parts, if the epoch is current, and owes their dispatch.
    async fn append(&self, page: Page, by: By) -> Result<(Append, Option<Owed>), StoreError>;

    /// Fixes the number of parts, if the epoch is current; with none left open, owes what follows.
    async fn seal(&self, job: JobId, epoch: u32, n: u64, by: By) -> Result<(Seal, Vec<Owed>), StoreError>;

    /// Starts an attempt at a part, if it is still owed.
    async fn start_part(&self, part: PartKey, by: By) -> Result<Started, StoreError>;

    /// Records how an attempt at a part ended; the last one owes what follows.
    async fn settle_part(&self, part: PartKey, how: PartAttempt, by: By) -> Result<Answer, StoreError>;

    /// Takes rows of the outbox that are due and that nobody holds.
    async fn take(&self, take: Take, by: By) -> Result<Taken, StoreError>;

    /// Removes rows that this process holds: their messages are with the broker, or done.
    async fn forget(&self, owed: Vec<OwedId>) -> Result<(), StoreError>;

    /// Lets go of rows that this process holds.
    async fn give_back(&self, owed: Vec<OwedId>) -> Result<(), StoreError>;

    /// Says that the process lives, and frees what dead ones held. Answers which of its running jobs have ended.
    async fn beat(&self, beat: Beat, by: By) -> Result<Vec<JobId>, StoreError>;

    /// Says that the process ends: it holds nothing any more.
    async fn leave(&self, by: By) -> Result<(), StoreError>;

    /// Notes how far a job has come.
    async fn progress(&self, job: JobId, progress: Progress) -> Result<(), StoreError>;

    /// Cancels a job that has not ended.
    async fn cancel(&self, job: JobId, by: By) -> Result<Steered, StoreError>;

    /// Takes up a job that failed or was cancelled: exactly the parts that are not `ok`, then its join.
    async fn retry(&self, job: JobId, by: By) -> Result<Steered, StoreError>;

    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError>;

    /// Jobs, newest first.
    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError>;

    /// At most `limit` settled parts from index `from` on, in order.
    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError>;

    /// Asks whether the store can be used, and says in words what was found.
    async fn check(&self) -> Result<String, StoreError>;

    /// Writes what is under way and lets go of the store.
    async fn close(&self);
}
