//! The store `none`: records nothing. Plain tasks run; operations that require a store return
//! [`StoreErrorKind::NoStore`].

use std::collections::HashSet;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Expired, Filter, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, MetricsOf, Notifier, OutboxPage, PartFilter,
    PartStatus, Prune, Pruned, Store, StoreError, StoreErrorKind, Take, Work,
};
use crate::clock::Timestamp;
use crate::context::Progress;
use crate::id::JobId;
use crate::metric::{Delta, Metric};
use crate::task::parts::SettledPart;
use crate::tx::{Actor, OutboxId};

/// A store that records nothing.
#[derive(Debug)]
pub struct NoStore {
    notifier: Notifier,
}

impl NoStore {
    /// Creates the store.
    #[expect(clippy::new_without_default, reason = "each call creates a separate store")]
    pub fn new() -> Self {
        Self { notifier: Notifier::new() }
    }
}

fn none<T>() -> Result<T, StoreError> {
    let message = "this operation requires a store: set ORK_STORE, e.g. to sqlite:.ork/ork.db";
    Err(StoreError::new(StoreErrorKind::NoStore, message))
}

#[async_trait]
impl Store for NoStore {
    fn records_jobs(&self) -> bool {
        false
    }

    fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        work.finish(none());
    }

    async fn take_outbox(&self, _take: Take) -> Result<OutboxPage, StoreError> {
        none()
    }

    async fn delete_outbox(&self, _owed: Vec<OutboxId>, _by: Actor) -> Result<(), StoreError> {
        none()
    }

    async fn release_outbox(&self, _owed: Vec<OutboxId>, _by: Actor) -> Result<(), StoreError> {
        none()
    }

    async fn heartbeat(&self, _beat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        Ok(HeartbeatReply::default())
    }

    async fn leave(&self, _by: Actor) -> Result<(), StoreError> {
        Ok(())
    }

    async fn progress(&self, _job: JobId, _part: Option<u64>, _progress: Progress) -> Result<(), StoreError> {
        Ok(())
    }

    async fn record(&self, _deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError> {
        Ok(Vec::new())
    }

    async fn metrics(&self, _of: MetricsOf) -> Result<Vec<Metric>, StoreError> {
        none()
    }

    async fn job(&self, _id: JobId) -> Result<Option<JobView>, StoreError> {
        none()
    }

    async fn jobs(&self, _filter: Filter) -> Result<Vec<JobView>, StoreError> {
        none()
    }

    async fn parts(&self, _job: JobId, _from: u64, _limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        none()
    }

    async fn list_parts(&self, _job: JobId, _filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        none()
    }

    async fn diagnostics(&self, _job: JobId) -> Result<JobDiagnostics, StoreError> {
        none()
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        none()
    }

    async fn existing_jobs(&self, _jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        none()
    }

    async fn expired(&self, _before: Timestamp, _limit: usize) -> Result<Expired, StoreError> {
        none()
    }

    async fn prune(&self, _prune: Prune) -> Result<Pruned, StoreError> {
        none()
    }

    async fn check(&self) -> Result<String, StoreError> {
        Ok("none: jobs are not recorded, and jobs with parts cannot run".into())
    }

    async fn close(&self) {}
}
