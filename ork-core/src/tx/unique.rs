//! Unique keys: of all jobs with the same key, at most one is open.
//!
//! The store records the job that acquired a key last. The key is free once that job has ended, so a job never has to
//! release a key, and a crash cannot leave a key taken. A job without a recent heartbeat can lose its key: it is
//! cancelled first.

use std::sync::Arc;
use std::time::Duration;

use super::transaction::Transaction;
use super::types::KeyHolder;
use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::JobId;
use crate::job::UniqueKey;
use crate::mutant::{self, Mutant};

/// The time for which a process is considered alive after a heartbeat. Each process writes one every few seconds, with
/// the jobs that it works on.
pub const ALIVE: Duration = Duration::from_secs(15);

/// The job that holds a key now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ActiveHolder {
    /// The job.
    pub(super) job: JobId,
    /// Whether the job was last known to be alive longer ago than the caller allows.
    pub(super) stale: bool,
}

/// Creates the failure of a job that needs a key which another job holds.
pub fn key_taken(key: &str, holder: JobId) -> Failure {
    let message = format!("the unique key `{key}` is taken by job {holder}, which has not ended");
    Failure::new(FailureKind::Taken, message)
}

impl Transaction {
    /// Loads the last holder of a key, as the store has recorded it. `None` if the key was never acquired.
    pub fn open_unique(&mut self, key: Arc<str>, holder: Option<KeyHolder>) {
        self.uniques.insert(key, holder);
    }

    /// Whether the holder of this key is loaded.
    pub fn knows_unique(&self, key: &str) -> bool {
        self.uniques.contains_key(key)
    }

    /// Returns the job that holds a key, or `None` if the key is free.
    pub(super) fn active_holder(&self, unique: &UniqueKey, now: Timestamp) -> Option<ActiveHolder> {
        let holder = self.uniques.get(&unique.key).copied().flatten();
        let holder = holder.filter(|_| !mutant::is_on(Mutant::GrantsTakenKeys))?;
        // The job may have ended in this transaction.
        let open = self.get(holder.job).map_or(holder.open, |loaded| !loaded.job.state.is_final());
        let stale = unique.stale_after.is_some_and(|after| holder.seen + after.max(ALIVE) <= now);
        let stale = stale || (unique.stale_after.is_some() && mutant::is_on(Mutant::TakesOverActive));
        (open || mutant::is_on(Mutant::KeepsKey)).then_some(ActiveHolder { job: holder.job, stale })
    }

    /// Records that a job has acquired a key.
    pub(super) fn assign_key(&mut self, key: &Arc<str>, job: JobId, now: Timestamp) {
        self.writes().uniques.insert(Arc::clone(key), (job, now));
        self.uniques.insert(Arc::clone(key), Some(KeyHolder { job, seen: now, open: true }));
    }

    /// Lets a resumed job acquire its key again. If another job holds the key now, returns that job and changes
    /// nothing.
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
