//! The state of a job, how much of its task it runs, and its phase.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "OrkJobState")]
pub enum State {
    /// Waits for a worker.
    Ready,
    /// A worker runs it.
    Running,
    /// An attempt failed; the next one is due later.
    Retrying,
    /// Its parts, child jobs or steps have not ended yet.
    Waiting,
    /// It has succeeded.
    Succeeded,
    /// It has failed.
    Failed,
    /// It was cancelled on request.
    Cancelled,
}

impl State {
    /// Every state, in the order in which a job passes through them.
    pub const ALL: [Self; 7] =
        [Self::Ready, Self::Running, Self::Retrying, Self::Waiting, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Whether the state is final: succeeded, failed or cancelled.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
            Self::Ready | Self::Running | Self::Retrying | Self::Waiting => false,
        }
    }

    /// The name of the state in stores, documents and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the state with this name, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The scope of a job: its whole task, or only the function of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// The whole task, including its split, parts and join if it has them.
    Job,
    /// Only the task's function, on a single item, even if the task has a split.
    Single,
    /// The whole task as a step of a workflow run: its input is built from the outputs of earlier steps.
    Step,
}

impl JobKind {
    /// The name of the kind in stores and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Single => "single",
            Self::Step => "step",
        }
    }
}

/// The function of the task that the job runs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The task's function, or its split.
    Start,
    /// The join.
    Join,
}

impl Phase {
    /// The name of the phase in stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Join => "join",
        }
    }
}
