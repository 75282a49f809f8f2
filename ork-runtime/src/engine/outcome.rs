//! The result of processing a delivery, or the reason why it could not be processed.

use crate::broker::{DeadLetterReason, Disposition, Rejected};
use crate::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::tx::PartKey;

/// Why a delivery could not be processed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It is not a valid message, or this program cannot run it.
    #[error("{}", .0.detail)]
    Rejected(Box<Rejected>, Option<PartKey>),
    /// The store has failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The end of the call was never recorded; the disposition of its delivery.
    #[error("the store failed, and the worker has to stop")]
    Unsettled(Disposition),
}

/// What becomes of a delivery that could not be processed.
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
