//! What comes of a delivery, or why it could not be brought to an end.

use crate::broker::{Disposition, Rejected};
use crate::store::StoreError;
use crate::tx::PartKey;

/// Why a delivery could not be brought to an end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It is no message, or not one for this program.
    #[error("{}", .0.detail)]
    Refused(Box<Rejected>, Option<PartKey>),
    /// The store did not do what it was asked.
    #[error("the store does not work")]
    Store(#[from] StoreError),
    /// How it ended was never written down; what becomes of its delivery.
    #[error("the store does not work, and the worker has to stop")]
    Unsettled(Disposition),
}

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// It is done with: run, or rightly not run.
    Settled,
    /// It was run, and its input is not what the task takes.
    WrongInput(String),
    /// Its workers died too often.
    Exhausted(String),
    /// The worker has to stop: another one must run it.
    Interrupted,
    /// It is about the parts of a job, and this worker has no store.
    NeedsStore(String),
    /// Its input was made for another schema and does not fit, and no store keeps it.
    OtherSchema(String),
}
