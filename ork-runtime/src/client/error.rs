//! What a client could not do.

use crate::broker::BrokerError;
use crate::engine::services::SendError;
use crate::failure::Failure;
use crate::hook::HookError;
use crate::id::JobId;
use crate::job::State;
use crate::ledger::PartResult;
use crate::message::BodyError;
use crate::objects::ObjectError;
use crate::registry::UnknownTask;
use crate::store::StoreError;
use crate::task::error::InputError;

/// Why a client's call came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// An input cannot be written as JSON.
    #[error("the input of `{task}` cannot be written as JSON")]
    Input {
        /// The task.
        task: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// An input is not what the task takes.
    #[error("the input of `{task}` is wrong: {error}")]
    WrongInput {
        /// The task.
        task: &'static str,
        /// What is wrong where.
        error: InputError,
    },
    /// A job cannot be retried, as its task does not take the input any more with which it was submitted.
    #[error("job {id} cannot be retried: `{task}` does not take its input (any more): {error}; it stays as it is")]
    Outgrown {
        /// The job.
        id: JobId,
        /// Its task.
        task: &'static str,
        /// What is wrong where.
        error: InputError,
    },
    /// An input is too large or too deep.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// What is to follow cannot.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// There is no such task.
    #[error(transparent)]
    UnknownTask(#[from] UnknownTask),
    /// There is no schedule of this name.
    #[error("there is no schedule `{name}`: {known}")]
    NoSchedule {
        /// The name asked for.
        name: String,
        /// The names there are, in words.
        known: String,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A large output cannot be read, or those of removed jobs cannot be removed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The broker did not do it.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The job failed.
    #[error("job {id} failed: {failure}")]
    Failed {
        /// Which job.
        id: JobId,
        /// Why.
        failure: Box<Failure>,
    },
    /// The job was cancelled.
    #[error("job {id} was cancelled")]
    Cancelled {
        /// Which job.
        id: JobId,
    },
    /// The result is not of the type the task promises.
    #[error("the result of job {id} cannot be read: it is not of the type that this program expects")]
    Output {
        /// Which job.
        id: JobId,
        /// Why not.
        source: serde_json::Error,
    },
    /// A job cannot be submitted there: below one that has ended, or to follow one that there is not.
    #[error("{0}")]
    NotTaken(String),
    /// A part of a job cannot be retried.
    #[error("part {index} of job {id} cannot be retried: {}", stays(*how))]
    PartStays {
        /// The job.
        id: JobId,
        /// Which part.
        index: u64,
        /// How it ended, if it is there.
        how: Option<PartResult>,
    },
    /// Another job has the unique key.
    #[error("the unique key `{key}` is taken: job {by} has it and has not ended")]
    Taken {
        /// The key.
        key: String,
        /// The job that has it.
        by: JobId,
    },
    /// Its run has begun its task anew, because one before it was taken up.
    #[error(
        "job {id} cannot be retried: its run begins the task anew, as job {counts}, with what the tasks before it return now"
    )]
    Replaced {
        /// Which job.
        id: JobId,
        /// Which one counts in its place, once it has begun.
        counts: JobId,
    },
    /// A job above it was cancelled, so that nothing below that begins.
    #[error("job {id} cannot be retried alone: job {above} above it was cancelled, so retry that one")]
    Interrupted {
        /// Which job.
        id: JobId,
        /// Which one above it.
        above: JobId,
    },
    /// The job is in a state in which this cannot be done.
    #[error("job {id} is {state} and cannot be {verb}")]
    WrongState {
        /// Which job.
        id: JobId,
        /// What was asked for.
        verb: &'static str,
        /// Its state.
        state: State,
    },
    /// The job has not ended, and something is under way for it.
    #[error("job {id} is {state} and cannot be retried, as something is under way for it: {why}")]
    UnderWay {
        /// Which job.
        id: JobId,
        /// Its state.
        state: State,
        /// What it waits for.
        why: String,
    },
    /// Nobody tells events.
    #[error("no events are told: set ORK_EVENTS to `jobs` or `parts`, here and where the work is done")]
    NoEvents,
    /// This process did not take events as fast as they came.
    #[error("{n} events were missed: they came faster than they were taken")]
    MissedEvents {
        /// How many.
        n: u64,
    },
    /// The process ends, or lost its broker, before the outcome came.
    #[error("the outcome of job {id} did not come back: without a store it is not kept anywhere")]
    Lost {
        /// Which job.
        id: JobId,
    },
}

fn stays(how: Option<PartResult>) -> &'static str {
    match how {
        Some(PartResult::Succeeded) => "it ended well",
        Some(_) => "its split was cut short, so retry the whole job",
        None => "there is no such part, or it has not ended",
    }
}

impl From<SendError> for ClientError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Store(error) => Self::Store(error),
            SendError::Broker(error) => Self::Broker(error),
            SendError::Taken { key, job } => Self::Taken { key: key.to_string(), by: job },
            error => Self::NotTaken(error.to_string()),
        }
    }
}
