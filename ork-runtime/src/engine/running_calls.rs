//! Which jobs this process runs right now, so that a cancel reaches them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::id::JobId;

/// The calls that run here, by job and in the order in which they began, each with the token that stops it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    begun: u64,
    tokens: BTreeMap<(JobId, u64), CancellationToken>,
}

/// What ran here at one moment.
///
/// News of the end of a job may come late, when the job was retried and runs again. So the order is: note what runs, ask
/// the store which jobs have ended, stop what was noted of these. What began after the note is never stopped by it.
#[derive(Debug)]
pub(crate) struct Noted {
    /// Whose calls ran.
    pub(crate) jobs: Vec<JobId>,
    begun: u64,
}

/// Says that a job, or parts of it, run here, until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    running: Running,
    key: (JobId, u64),
    token: CancellationToken,
}

impl Running {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, job: JobId) -> Guest {
        let (mut calls, token) = (self.calls(), CancellationToken::new());
        let key = (job, calls.begun);
        calls.begun += 1;
        calls.tokens.insert(key, token.clone());
        Guest { running: self.clone(), key, token }
    }

    /// Whether any job runs here.
    pub(crate) fn any(&self) -> bool {
        !self.calls().tokens.is_empty()
    }

    /// Whether this job runs here.
    pub(crate) fn runs(&self, job: JobId) -> bool {
        self.calls().tokens.range((job, 0)..=(job, u64::MAX)).next().is_some()
    }

    /// What runs here now.
    pub(crate) fn note(&self) -> Noted {
        let calls = self.calls();
        let mut jobs: Vec<_> = calls.tokens.keys().map(|(job, _)| *job).collect();
        jobs.dedup();
        Noted { jobs, begun: calls.begun }
    }

    /// Asks what was noted of a job to stop.
    pub(crate) fn stop(&self, job: JobId, noted: &Noted) {
        for token in self.calls().tokens.range((job, 0)..(job, noted.begun)).map(|(_, token)| token) {
            token.cancel();
        }
    }
}

impl Guest {
    pub(super) const fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.running.calls().tokens.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_noted_of_a_job_is_stopped() {
        let (running, job, other) = (Running::default(), JobId::new(), JobId::new());
        assert!(!running.any() && !running.runs(job));
        let (first, second, stranger) = (running.enter(job), running.enter(job), running.enter(other));
        let noted = running.note();
        let mut jobs = vec![job, other];
        jobs.sort();
        assert_eq!(noted.jobs, jobs);
        // It was retried while the store was asked.
        drop(second);
        let retried = running.enter(job);
        running.stop(job, &noted);
        assert!(first.token().is_cancelled());
        assert!(!retried.token().is_cancelled() && !stranger.token().is_cancelled());
        drop((first, retried));
        assert!(!running.runs(job) && running.runs(other) && running.any());
    }
}
