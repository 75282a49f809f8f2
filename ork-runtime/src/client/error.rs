//! The error type of the client.

use crate::broker::{BrokerError, BrokerErrorKind};
use crate::engine::submit::SubmitError;
use crate::failure::Failure;
use crate::hook::HookError;
use crate::id::JobId;
use crate::job::State;
use crate::ledger::PartResult;
use crate::message::BodyError;
use crate::objects::{ObjectError, ObjectErrorKind};
use crate::registry::UnknownTask;
use crate::store::{StoreError, StoreErrorKind};
use crate::task::error::InputError;

/// An error of a call of [`Client`](crate::client::Client), [`Handle`](crate::client::Handle) or
/// [`Submission`](crate::client::Submission).
///
/// A job that ended without a result is an error only for calls that return its result, such as
/// [`Handle::result`](crate::client::Handle::result): [`Failed`](Self::Failed) or [`Cancelled`](Self::Cancelled). All other
/// variants are about the call itself.
///
/// ```
/// use ork::{ClientError, Error, Ork, Result, task};
///
/// #[task]
/// fn divide(a: u32, b: u32) -> Result<u32> {
///     a.checked_div(b).ok_or_else(|| Error::permanent("division by zero"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// # let ork = ork::builder().store("memory:").build().await?;
/// # ork.spawn_worker();
/// match ork.submit(divide { a: 1, b: 0 }).result().await {
///     Ok(quotient) => println!("the quotient is {quotient}"),
///     Err(ClientError::Failed { id, failure }) => println!("job {id} failed: {failure}"),
///     Err(error) => return Err(error.into()),
/// }
/// # ork.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The input cannot be written as JSON, for example because a map has keys that are no strings.
    #[error("the input of `{task}` cannot be serialized as JSON")]
    Serialize {
        /// The name of the task.
        task: &'static str,
        /// The error of the serializer.
        source: serde_json::Error,
    },
    /// The input does not match the schema of the task. Nothing was submitted.
    #[error("invalid input of `{task}`: {error}")]
    InvalidInput {
        /// The name of the task.
        task: &'static str,
        /// The value that is wrong, and the one that was expected there.
        error: InputError,
    },
    /// The job cannot be retried, because its input no longer matches the schema of its task: the task has changed
    /// since the job was submitted. The job is left unchanged.
    #[error(
        "job {id} cannot be retried: its input does not match the schema of `{task}`: {error}; the job was left \
         unchanged"
    )]
    SchemaChanged {
        /// The job that was to be retried.
        id: JobId,
        /// The name of its task.
        task: &'static str,
        /// The value that is wrong, and the one that was expected there.
        error: InputError,
    },
    /// The input is too large, or nested too deeply.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A follow-up job, as with [`Submission::on_complete`](crate::client::Submission::on_complete), cannot be
    /// attached.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// This program has no task of that name.
    #[error(transparent)]
    UnknownTask(#[from] UnknownTask),
    /// There is no schedule of that name.
    #[error("there is no schedule `{name}`; {known}")]
    NoSchedule {
        /// The name that was looked up.
        name: String,
        /// The schedules that exist, as the end of a sentence.
        known: String,
    },
    /// There is no job with this id.
    #[error("there is no job {id}")]
    JobNotFound {
        /// The id.
        id: JobId,
    },
    /// The job is not a workflow run.
    #[error("job {id} is not a workflow run")]
    NotARun {
        /// The job.
        id: JobId,
    },
    /// The workflow has no step of this name.
    #[error("the workflow `{workflow}` has no step `{step}`")]
    StepNotFound {
        /// The name of the workflow.
        workflow: String,
        /// The name of the step.
        step: String,
    },
    /// The store failed or refused the operation.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A large output cannot be read, or the large outputs of removed jobs cannot be removed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The broker failed or refused the operation.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The job ended as failed, so it has no result.
    #[error("job {id} failed: {failure}")]
    Failed {
        /// The job.
        id: JobId,
        /// The failure of the job.
        failure: Box<Failure>,
    },
    /// The job was cancelled, so it has no result.
    #[error("job {id} was cancelled")]
    Cancelled {
        /// The job.
        id: JobId,
    },
    /// The job has a result, but it cannot be deserialized into the type that this program expects.
    #[error("the result of job {id} is not of the type that this program expects")]
    Output {
        /// The job.
        id: JobId,
        /// The error of the deserializer.
        source: serde_json::Error,
    },
    /// The job was not accepted; the text states the reason. Its parent has ended or was cancelled, a job that it
    /// follows does not exist, its unique key is invalid, or an option needs a store or another option.
    #[error("{0}")]
    Rejected(String),
    /// The part cannot be retried: it has succeeded, has not ended, or does not exist, or its split was cut short, so
    /// that only the whole job can be retried.
    #[error("part {index} of job {id} cannot be retried: {}", kept_because(*how))]
    PartNotRetryable {
        /// The job.
        id: JobId,
        /// The index of the part.
        index: u64,
        /// The state in which the part ended; `None` if it has not ended or does not exist.
        how: Option<PartResult>,
    },
    /// Another job holds the unique key and has not ended.
    #[error("the unique key `{key}` is taken by job {by}, which has not ended")]
    KeyTaken {
        /// The unique key.
        key: String,
        /// The job that holds the key.
        by: JobId,
    },
    /// The job cannot be retried, because another job has taken its place: its workflow run runs the step again,
    /// after an earlier step was retried.
    #[error(
        "job {id} cannot be retried: its workflow run runs the step again as job {counts}, with the new outputs of the \
         steps before it"
    )]
    Superseded {
        /// The job that was to be retried.
        id: JobId,
        /// The job that runs the step instead. It may not exist yet.
        counts: JobId,
    },
    /// The job cannot be retried alone: a job above it was cancelled, so nothing below that job starts. Retry the job
    /// above.
    #[error("job {id} cannot be retried alone: its ancestor {ancestor} was cancelled; retry job {ancestor} instead")]
    AncestorCancelled {
        /// The job that was to be retried.
        id: JobId,
        /// The cancelled job above it.
        ancestor: JobId,
    },
    /// The job is in a state that does not allow the operation.
    #[error("job {id} is {state} and cannot be {verb}")]
    InvalidState {
        /// The job.
        id: JobId,
        /// The operation, such as `cancelled` or `retried`.
        verb: &'static str,
        /// The state of the job.
        state: State,
    },
    /// The job cannot be retried, because it has not ended and is still in progress: a process works on it, or its
    /// message waits in the outbox or in the broker.
    #[error("job {id} is {state} and cannot be retried, because it is still in progress: {why}")]
    InProgress {
        /// The job.
        id: JobId,
        /// The state of the job.
        state: State,
        /// The reason why the job waits: the text of [`Why::sentence`](crate::client::Why::sentence).
        why: String,
    },
    /// Events are switched off in this process: the setting `events` is `none`, the default over RabbitMQ.
    #[error("events are disabled: set ORK_EVENTS to `jobs` or `parts`, in this process and in the workers")]
    NoEvents,
    /// Some events were dropped, because this process read them more slowly than they arrived.
    #[error("{n} events were missed: they arrived faster than they were read")]
    MissedEvents {
        /// The number of dropped events.
        n: u64,
    },
    /// The outcome did not arrive, because this process is shutting down or has lost its broker. Without a store it
    /// is not recorded, so it cannot be read later either.
    #[error("the outcome of job {id} was not received, and without a store it is not recorded")]
    Lost {
        /// The job.
        id: JobId,
    },
}

fn kept_because(how: Option<PartResult>) -> &'static str {
    match how {
        Some(PartResult::Succeeded) => "it succeeded",
        Some(_) => "its split was cut short; retry the whole job",
        None => "it does not exist, or has not ended",
    }
}

/// The kinds of [`ClientError`], for programs that handle several errors alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientErrorKind {
    /// The job, the task, the part, the step or the schedule does not exist.
    NotFound,
    /// The input, or an option of the submission, is invalid.
    InvalidInput,
    /// The operation contradicts the state of the job, or another job holds the unique key.
    Conflict,
    /// The job failed or was cancelled, so it has no result.
    JobEnded,
    /// The store or the broker cannot be reached, or failed.
    Unavailable,
    /// The configuration of this process, or the program, does not allow the operation.
    Unsupported,
    /// Something was lost: an outcome without a store, events, or a result that cannot be read.
    Lost,
}

impl ClientError {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ClientErrorKind {
        use ClientErrorKind as Kind;
        match self {
            Self::JobNotFound { .. }
            | Self::NotARun { .. }
            | Self::StepNotFound { .. }
            | Self::UnknownTask(_)
            | Self::NoSchedule { .. } => Kind::NotFound,
            Self::Serialize { .. } | Self::InvalidInput { .. } | Self::Body(_) | Self::Hook(_) | Self::Rejected(_) => {
                Kind::InvalidInput
            }
            Self::SchemaChanged { .. }
            | Self::PartNotRetryable { .. }
            | Self::KeyTaken { .. }
            | Self::Superseded { .. }
            | Self::AncestorCancelled { .. }
            | Self::InvalidState { .. }
            | Self::InProgress { .. } => Kind::Conflict,
            Self::Failed { .. } | Self::Cancelled { .. } => Kind::JobEnded,
            Self::Store(error) => match error.kind() {
                StoreErrorKind::NotFound => Kind::NotFound,
                StoreErrorKind::Data => Kind::InvalidInput,
                StoreErrorKind::NoStore
                | StoreErrorKind::Config
                | StoreErrorKind::TooNew
                | StoreErrorKind::ReadOnly => Kind::Unsupported,
                StoreErrorKind::Unavailable | StoreErrorKind::Closed | StoreErrorKind::Corrupt => Kind::Unavailable,
            },
            Self::Objects(_) => Kind::Unavailable,
            Self::Broker(error) => match error.kind() {
                BrokerErrorKind::TooLarge => Kind::InvalidInput,
                BrokerErrorKind::Config => Kind::Unsupported,
                _ => Kind::Unavailable,
            },
            Self::NoEvents => Kind::Unsupported,
            Self::Output { .. } | Self::MissedEvents { .. } | Self::Lost { .. } => Kind::Lost,
        }
    }

    /// Returns whether the same call may succeed later, without any change by its caller: the store or the broker could
    /// not be reached.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.kind() == StoreErrorKind::Unavailable,
            Self::Broker(error) => {
                matches!(error.kind(), BrokerErrorKind::Disconnected | BrokerErrorKind::TimedOut)
            }
            Self::Objects(error) => error.kind() == ObjectErrorKind::Unavailable,
            _ => false,
        }
    }
}

impl From<SubmitError> for ClientError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(error) => Self::Store(error),
            SubmitError::Broker(error) => Self::Broker(error),
            SubmitError::Taken { key, job } => Self::KeyTaken { key: key.to_string(), by: job },
            error => Self::Rejected(error.to_string()),
        }
    }
}
