//! The result of processing a delivery, or the reason why it could not be processed.

use crate::broker::{Disposition, Rejected};
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
