//! The store `memory:`: everything in one process's memory, gone with it. For tests and for jobs that need no trace.

mod follows;
mod metrics;
mod parts;
mod tables;
mod workers;

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Beat, Beaten, Changes, Expired, Filter, JobView, PartFilter, PartStatus, Prune, Pruned, Recorded, Situation, Store,
    StoreError, Take, Taken, Work,
};
use crate::accounting::{By, Change, OwedId};
use crate::clock::Timestamp;
use crate::context::Progress;
use crate::id::JobId;
use crate::metric::{Delta, Metric};
use crate::task::parts::SettledPart;
pub use tables::Tables;

/// Keeps everything in memory.
#[derive(Debug)]
pub struct Memory {
    tables: Mutex<Tables>,
    changes: Changes,
    identity: Uuid,
}

impl Memory {
    /// An empty store.
    #[expect(clippy::new_without_default, reason = "every store is another one")]
    pub fn new() -> Self {
        Self { tables: Mutex::default(), changes: Changes::new(), identity: Uuid::new_v4() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Operations are pure and do not panic half-way; what a panic elsewhere left is whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.changes.tell(change);
        }
    }
}

#[async_trait]
impl Store for Memory {
    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn enqueue(&self, mut work: Box<dyn Work>) {
        let mut tables = self.tables();
        // Nobody else may take what is new before its events are told.
        let changes = self.changes.tell_events(tables.apply(work.as_mut()));
        drop(tables);
        work.finish(Ok(()));
        self.tell(changes);
    }

    async fn take(&self, take: Take) -> Result<Taken, StoreError> {
        Ok(self.tables().take(&take))
    }

    async fn forget(&self, owed: Vec<OwedId>, by: By) -> Result<(), StoreError> {
        self.tables().forget(&owed, &by);
        Ok(())
    }

    async fn give_back(&self, owed: Vec<OwedId>, by: By) -> Result<(), StoreError> {
        let changes = self.tables().give_back(&owed, &by);
        self.tell(changes);
        Ok(())
    }

    async fn beat(&self, beat: Beat) -> Result<Beaten, StoreError> {
        let (beaten, changes) = self.tables().beat(beat);
        self.tell(changes);
        Ok(beaten)
    }

    async fn leave(&self, by: By) -> Result<(), StoreError> {
        let changes = self.tables().leave(&by);
        self.tell(changes);
        Ok(())
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        let changes = self.tables().progress(job, part, progress);
        self.tell(changes);
        Ok(())
    }

    async fn record(&self, deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError> {
        Ok(self.tables().record(deltas))
    }

    async fn metrics(&self, of: Recorded) -> Result<Vec<Metric>, StoreError> {
        Ok(self.tables().recorded(of))
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        Ok(self.tables().job(id))
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        Ok(self.tables().jobs(&filter))
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        Ok(self.tables().parts(job, from, limit))
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        Ok(self.tables().list_parts(job, &filter))
    }

    async fn situation(&self, job: JobId) -> Result<Situation, StoreError> {
        Ok(self.tables().situation(job))
    }

    async fn identity(&self) -> Result<Uuid, StoreError> {
        Ok(self.identity)
    }

    async fn known(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        Ok(self.tables().known(jobs))
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        Ok(self.tables().expired(before, limit))
    }

    /// A page ends nowhere here: nobody waits for a disk.
    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        Ok(self.tables().prune(&prune))
    }

    async fn check(&self) -> Result<String, StoreError> {
        Ok("in memory: jobs are gone when the process ends".into())
    }

    async fn close(&self) {}
}
