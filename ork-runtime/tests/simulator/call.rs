//! A call of a function, as the oracle sees it.

use ork::JobId;

use super::executor::Owner;

/// One call of a function.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) owner: Owner,
    pub(crate) job: JobId,
    /// Of which job or part it is, and which attempt.
    pub(crate) what: String,
    /// When its process last wrote something of its job before it began.
    pub(crate) claimed: u64,
    pub(crate) begun: u64,
    /// How long it may take.
    pub(crate) limit: Option<u64>,
}

impl Call {
    /// The idempotency key: of which job or part it is.
    pub(crate) fn key(&self) -> &str {
        self.what.split(' ').next().unwrap_or_default()
    }
}
