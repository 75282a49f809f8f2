//! Unique keys: of all jobs with one key, one at a time has not ended.
//!
//! A key names the job that took it last. Whether it is free is asked of that job, so nobody has to give it back, and
//! no crash can keep it.

use std::sync::Arc;

use super::books::Books;
use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::JobId;
use crate::job::Unique;

/// The job that took a key last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The job.
    pub job: JobId,
    /// When it took the key.
    pub since: Timestamp,
    /// Whether it is there and has not ended.
    pub open: bool,
}

/// Why a job fails whose key another one has.
pub fn taken(key: &str, keeper: JobId) -> Failure {
    let words = format!("the unique key `{key}` is taken: job {keeper} has it and has not ended");
    Failure::new(FailureKind::Taken, words)
}

impl Books {
    /// Takes what the store knows of a key: who took it last.
    pub fn open_unique(&mut self, key: Arc<str>, holder: Option<Holder>) {
        self.uniques.insert(key, holder);
    }

    /// Whether this key was looked up.
    pub fn knows_unique(&self, key: &str) -> bool {
        self.uniques.contains_key(key)
    }

    /// The job that has a key; `None` if it is free.
    pub(super) fn keeper(&self, unique: &Unique, now: Timestamp) -> Option<JobId> {
        let holder = self.uniques.get(&unique.key).copied().flatten()?;
        // What the books say is newer.
        let open = self.get(holder.job).map_or(holder.open, |entry| !entry.job.state.is_final());
        let stale = unique.stale_after.is_some_and(|after| holder.since + after <= now);
        (open && !stale).then_some(holder.job)
    }

    /// Gives a key to a job.
    pub(super) fn hold(&mut self, unique: &Unique, job: JobId, now: Timestamp) {
        self.writes().uniques.insert(Arc::clone(&unique.key), (job, now));
        self.uniques.insert(Arc::clone(&unique.key), Some(Holder { job, since: now, open: true }));
    }
}
