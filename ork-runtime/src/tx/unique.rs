//! Unique keys: of all jobs with the same key, at most one is open.
//!
//! The store records the job that acquired a key last. The key is free once that job has ended, so no job returns a key,
//! and no crash can leave one taken. A job without a sign of life can lose its key: it is cancelled first.

use std::sync::Arc;
use std::time::Duration;

use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::JobId;
use crate::job::UniqueKey;
use crate::mutant::{self, Mutant};

/// How long a heartbeat is valid. Each process writes one every few seconds, with the jobs that it works on.
pub const ALIVE: Duration = Duration::from_secs(15);

/// The job that acquired a key last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHolder {
    /// The job.
    pub job: JobId,
    /// Its last sign of life: it acquired the key, it started, or a heartbeat named it or a job below it.
    pub seen: Timestamp,
    /// Whether it exists and has not ended.
    pub open: bool,
}

/// The job that holds a key now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ActiveHolder {
    /// The job.
    pub(super) job: JobId,
    /// Whether its last sign of life is older than the caller allows.
    pub(super) stale: bool,
}

/// The failure of a job whose key another job holds.
pub fn key_taken(key: &str, holder: JobId) -> Failure {
    let message = format!("the unique key `{key}` is taken: job {holder} has it and has not ended");
    Failure::new(FailureKind::Taken, message)
}

impl Transaction {
    /// Takes the last holder of a key from the store.
    pub fn open_unique(&mut self, key: Arc<str>, holder: Option<KeyHolder>) {
        self.uniques.insert(key, holder);
    }

    /// Whether this key was looked up.
    pub fn knows_unique(&self, key: &str) -> bool {
        self.uniques.contains_key(key)
    }

    /// The job that holds a key; `None` if the key is free.
    pub(super) fn active_holder(&self, unique: &UniqueKey, now: Timestamp) -> Option<ActiveHolder> {
        let holder = self.uniques.get(&unique.key).copied().flatten()?;
        // The job may have ended in this transaction.
        let open = self.get(holder.job).map_or(holder.open, |loaded| !loaded.job.state.is_final());
        let stale = unique.stale_after.is_some_and(|after| holder.seen + after.max(ALIVE) <= now);
        (open || mutant::is_on(Mutant::KeepsKey)).then_some(ActiveHolder { job: holder.job, stale })
    }

    /// Gives a key to a job.
    pub(super) fn assign_key(&mut self, key: &Arc<str>, job: JobId, now: Timestamp) {
        self.writes().uniques.insert(Arc::clone(key), (job, now));
        self.uniques.insert(Arc::clone(key), Some(KeyHolder { job, seen: now, open: true }));
    }

    /// Gives a resumed job its key again. Returns the other job that holds the key now, if there is one.
    pub(super) fn reacquire_key(&mut self, key: Option<&Arc<str>>, job: JobId, now: Timestamp) -> Option<JobId> {
        let key = key?;
        let unique = UniqueKey { key: Arc::clone(key), stale_after: None };
        if let Some(holder) = self.active_holder(&unique, now).filter(|holder| holder.job != job) {
            return Some(holder.job);
        }
        self.assign_key(key, job, now);
        None
    }
}
