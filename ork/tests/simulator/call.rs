//! A call of a function, as the oracle sees it.

use ork::JobId;

use super::executor::Owner;

/// One call of a function.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) owner: Owner,
    pub(crate) job: JobId,
    /// The job or part, and the attempt.
    pub(crate) what: String,
    /// When its process last wrote something about the job before the call.
    pub(crate) claimed: u64,
    pub(crate) started: u64,
    /// The time limit, in microseconds.
    pub(crate) limit: Option<u64>,
    /// Whether one more loss would fail it, as far as its deliveries show.
    pub(crate) is_suspect: bool,
}

impl Call {
    /// The idempotency key, which names the job or part.
    pub(crate) fn key(&self) -> &str {
        self.what.split(' ').next().unwrap_or_default()
    }

    /// Returns whether this is the first attempt.
    pub(crate) fn is_first_attempt(&self) -> bool {
        self.what.ends_with(" attempt 1")
    }
}
