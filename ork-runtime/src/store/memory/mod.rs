//! The store `memory:`: keeps everything in the memory of one process, and loses it with the process. For tests, and
//! for jobs that need no record.

mod doubt;
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
    Expired, Filter, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, MetricsOf, Notifier, OutboxPage, PartFilter,
    PartStatus, Prune, Pruned, Store, StoreError, Take, Work,
};
use crate::clock::Timestamp;
use crate::context::Progress;
use crate::id::JobId;
use crate::metric::{Delta, Metric};
use crate::task::parts::SettledPart;
use crate::tx::{Actor, OutboxId, StoreNotice};
pub use doubt::Holdings;
pub use tables::Tables;

/// A store in the memory of this process.
#[derive(Debug)]
pub struct Memory {
    tables: Mutex<Tables>,
    notifier: Notifier,
    identity: Uuid,
}

impl Memory {
    /// Creates an empty store.
    #[expect(clippy::new_without_default, reason = "each call creates a separate store")]
    pub fn new() -> Self {
        Self { tables: Mutex::default(), notifier: Notifier::new(), identity: Uuid::new_v4() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // The guard can be taken after a panic: operations are pure and do not panic midway, so the tables are
        // consistent.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, notices: impl IntoIterator<Item = StoreNotice>) {
        for change in notices {
            self.notifier.notify(change);
        }
    }
}

#[async_trait]
impl Store for Memory {
    fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    fn enqueue(&self, mut work: Box<dyn Work>) {
        let mut tables = self.tables();
        // Still under the lock: no other caller may take new rows before their events are sent.
        let notices = self.notifier.send_events(tables.apply(work.as_mut()));
        drop(tables);
        work.finish(Ok(()));
        self.notify(notices);
    }

    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError> {
        Ok(self.tables().take(&take))
    }

    async fn delete_outbox(&self, rows: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError> {
        self.tables().delete_outbox(&rows, &actor);
        Ok(())
    }

    async fn release_outbox(&self, rows: Vec<OutboxId>, actor: Actor) -> Result<(), StoreError> {
        let notices = self.tables().release_outbox(&rows, &actor);
        self.notify(notices);
        Ok(())
    }

    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        let (beaten, notices) = self.tables().heartbeat(heartbeat);
        self.notify(notices);
        Ok(beaten)
    }

    async fn leave(&self, actor: Actor) -> Result<(), StoreError> {
        let notices = self.tables().leave(&actor);
        self.notify(notices);
        Ok(())
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        let notices = self.tables().progress(job, part, progress);
        self.notify(notices);
        Ok(())
    }

    async fn record(&self, deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError> {
        Ok(self.tables().record(deltas))
    }

    async fn metrics(&self, of: MetricsOf) -> Result<Vec<Metric>, StoreError> {
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

    async fn diagnostics(&self, job: JobId) -> Result<JobDiagnostics, StoreError> {
        Ok(self.tables().diagnostics(job))
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        Ok(self.identity)
    }

    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        Ok(self.tables().known(jobs))
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        Ok(self.tables().expired(before, limit))
    }

    /// Ignores the limit of parts: nothing waits for a disk here.
    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        Ok(self.tables().prune(&prune))
    }

    async fn check(&self) -> Result<String, StoreError> {
        Ok("in memory: jobs are lost when the process ends".into())
    }

    async fn close(&self) {}
}
