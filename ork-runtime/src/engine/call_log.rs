//! The log of calls: a line for each call that failed, and at the level `info` one for each job that succeeded.

use super::Engine;
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::JobId;

/// A call, as the log names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) job: JobId,
    /// The index of the part; `None` for a call of the job itself.
    pub(super) part: Option<u64>,
    pub(super) task: &'a str,
    pub(super) attempt: u32,
}

impl Call<'_> {
    /// Logs that the call has returned.
    pub(super) fn succeeded(self) {
        let Self { job, part, task, attempt } = self;
        match part {
            None => tracing::info!(target: "ork::job", %job, task, attempt, "succeeded"),
            // A job may have millions of them.
            Some(part) => tracing::debug!(target: "ork::job", %job, part, task, attempt, "succeeded"),
        }
    }

    /// Logs that the call has failed, and when the next attempt is due, if there is one.
    pub(super) fn failed(self, engine: &Engine, failure: &Failure, retry_at: Option<Timestamp>) {
        let Self { job, part, task, attempt } = self;
        let error = tracing::field::display(failure);
        let Some(due) = retry_at else {
            return tracing::warn!(target: "ork::job", %job, part, task, attempt, error, "failed");
        };
        let pause = humantime::format_duration(due - engine.clock.now());
        tracing::warn!(target: "ork::job", %job, part, task, attempt, error, "failed, retry in {pause}");
    }
}
