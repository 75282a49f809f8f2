//! The outcomes of calls, attempts and claimed work; the result of processing a delivery, or the reason why it could
//! not be processed.

use bytes::Bytes;

use super::inflight::part_key;
use crate::broker::{DeadLetterReason, Disposition, Rejected};
use crate::context::MadeParts;
use crate::message::Message;
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::task::CallError;
use crate::tx::PartKey;

/// The reason why a delivery could not be processed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It is not a valid message, or this program cannot run it. The second value is the part that it asks for.
    #[error("{}", .0.detail)]
    Rejected(Box<Rejected>, Option<PartKey>),
    /// The store has failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The worker has to stop before the delivery is done.
    #[error("the worker has to stop")]
    Interrupted,
}

/// The verdict on a delivery that could not be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The delivery is settled.
    Settle(Disposition),
    /// The delivery is processed again.
    Again,
}

/// The result of processing a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// The delivery is done: the work was run, or rightly not run.
    Settled,
    /// The work was run, and its input is not what the task takes.
    WrongInput(String),
    /// The work was lost with its workers too often.
    Exhausted(String),
    /// The worker has to stop: another one must run the work.
    Interrupted,
    /// The work needs a store, and this worker has none.
    NeedsStore(String),
    /// The job is storeless, and its input was made for another schema and does not match.
    OtherSchema(String),
}

impl Done {
    /// Returns the disposition of the delivery.
    pub(super) fn disposition(self) -> Disposition {
        match self {
            Self::Settled => Disposition::Ack,
            Self::WrongInput(detail) => Disposition::DeadLetter(DeadLetterReason::WrongInput, detail),
            Self::Exhausted(detail) => Disposition::DeadLetter(DeadLetterReason::Exhausted, detail),
            Self::Interrupted if mutant::is_on(Mutant::AcksInterrupted) => Disposition::Ack,
            Self::Interrupted => Disposition::Requeue,
            Self::NeedsStore(detail) => Disposition::RequeueElsewhere(DeadLetterReason::NeedsStore, detail),
            Self::OtherSchema(detail) => Disposition::RequeueElsewhere(DeadLetterReason::OtherSchema, detail),
        }
    }
}

/// The outcome of a call.
#[derive(Debug)]
pub(super) enum CallOutcome<T = Bytes> {
    /// The function returned this value.
    Returned(T),
    /// The function failed.
    Failed(CallError),
    /// The call was stopped: the worker has to stop, or the job has ended and its result is not wanted any more.
    Interrupted,
}

/// The outcome of claimed work.
#[derive(Debug)]
pub(super) enum WorkOutcome {
    /// An attempt has ended, which is to be recorded.
    Attempted(Attempt),
    /// There is nothing left to record; the result for the delivery.
    Recorded(Done),
}

/// The outcome of an attempt at a job or a part.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The function was called, and the call ended like this. The second value is the parts that the call has made of
    /// its job, if it has made any.
    Called(CallOutcome, Option<MadeParts>),
    /// The function was not called: the work was lost with its workers this often, which is too often.
    Lost(u32),
}

impl WorkOutcome {
    /// Returns the outcome of a call that makes no parts.
    pub(super) const fn called(called: CallOutcome) -> Self {
        Self::Attempted(Attempt::Called(called, None))
    }
}

/// Returns the error that rejects a message.
pub(super) fn rejected(message: &Message, reason: DeadLetterReason, detail: String) -> ProcessError {
    let refused = Rejected {
        reason,
        detail,
        reply: message.reply.clone(),
        job: Some(message.job),
        task: Some(message.task.clone()),
        hooks: message.hooks.clone(),
    };
    ProcessError::Rejected(Box::new(refused), part_key(message))
}
