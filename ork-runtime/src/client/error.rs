//! What a client could not do.

use crate::broker::BrokerError;
use crate::engine::services::SendError;
use crate::failure::Failure;
use crate::hook::HookError;
use crate::id::JobId;
use crate::job::State;
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
    #[error("the result of job {id} cannot be read: it was written by another version of the task")]
    Output {
        /// Which job.
        id: JobId,
        /// Why not.
        source: serde_json::Error,
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
    /// The process ends, or lost its broker, before the outcome came.
    #[error("the outcome of job {id} did not come back: without a store it is not kept anywhere")]
    Lost {
        /// Which job.
        id: JobId,
    },
}

impl From<SendError> for ClientError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Store(error) => Self::Store(error),
            SendError::Broker(error) => Self::Broker(error),
        }
    }
}
