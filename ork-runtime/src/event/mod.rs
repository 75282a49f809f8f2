//! Events: what is told of jobs to whoever listens, as `CloudEvents` 1.0 JSON. Pure; `docs/wire.md` lists them.

mod json;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{Job, State};
use crate::ledger::Counts;

/// What happened to a job, or to a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventKind {
    /// It is there.
    Created,
    /// Its message is on its way to a worker.
    Ready,
    /// It says how far it is.
    Progress,
    /// An attempt failed; the next one is due later.
    Retrying,
    /// Every part of it has ended.
    PartsCompleted,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
    /// It ended by request.
    Canceled,
}

impl EventKind {
    /// Every kind, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Ready,
        Self::Progress,
        Self::Retrying,
        Self::PartsCompleted,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
    ];

    /// The `type` of its events, which is their routing key, too. Progress and retrying are both `job.updated`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "job.created",
            Self::Ready => "job.ready",
            Self::Progress | Self::Retrying => "job.updated",
            Self::PartsCompleted => "job.parts-completed",
            Self::Completed => "job.completed",
            Self::Failed => "job.failed",
            Self::Canceled => "job.canceled",
        }
    }

    /// The types there are, in the order of a job's life.
    fn names() -> Vec<&'static str> {
        let mut names = Self::ALL.map(Self::as_str).to_vec();
        names.dedup();
        names
    }

    /// The state in which the job is then.
    pub const fn state(self) -> State {
        match self {
            Self::Created | Self::Ready => State::Ready,
            Self::Progress => State::Running,
            Self::Retrying => State::Retrying,
            Self::PartsCompleted => State::Waiting,
            Self::Completed => State::Succeeded,
            Self::Failed => State::Failed,
            Self::Canceled => State::Cancelled,
        }
    }

    /// What is told when a job ends in this state.
    pub(crate) const fn of_end(state: State) -> Self {
        match state {
            State::Succeeded => Self::Completed,
            State::Cancelled => Self::Canceled,
            State::Failed | State::Ready | State::Running | State::Retrying | State::Waiting => Self::Failed,
        }
    }

    /// The number of this kind in stores.
    pub(crate) fn code(self) -> u32 {
        Self::ALL.into_iter().zip(0..).find(|(kind, _)| *kind == self).map_or(0, |(_, code)| code)
    }

    /// The kind of this number.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().zip(0..).find(|(_, known)| *known == code).map(|(kind, _)| kind)
    }

    fn read(kind: &str, state: State) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind && known.state() == state)
    }
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How the parts of a job have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrkEndedParts")]
#[non_exhaustive]
pub struct EndedParts {
    /// How many there are.
    pub total: u64,
    /// Those that returned an output.
    pub completed: u64,
    /// Those that failed for good.
    pub failed: u64,
    /// Those that never started, or whose job was cancelled.
    pub canceled: u64,
}

impl From<Counts> for EndedParts {
    fn from(counts: Counts) -> Self {
        let canceled = counts.skipped + counts.cancelled;
        Self { total: counts.settled(), completed: counts.ok, failed: counts.failed, canceled }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The same text however often this event is told, and another one for every other event.
    pub id: String,
    /// When.
    pub time: Timestamp,
    /// To which job.
    pub job: JobId,
    /// To which part of it, from 0, if it is about a part.
    pub part: Option<u64>,
    /// The job a client submitted, from which this one comes.
    pub root: JobId,
    /// The job that created this one.
    pub parent: Option<JobId>,
    /// The task's name.
    pub task: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How far it is, from 0 to 100, if it says so.
    pub progress: Option<f64>,
    /// A word about what is going on.
    pub info: Option<String>,
    /// How its parts ended, once all have.
    pub parts: Option<EndedParts>,
    /// Why it failed, or its last attempt did.
    pub error: Option<Failure>,
}

/// Whom an event is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventSubject {
    pub(crate) job: JobId,
    pub(crate) part: Option<u64>,
    pub(crate) root: JobId,
    pub(crate) parent: Option<JobId>,
    pub(crate) task: String,
    pub(crate) attempt: u32,
}

impl EventSubject {
    pub(crate) fn job(job: &Job) -> Self {
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
    /// An event; `serial` tells it from others of its kind about the same.
    pub(crate) fn new(kind: EventKind, about: EventSubject, sequence: u64, time: Timestamp) -> Self {
        let word = kind.as_str().trim_start_matches("job.");
        let id = format!("{}/{word}/{sequence}", about.subject());
        let EventSubject { job, part, root, parent, task, attempt } = about;
        let (progress, info, parts, error) = (None, None, None, None);
        Self { kind, id, time, job, part, root, parent, task, attempt, progress, info, parts, error }
    }

    /// An event about a whole job, as it stands now.
    pub(crate) fn of(job: &Job, kind: EventKind, sequence: u64, now: Timestamp) -> Self {
        let time = match kind {
            EventKind::Created => job.created,
            EventKind::Completed | EventKind::Failed | EventKind::Canceled => job.ended.unwrap_or(now),
            EventKind::Ready | EventKind::Progress | EventKind::Retrying | EventKind::PartsCompleted => now,
        };
        let fails = matches!(kind, EventKind::Retrying | EventKind::Failed);
        let error = job.failure.as_ref().filter(|_| fails).map(brief);
        Self { error, ..Self::new(kind, EventSubject::job(job), sequence, time) }
    }

    /// The state in which the job, or the part, is then.
    pub const fn state(&self) -> State {
        self.kind.state()
    }
}

/// What tells an event from others of its kind about the same, however often it is told: the attempt, or the row of the
/// outbox that owes it.
pub(crate) const fn sequence(kind: EventKind, attempt: u32, row: u64) -> u64 {
    match kind {
        EventKind::Created => 0,
        #[expect(clippy::as_conversions, reason = "it widens, and `From` is not const")]
        EventKind::Ready => attempt as u64,
        _ => row,
    }
}

/// Why something failed, without what the task adds for programs: an event is small.
pub(crate) fn brief(failure: &Failure) -> Failure {
    Failure { details: None, ..failure.clone() }
}

/// An event that is owed, until it is made from what a store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PendingEvent {
    /// About a whole job.
    Job(EventKind),
    /// About those of these parts that have ended.
    Parts {
        /// The first one.
        first: u64,
        /// How many.
        len: u64,
    },
}

/// Which events are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventScope {
    /// None.
    Off,
    /// Those about whole jobs.
    Jobs,
    /// Those about parts as well.
    Parts,
}

/// How a transaction tells events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventRouting {
    /// It tells none.
    #[default]
    Off,
    /// To whoever listens in this process, once they have happened.
    Local(EventScope),
    /// To a broker: they are owed.
    Outbox(EventScope),
}

impl EventRouting {
    /// Which events that are.
    pub const fn scope(self) -> EventScope {
        match self {
            Self::Off => EventScope::Off,
            Self::Local(scope) | Self::Outbox(scope) => scope,
        }
    }
}
