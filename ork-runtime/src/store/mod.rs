//! The store port: where the truth about jobs is kept.
//!
//! Adapters decide nothing. Changes of the truth are [`Operation`]s, which an adapter carries out as [`Work`]: open the
//! books, let the pure code decide, write what it says, all in one transaction, and as many at once as are waiting.
//! The rest are the outbox's rows, the signs of life, and views. `tests/contract` says what every adapter does.

mod diagnostics;
pub mod memory;
pub mod none;
mod notifier;
mod parts;
#[cfg(feature = "postgres")]
pub mod postgres;
mod prune;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod work;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::context::Progress;
use crate::id::JobId;
use crate::job::{Job, State};
use crate::ledger::{Counts, Head};
use crate::metric::{Delta, Metric};
use crate::task::parts::SettledPart;
use crate::tx::{ALIVE, Actor, HeldRow, Operation, OutboxId};
pub use diagnostics::{JobDiagnostics, LiveProcess, OPEN, PendingOutbox};
pub use notifier::{JobWatcher, Notifier};
pub use parts::{PartFilter, PartRowInfo, PartStatus};
pub use prune::{Expired, Prune, Pruned};
use work::Pending;
pub use work::{Committed, Work};

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
    /// It cannot hold what it was given: too long, out of range, in letters that it does not have. The same again comes
    /// to the same.
    Data,
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

    /// The same error for one more waiter; its source stays with the first.
    #[must_use]
    pub fn copy(&self) -> Self {
        let message = match &self.source {
            None => self.message.clone(),
            Some(source) => format!("{} ({source})", self.message),
        };
        Self::new(self.kind, message)
    }

    /// Says that there is no job of this id.
    pub fn no_job(id: JobId) -> Self {
        Self::new(StoreErrorKind::NotFound, format!("there is no job {id}"))
    }
}

/// What a process asks of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// At most this many messages.
    pub limit: usize,
    /// Only of these tasks; `None` for all.
    pub tasks: Option<Arc<[String]>>,
    /// Who asks.
    pub actor: Actor,
}

/// The answer to [`Store::take`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OutboxPage {
    /// What this process holds now.
    pub to_send: Vec<HeldRow>,
    /// When the next row that is not due yet will be.
    pub next_due: Option<Timestamp>,
    /// Whether the limit ended the taking, so that there may be more. The number of messages does not say: a run of
    /// parts counts whole, though those of its parts that have ended have no message any more.
    pub more: bool,
}

/// A job with its input and output, as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// How its parts stand.
    pub counts: Counts,
    /// How many parts it has, as far as is known.
    pub head: Head,
    /// How far it says it is.
    pub progress: Option<Progress>,
    /// What it was given.
    pub input: Bytes,
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
    /// Only the children of this job.
    pub parent: Option<JobId>,
    /// Only this job and those below it, if it is a root.
    pub root: Option<JobId>,
    /// Only submitted at this time or later.
    pub since: Option<Timestamp>,
    /// Only older than this one: the last id of the page before.
    pub before: Option<JobId>,
    /// At most this many.
    pub limit: usize,
}

/// Of which jobs to show what they have recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsOf {
    /// Of this one.
    Job(JobId),
    /// Of this root and of all jobs below it.
    Tree(JobId),
}

/// A process says that it lives.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// For how long that is to be believed.
    pub ttl: Duration,
    /// The jobs it runs, or runs parts of.
    pub running: Vec<JobId>,
    /// The jobs of which it holds messages, those that wait here for a slot as well.
    pub holding: Vec<JobId>,
    /// Tasks whose jobs that wait for a message are asked for.
    pub waiting: Vec<String>,
    /// Who.
    pub actor: Actor,
}

impl Heartbeat {
    /// The jobs that it runs or holds messages of.
    pub fn attends(&self) -> Vec<JobId> {
        let mut jobs: Vec<_> = self.running.iter().chain(&self.holding).copied().collect();
        jobs.sort_unstable();
        jobs.dedup();
        jobs
    }

    /// When it is written: one that is late looks at the others as they were when it was due, and is believed for longer.
    pub fn written(&self) -> Timestamp {
        self.actor.now + self.ttl.saturating_sub(ALIVE)
    }
}

/// At most so many jobs that no process works on are answered at once.
pub const UNATTENDED: usize = 200;

/// The answer to [`Store::heartbeat`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeartbeatReply {
    /// Which of the jobs that the process runs have ended.
    pub ended: Vec<JobId>,
    /// The time by the clock of the store, as in [`Store::time`].
    pub time: Option<Timestamp>,
    /// Jobs of those tasks that wait for a message, at most [`UNATTENDED`]: nothing of theirs is in the outbox, and no
    /// process works on them.
    pub unattended: Vec<JobId>,
}

/// Where the truth about jobs is kept.
///
/// Any future may be dropped: what was begun is done whole or not at all.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Whether anything is kept at all.
    fn is_durable(&self) -> bool {
        true
    }

    /// Its news.
    fn notifier(&self) -> &Notifier;

    /// Does this in a transaction, together with whatever else is waiting, and finishes it; never waits.
    fn enqueue(&self, work: Box<dyn Work>);

    /// Takes rows of the outbox that are due and that nobody holds. A run of parts is cut to fit.
    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError>;

    /// Removes rows that this process holds: their messages are with the broker, or done.
    async fn delete_outbox(&self, to_send: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError>;

    /// Lets go of rows that this process holds.
    async fn release_outbox(&self, to_send: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError>;

    /// The time by the clock of the store, which all its processes share; `None` if it has none of its own.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Says that the process lives, and frees what dead ones held.
    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, StoreError>;

    /// Says that the process ends: it holds nothing any more.
    async fn leave(&self, actor: Actor) -> Result<(), StoreError>;

    /// Notes how far a job has come, or one part of it.
    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError>;

    /// Adds to what jobs have recorded; of jobs that are not there nothing is kept. Answers those of which something was
    /// dropped, as they have as many names with labels as a job may have.
    ///
    /// Said twice it is added twice. After an error that is [`StoreErrorKind::Unavailable`] it may have been added, so who
    /// says it again then may count it twice.
    async fn record(&self, deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError>;

    /// What jobs have recorded, in order of their ids, of the names and of the labels; nothing of a job that is not there.
    async fn metrics(&self, of: MetricsOf) -> Result<Vec<Metric>, StoreError>;

    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError>;

    /// Jobs, newest first.
    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError>;

    /// At most `limit` settled parts from index `from` on, in order.
    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError>;

    /// How the parts of a job stand that its split has yielded, in order, a page of them; none of a job that is not there.
    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError>;

    /// What is known of a job besides the job; of one that is not there, who lives.
    async fn diagnostics(&self, job: JobId) -> Result<JobDiagnostics, StoreError>;

    /// What tells this store from every other; it never changes.
    async fn store_id(&self) -> Result<Uuid, StoreError>;

    /// Which of these jobs there are.
    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError>;

    /// Looks up jobs whose whole tree ended before a moment, at most `limit`.
    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError>;

    /// Removes jobs with their parts and all that is known of them, as far as the page goes.
    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError>;

    /// Asks whether the store can be used, and says in words what was found.
    async fn check(&self) -> Result<String, StoreError>;

    /// Writes what is under way and lets go of the store.
    async fn close(&self);
}

impl dyn Store + '_ {
    /// Applies one operation in a transaction.
    ///
    /// # Errors
    /// When the store cannot be used; then nothing has changed.
    ///
    /// # Cancel safety
    /// If the future is dropped, the operation is committed as a whole or not at all.
    pub async fn apply<O: Operation>(&self, operation: O) -> Result<Committed<O::Output>, StoreError> {
        let committed = self.apply_all(vec![operation]).await?.pop();
        committed.ok_or_else(|| StoreError::new(StoreErrorKind::Corrupt, "the store did not apply an operation"))
    }

    /// Applies operations in order, in one transaction.
    ///
    /// # Errors
    /// When the store cannot be used; then nothing has changed.
    ///
    /// # Cancel safety
    /// If the future is dropped, all operations are committed or none is.
    pub async fn apply_all<O: Operation>(&self, operations: Vec<O>) -> Result<Vec<Committed<O::Output>>, StoreError> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, committed) = oneshot::channel();
        self.enqueue(Box::new(Pending::new(operations, reply)));
        committed.await.unwrap_or_else(|_dropped| Err(StoreError::new(StoreErrorKind::Closed, "the store is closed")))
    }
}
