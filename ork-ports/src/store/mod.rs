//! The store port: the trait that every store implements, and the types it uses.
//!
//! A store makes no decisions. Jobs change through [`Operation`]s, which a store applies as [`Work`]: it loads the
//! jobs that an operation needs into a transaction, lets the pure code in [`tx`](ork_core::tx) decide, and writes the
//! result, all in one database transaction. Operations that wait at the same time share a transaction. The other
//! methods handle rows of the outbox, heartbeats, progress and metrics, and views for display. `tests/contract`
//! specifies the behavior that every store must show.

mod diagnostics;
mod notifier;
mod parts;
mod prune;
mod work;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use diagnostics::{JobDiagnostics, LiveProcess, OPEN, PendingOutbox, is_unattended};
pub use notifier::{JobWatcher, Notifier};
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::job::{Job, State};
use ork_core::ledger::{Counts, Head};
use ork_core::metric::{Delta, Metric};
use ork_core::progress::Progress;
use ork_core::tx::{ALIVE, Actor, HeldRow, Operation, OutboxId};
pub use parts::{PartFilter, PartRowInfo, PartStatus, SettledPart};
pub use prune::{Expired, Prune, Pruned};
use work::Pending;
pub use work::{Committed, Work};

/// An error of a store: its [kind](StoreErrorKind), and a message for the user.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of store errors. All stores use them with the same meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The store is temporarily unusable: locked, unreachable, or out of space. Retrying later may succeed.
    Unavailable,
    /// The store cannot be written, e.g. because the file or its folder is read-only.
    ReadOnly,
    /// The store was created or migrated by a newer version of ork.
    TooNew,
    /// The store contains data that ork did not write. Work must stop.
    Corrupt,
    /// The configuration is unusable, e.g. a malformed URL, a missing folder, or a store of another program or of a
    /// development version of ork.
    Config,
    /// A value cannot be stored: it is too long, out of range, or has characters that the database lacks. Retrying
    /// leads to the same error.
    Data,
    /// The job does not exist.
    NotFound,
    /// The operation requires a store, and the process runs without one.
    NoStore,
    /// The store was closed.
    Closed,
}

impl StoreError {
    /// Creates an error. `message` names the store and tells the user what to do.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Returns a copy of the error for another waiter. The copy has no source; the text of the source is appended to
    /// its message.
    #[must_use]
    pub fn copy(&self) -> Self {
        let message = match &self.source {
            None => self.message.clone(),
            Some(source) => format!("{} ({source})", self.message),
        };
        Self::new(self.kind, message)
    }

    /// Creates the error for a job that does not exist.
    pub fn no_job(id: JobId) -> Self {
        Self::new(StoreErrorKind::NotFound, format!("there is no job {id}"))
    }
}

/// A request to take rows from the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// The maximum number of messages to take. A row may stand for many messages, one for each part.
    pub limit: usize,
    /// The tasks whose rows are taken; `None` for all tasks.
    pub tasks: Option<Arc<[String]>>,
    /// The process that takes the rows.
    pub actor: Actor,
}

/// The result of [`Store::take_outbox`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OutboxPage {
    /// The rows that were taken. The process holds them until it deletes or releases them.
    pub rows: Vec<HeldRow>,
    /// The time at which the next row becomes due; `None` if no row is delayed.
    pub next_due: Option<Timestamp>,
    /// Whether the limit was reached, so that more rows may be free. The number of messages does not show this: a row
    /// for a range of parts counts with its full length, although the parts in it that have ended no longer have a
    /// message.
    pub more: bool,
}

/// A job with its input and output, for display.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// The number of parts in each state.
    pub counts: Counts,
    /// The head of its ledger: how many parts exist so far, and whether that number is final.
    pub head: Head,
    /// The progress that the job last reported; `None` if it has reported none.
    pub progress: Option<Progress>,
    /// The input of the job.
    pub input: Bytes,
    /// The output of the job; `None` if it has not returned one.
    pub output: Option<Bytes>,
}

/// Selects the jobs that [`Store::jobs`] lists, newest first. A job must match all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The states to list; empty for all states.
    pub states: Vec<State>,
    /// Only jobs of this task.
    pub task: Option<String>,
    /// Only the child jobs of this job.
    pub parent: Option<JobId>,
    /// Only this job and, if it is a root, all jobs below it.
    pub root: Option<JobId>,
    /// Only jobs submitted at this time or later.
    pub since: Option<Timestamp>,
    /// Only jobs older than this one. For paging: the id of the last job of the page before.
    pub before: Option<JobId>,
    /// The maximum number of jobs to return; 100 by default.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { states: Vec::new(), task: None, parent: None, root: None, since: None, before: None, limit: 100 }
    }
}

/// Selects the jobs whose metrics [`Store::metrics`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsOf {
    /// One job.
    Job(JobId),
    /// A root job and all jobs below it.
    Tree(JobId),
}

/// A heartbeat, which a process writes every few seconds to show that it is alive.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// The time for which the process is considered alive, counted from the time of the actor. A heartbeat that is
    /// written late has a longer `ttl`.
    pub ttl: Duration,
    /// The jobs that the process runs, or of which it runs parts.
    pub running: Vec<JobId>,
    /// The jobs of which the process holds deliveries, including those that wait here for a slot.
    pub holding: Vec<JobId>,
    /// The tasks for which the reply is to list [unattended](HeartbeatReply::unattended) jobs. Empty if the process
    /// does not ask for them.
    pub waiting: Vec<String>,
    /// The process, and the time when the heartbeat was due.
    pub actor: Actor,
}

impl Heartbeat {
    /// Returns the jobs that the process runs or of which it holds deliveries, sorted and without duplicates.
    pub fn attends(&self) -> Vec<JobId> {
        let mut jobs: Vec<_> = self.running.iter().chain(&self.holding).copied().collect();
        jobs.sort_unstable();
        jobs.dedup();
        jobs
    }

    /// Returns the time at which the heartbeat is written. A late heartbeat judges other processes by the time when it
    /// was due, and its `ttl` is extended by the delay.
    pub fn written(&self) -> Timestamp {
        self.actor.now + self.ttl.saturating_sub(ALIVE)
    }
}

/// The maximum number of unattended jobs in one [`HeartbeatReply`].
pub const UNATTENDED: usize = 200;

/// The reply to a [`Heartbeat`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeartbeatReply {
    /// The jobs among [`Heartbeat::running`] that have ended, e.g. because they were cancelled. The process should
    /// stop running them.
    pub ended: Vec<JobId>,
    /// The time of the store's clock, as in [`Store::time`].
    pub time: Option<Timestamp>,
    /// Jobs of the requested tasks that wait for a message, although the outbox has no row for them and no process
    /// works on them. At most [`UNATTENDED`] jobs.
    pub unattended: Vec<JobId>,
}

/// A place where jobs are recorded.
///
/// # Cancel safety
/// All futures may be dropped: a change is then applied entirely or not at all.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Whether jobs are recorded at all; `false` for the store `none`.
    fn records_jobs(&self) -> bool {
        true
    }

    /// Returns the notifier that announces changes of this store.
    fn notifier(&self) -> &Notifier;

    /// Hands work to the store, and does not block. The store applies it in a transaction, together with other work
    /// that waits, and calls [`Work::finish`] once the outcome is known.
    fn enqueue(&self, work: Box<dyn Work>);

    /// Takes rows of the outbox that are due and that no process holds. A row for more parts than the limit allows is
    /// split.
    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError>;

    /// Removes rows that this process holds, because their messages have been handed to the broker or need not be
    /// sent.
    async fn delete_outbox(&self, rows: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError>;

    /// Releases rows that this process holds, so that any process can take them.
    async fn release_outbox(&self, rows: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError>;

    /// Returns the time of the store's clock, which all processes of the store share; `None` if the store has no
    /// clock.
    ///
    /// # Errors
    /// If the store cannot be reached.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Records that a process is alive, and releases the rows and permits of processes that are presumed dead.
    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, StoreError>;

    /// Records that a process ends, and releases everything that it holds.
    async fn leave(&self, actor: Actor) -> Result<(), StoreError>;

    /// Records the progress of a job, or of one of its parts.
    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError>;

    /// Adds measurements to the metrics of jobs. Measurements of jobs that do not exist are ignored. Returns the jobs
    /// of which a measurement was dropped, because they already have [`MOST_SERIES`](ork_core::metric::MOST_SERIES)
    /// series (names with labels).
    ///
    /// Not idempotent: after [`StoreErrorKind::Unavailable`] the values may have been added, and a retry may count
    /// them twice.
    async fn record(&self, deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError>;

    /// Returns the metrics of jobs, ordered by job id, name and labels; empty for a job that does not exist.
    async fn metrics(&self, of: MetricsOf) -> Result<Vec<Metric>, StoreError>;

    /// Returns a job; `None` if it does not exist.
    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError>;

    /// Returns the jobs that match a filter, newest first.
    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError>;

    /// Returns at most `limit` settled parts of a job, in order, starting at index `from`.
    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError>;

    /// Returns the status of a page of the parts that a split has yielded, in order; empty for a job that does not
    /// exist.
    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError>;

    /// Returns diagnostic information about a job. For a job that does not exist, only the live processes are filled
    /// in.
    async fn diagnostics(&self, job: JobId) -> Result<JobDiagnostics, StoreError>;

    /// Returns the identity of this store: an id that differs from that of every other store, and never changes.
    async fn store_id(&self) -> Result<Uuid, StoreError>;

    /// Returns which of these jobs exist.
    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError>;

    /// Looks up at most `limit` jobs whose whole tree ended before the given time.
    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError>;

    /// Removes jobs with their parts and all data about them, up to the limit of parts in the request.
    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError>;

    /// Checks that the store can be used. Returns a description for the user.
    async fn check(&self) -> Result<String, StoreError>;

    /// Completes pending writes and closes the store.
    async fn close(&self);
}

impl dyn Store + '_ {
    /// Applies an operation in a transaction, and returns its output once it is as durable as the operation
    /// [requires](Operation::durability).
    ///
    /// # Errors
    /// If the store cannot be used. Nothing was changed then, unless the connection to a database was lost during the
    /// commit: after [`StoreErrorKind::Unavailable`] the operation may have been applied.
    ///
    /// # Cancel safety
    /// If the future is dropped, the operation is applied entirely or not at all.
    pub async fn apply<O: Operation>(&self, operation: O) -> Result<Committed<O::Output>, StoreError> {
        let committed = self.apply_all(vec![operation]).await?.pop();
        committed.ok_or_else(|| StoreError::new(StoreErrorKind::Corrupt, "the store did not apply an operation"))
    }

    /// Applies operations in one transaction, in order, and returns their outputs once they are as durable as the
    /// operations [require](Operation::durability).
    ///
    /// # Errors
    /// If the store cannot be used. Nothing was changed then, unless the connection to a database was lost during the
    /// commit: after [`StoreErrorKind::Unavailable`] the operations may have been applied.
    ///
    /// # Cancel safety
    /// If the future is dropped, either all operations are applied or none is.
    pub async fn apply_all<O: Operation>(&self, operations: Vec<O>) -> Result<Vec<Committed<O::Output>>, StoreError> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, committed) = oneshot::channel();
        self.enqueue(Box::new(Pending::new(operations, reply)));
        committed.await.unwrap_or_else(|_dropped| Err(StoreError::new(StoreErrorKind::Closed, "the store is closed")))
    }
}
