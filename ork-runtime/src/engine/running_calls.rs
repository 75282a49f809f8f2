//! The jobs that this process is running, so that a cancel reaches them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::id::JobId;

/// The running calls, by job and in the order in which they started, each with the token that stops it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunningCalls(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    begun: u64,
    tokens: BTreeMap<(JobId, u64), CancellationToken>,
}

/// A snapshot of the running calls.
///
/// The notice that a job has ended may arrive late, when the job was retried and is running again. So the order is:
/// take a snapshot, query the store for jobs that have ended, and stop their calls in the snapshot. A call that
/// started after the snapshot is never stopped by it.
#[derive(Debug)]
pub(crate) struct RunningSnapshot {
    /// The jobs with running calls.
    pub(crate) jobs: Vec<JobId>,
    begun: u64,
}

/// The registration of a running call, removed on drop.
#[derive(Debug)]
pub(super) struct RunningCall {
    running: RunningCalls,
    key: (JobId, u64),
    token: CancellationToken,
}

impl RunningCalls {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, job: JobId) -> RunningCall {
        let (mut calls, token) = (self.calls(), CancellationToken::new());
        let key = (job, calls.begun);
        calls.begun += 1;
        calls.tokens.insert(key, token.clone());
        RunningCall { running: self.clone(), key, token }
    }

    /// Returns whether any call is running.
    pub(crate) fn any(&self) -> bool {
        !self.calls().tokens.is_empty()
    }

    /// Returns whether a call of this job is running.
    pub(crate) fn runs(&self, job: JobId) -> bool {
        self.calls().tokens.range((job, 0)..=(job, u64::MAX)).next().is_some()
    }

    /// Takes a snapshot of the running calls.
    pub(crate) fn snapshot(&self) -> RunningSnapshot {
        let calls = self.calls();
        let mut jobs: Vec<_> = calls.tokens.keys().map(|(job, _)| *job).collect();
        jobs.dedup();
        RunningSnapshot { jobs, begun: calls.begun }
    }

    /// Cancels the calls of a job that are in the snapshot.
    pub(crate) fn stop(&self, job: JobId, snapshot: &RunningSnapshot) {
        for token in self.calls().tokens.range((job, 0)..(job, snapshot.begun)).map(|(_, token)| token) {
            token.cancel();
        }
    }
}

impl RunningCall {
    pub(super) const fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.running.calls().tokens.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_cancels_only_calls_in_the_snapshot() {
        let (running, job, other) = (RunningCalls::default(), JobId::new(), JobId::new());
        assert!(!running.any() && !running.runs(job));
        let (first, second, stranger) = (running.enter(job), running.enter(job), running.enter(other));
        let snapshot = running.snapshot();
        let mut jobs = vec![job, other];
        jobs.sort();
        assert_eq!(snapshot.jobs, jobs);
        // The job is retried while the store is queried.
        drop(second);
        let retried = running.enter(job);
        running.stop(job, &snapshot);
        assert!(first.token().is_cancelled());
        assert!(!retried.token().is_cancelled() && !stranger.token().is_cancelled());
        drop((first, retried));
        assert!(!running.runs(job) && running.runs(other) && running.any());
    }
}
