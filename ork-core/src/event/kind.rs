//! The kinds of events.

use crate::job::state::State;

/// The kind of an event: what happened to a job, or to one of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventKind {
    /// The job was created.
    Created,
    /// The message of the job was sent to the workers.
    Ready,
    /// The task reported its progress.
    Progress,
    /// An attempt failed, and the next one is scheduled.
    Retrying,
    /// All parts of the job have ended.
    PartsCompleted,
    /// The job succeeded.
    Succeeded,
    /// The job failed.
    Failed,
    /// The job was cancelled.
    Cancelled,
}

impl EventKind {
    /// Every kind, in the order in which they occur.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Ready,
        Self::Progress,
        Self::Retrying,
        Self::PartsCompleted,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The `type` of the event, which is also its routing key. Progress and retrying are both `job.updated`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "job.created",
            Self::Ready => "job.ready",
            Self::Progress | Self::Retrying => "job.updated",
            Self::PartsCompleted => "job.parts-completed",
            Self::Succeeded => "job.completed",
            Self::Failed => "job.failed",
            Self::Cancelled => "job.canceled",
        }
    }

    /// The distinct types, in the order in which they occur.
    pub(super) fn names() -> Vec<&'static str> {
        let mut names = Self::ALL.map(Self::as_str).to_vec();
        names.dedup();
        names
    }

    /// The state of the job when the event occurs.
    pub const fn state(self) -> State {
        match self {
            Self::Created | Self::Ready => State::Ready,
            Self::Progress => State::Running,
            Self::Retrying => State::Retrying,
            Self::PartsCompleted => State::Waiting,
            Self::Succeeded => State::Succeeded,
            Self::Failed => State::Failed,
            Self::Cancelled => State::Cancelled,
        }
    }

    /// The kind of event for a job that ends in this state.
    pub const fn of_end(state: State) -> Self {
        match state {
            State::Succeeded => Self::Succeeded,
            State::Cancelled => Self::Cancelled,
            State::Failed | State::Ready | State::Running | State::Retrying | State::Waiting => Self::Failed,
        }
    }

    /// The number of the kind in stores.
    pub fn code(self) -> u32 {
        Self::ALL.into_iter().zip(0..).find(|(kind, _)| *kind == self).map_or(0, |(_, code)| code)
    }

    /// Returns the kind with this number, if there is one.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().zip(0..).find(|(_, known)| *known == code).map(|(kind, _)| kind)
    }

    pub(super) fn read(kind: &str, state: State) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind && known.state() == state)
    }
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
