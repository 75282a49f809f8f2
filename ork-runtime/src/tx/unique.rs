//! Unique keys: of all jobs with one key, one at a time has not ended.
//!
//! A key names the job that took it last. Whether it is free is asked of that job, so nobody has to give it back, and
//! no crash can keep it. A job that shows no sign of life can be made to give its key up: it is cancelled first.

use std::sync::Arc;
use std::time::Duration;

use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::JobId;
use crate::job::UniqueKey;
use crate::mutant::{self, Mutant};

/// For how long a sign of life is believed: processes say every few seconds that they live, and what they work on.
pub const ALIVE: Duration = Duration::from_secs(15);

/// The job that took a key last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHolder {
    /// The job.
    pub job: JobId,
    /// When it last showed a sign of life: it took the key, began, or a process worked on it or on a job below it.
    pub seen: Timestamp,
    /// Whether it is there and has not ended.
    pub open: bool,
}

/// The job that has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ActiveHolder {
    /// The job.
    pub(super) job: JobId,
    /// Whether it has shown no sign of life for as long as was asked about.
    pub(super) stale: bool,
}

/// Why a job fails whose key another one has.
pub fn key_taken(key: &str, active_holder: JobId) -> Failure {
    let words = format!("the unique key `{key}` is taken: job {active_holder} has it and has not ended");
    Failure::new(FailureKind::Taken, words)
}

impl Transaction {
    /// Takes what the store knows of a key: the job that took it last.
    pub fn open_unique(&mut self, key: Arc<str>, holder: Option<KeyHolder>) {
        self.uniques.insert(key, holder);
    }

    /// Whether this key was looked up.
    pub fn knows_unique(&self, key: &str) -> bool {
        self.uniques.contains_key(key)
    }

    /// The job that has a key; `None` if it is free.
    pub(super) fn active_holder(&self, unique: &UniqueKey, now: Timestamp) -> Option<ActiveHolder> {
        let holder = self.uniques.get(&unique.key).copied().flatten()?;
        // What the books say is newer.
        let open = self.get(holder.job).map_or(holder.open, |entry| !entry.job.state.is_final());
        let stale = unique.stale_after.is_some_and(|after| holder.seen + after.max(ALIVE) <= now);
        (open || mutant::is_on(Mutant::KeepsKey)).then_some(ActiveHolder { job: holder.job, stale })
    }

    /// Gives a key to a job.
    pub(super) fn assign_key(&mut self, key: &Arc<str>, job: JobId, now: Timestamp) {
        self.writes().uniques.insert(Arc::clone(key), (job, now));
        self.uniques.insert(Arc::clone(key), Some(KeyHolder { job, seen: now, open: true }));
    }

    /// Gives its key back to a job that is taken up after it had ended; answers the other job that has it meanwhile.
    pub(super) fn reacquire_key(&mut self, key: Option<&Arc<str>>, job: JobId, now: Timestamp) -> Option<JobId> {
        let key = key?;
        let unique = UniqueKey { key: Arc::clone(key), stale_after: None };
        if let Some(active_holder) = self.active_holder(&unique, now).filter(|active_holder| active_holder.job != job) {
            return Some(active_holder.job);
        }
        self.assign_key(key, job, now);
        None
    }
}
