//! The store `none`: nothing is kept. Plain tasks run; whatever needs a memory is refused in words.

use std::collections::HashSet;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Beat, Beaten, Changes, Expired, Filter, JobView, PartFilter, PartStatus, Prune, Pruned, Recorded, Situation, Store,
    StoreError, StoreErrorKind, Take, Taken, Work,
};
use crate::accounting::{By, OwedId};
use crate::clock::Timestamp;
use crate::context::Progress;
use crate::id::JobId;
use crate::metric::{Delta, Metric};
use crate::task::parts::SettledPart;

/// Keeps nothing.
#[derive(Debug)]
pub struct NoStore {
    changes: Changes,
}

impl NoStore {
    /// A store that keeps nothing.
    #[expect(clippy::new_without_default, reason = "every store is another one")]
    pub fn new() -> Self {
        Self { changes: Changes::new() }
    }
}

fn none<T>() -> Result<T, StoreError> {
    let words = "there is no store: this needs one, so name one with ORK_STORE, such as sqlite:.ork/ork.db";
    Err(StoreError::new(StoreErrorKind::NoStore, words))
}

#[async_trait]
impl Store for NoStore {
    fn keeps(&self) -> bool {
        false
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        work.finish(none());
    }

    async fn take(&self, _take: Take) -> Result<Taken, StoreError> {
        none()
    }

    async fn forget(&self, _owed: Vec<OwedId>, _by: By) -> Result<(), StoreError> {
        none()
    }

    async fn give_back(&self, _owed: Vec<OwedId>, _by: By) -> Result<(), StoreError> {
        none()
    }

    async fn beat(&self, _beat: Beat) -> Result<Beaten, StoreError> {
        Ok(Beaten::default())
    }

    async fn leave(&self, _by: By) -> Result<(), StoreError> {
        Ok(())
    }

    async fn progress(&self, _job: JobId, _part: Option<u64>, _progress: Progress) -> Result<(), StoreError> {
        Ok(())
    }

    async fn record(&self, _deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError> {
        Ok(Vec::new())
    }

    async fn metrics(&self, _of: Recorded) -> Result<Vec<Metric>, StoreError> {
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

    async fn situation(&self, _job: JobId) -> Result<Situation, StoreError> {
        none()
    }

    async fn identity(&self) -> Result<Uuid, StoreError> {
        none()
    }

    async fn known(&self, _jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        none()
    }

    async fn expired(&self, _before: Timestamp, _limit: usize) -> Result<Expired, StoreError> {
        none()
    }

    async fn prune(&self, _prune: Prune) -> Result<Pruned, StoreError> {
        none()
    }

    async fn check(&self) -> Result<String, StoreError> {
        Ok("none: jobs leave no trace, and jobs with parts cannot run".into())
    }

    async fn close(&self) {}
}
