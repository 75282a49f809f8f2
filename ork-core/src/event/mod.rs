//! Events about jobs, which are published to listeners as `CloudEvents` 1.0 JSON. Pure code; `docs/wire.md` lists
//! them.

mod json;
pub(crate) mod kind;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{Job, State};
use crate::ledger::Counts;

pub use self::kind::EventKind;

/// The number of parts of a job, by how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrkEndedParts")]
#[non_exhaustive]
pub struct EndedParts {
    /// The total number of parts.
    pub total: u64,
    /// The number of parts that succeeded.
    pub completed: u64,
    /// The number of parts that failed.
    pub failed: u64,
    /// The number of parts that never started, or whose job was cancelled.
    pub canceled: u64,
}

impl From<Counts> for EndedParts {
    fn from(counts: Counts) -> Self {
        let canceled = counts.skipped + counts.cancelled;
        Self { total: counts.settled(), completed: counts.succeeded, failed: counts.failed, canceled }
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The kind of change that the event reports.
    pub kind: EventKind,
    /// The id of the event. It is unique, and the same each time this event is published.
    pub id: String,
    /// The time at which it happened.
    pub time: Timestamp,
    /// The job that the event is about.
    pub job: JobId,
    /// The index of the part that the event is about, starting at 0. `None` if it is about the whole job.
    pub part: Option<u64>,
    /// The id of the job at the top of the tree, which a client submitted.
    pub root: JobId,
    /// The id of the job that submitted this one. `None` for the root of a tree.
    pub parent: Option<JobId>,
    /// The name of the task.
    pub task: String,
    /// The number of the attempt, starting at 1.
    pub attempt: u32,
    /// The progress as a percentage from 0 to 100, if the task reported it.
    pub progress: Option<f64>,
    /// A short text about what the job is doing, if the task reported it.
    pub info: Option<String>,
    /// The counts of the parts, for an event about their end.
    pub parts: Option<EndedParts>,
    /// The failure of the job, or of its last attempt.
    pub error: Option<Failure>,
}

/// The job or part that an event is about.
#[derive(Debug, Clone, PartialEq)]
pub struct EventSubject {
    /// The job.
    pub job: JobId,
    /// The index of the part; `None` if the event is about the job as a whole.
    pub part: Option<u64>,
    /// The root of the tree of the job.
    pub root: JobId,
    /// The job that has submitted it; `None` for the root of a tree.
    pub parent: Option<JobId>,
    /// The name of the task.
    pub task: String,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl EventSubject {
    /// Returns the subject of events about a job as a whole.
    pub fn job(job: &Job) -> Self {
        let (root, parent, task) = (job.root, job.parent, job.task.clone());
        Self { job: job.id, part: None, root, parent, task, attempt: job.attempt }
    }

    fn subject(&self) -> String {
        match self.part {
            None => self.job.to_string(),
            Some(index) => format!("{}.{index}", self.job),
        }
    }
}

impl Event {
    /// Creates an event. `sequence` makes its id differ from those of other events of the same kind and subject.
    pub fn new(kind: EventKind, about: EventSubject, sequence: u64, time: Timestamp) -> Self {
        let word = kind.as_str().trim_start_matches("job.");
        let id = format!("{}/{word}/{sequence}", about.subject());
        let EventSubject { job, part, root, parent, task, attempt } = about;
        let (progress, info, parts, error) = (None, None, None, None);
        Self { kind, id, time, job, part, root, parent, task, attempt, progress, info, parts, error }
    }

    /// Creates an event about a whole job in its current state.
    pub fn of(job: &Job, kind: EventKind, sequence: u64, now: Timestamp) -> Self {
        let time = match kind {
            EventKind::Created => job.created,
            EventKind::Succeeded | EventKind::Failed | EventKind::Cancelled => job.ended.unwrap_or(now),
            EventKind::Ready | EventKind::Progress | EventKind::Retrying | EventKind::PartsCompleted => now,
        };
        let fails = matches!(kind, EventKind::Retrying | EventKind::Failed);
        let error = job.failure.as_ref().filter(|_| fails).map(brief);
        Self { error, ..Self::new(kind, EventSubject::job(job), sequence, time) }
    }

    /// The state of the job or part when the event occurs.
    pub const fn state(&self) -> State {
        self.kind.state()
    }
}

/// Returns the number that makes the id of an event differ from those of other events of the same kind and subject.
/// It is the attempt or the id of the outbox row, so it stays the same if the event is published again.
pub const fn sequence(kind: EventKind, attempt: u32, row: u64) -> u64 {
    match kind {
        EventKind::Created => 0,
        #[expect(clippy::as_conversions, reason = "it widens, and `From` is not const")]
        EventKind::Ready => attempt as u64,
        _ => row,
    }
}

/// Returns the failure without the details that the task added, to keep events small.
pub fn brief(failure: &Failure) -> Failure {
    Failure { details: None, ..failure.clone() }
}

/// An event in the outbox. It is built from the state of the store when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PendingEvent {
    /// An event about a whole job.
    Job(EventKind),
    /// Events about those of these parts that have ended.
    Parts {
        /// The index of the first part.
        first: u64,
        /// The number of parts.
        len: u64,
    },
}

/// The events that a process publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventScope {
    /// No events.
    Off,
    /// Events about whole jobs.
    Jobs,
    /// Events about jobs and about their parts.
    Parts,
}

impl EventScope {
    /// Returns the word of the scope in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "none",
            Self::Jobs => "jobs",
            Self::Parts => "parts",
        }
    }
}

/// The way in which a transaction publishes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventRouting {
    /// No events are published.
    #[default]
    Off,
    /// Events go to the listeners in this process, after the commit.
    Local(EventScope),
    /// Events go to a broker, through the outbox.
    Outbox(EventScope),
}

impl EventRouting {
    /// Returns which events are published.
    pub const fn scope(self) -> EventScope {
        match self {
            Self::Off => EventScope::Off,
            Self::Local(scope) | Self::Outbox(scope) => scope,
        }
    }
}
