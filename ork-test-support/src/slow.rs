//! A store that reports results late and in another order: it carries work out at once, but a thread that shuffles the
//! results delivers them.

use std::collections::HashSet;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::progress::Progress;
use ork_core::tx::{Actor, OutboxId};
use ork_ports::store::Filter;
use ork_ports::store::SettledPart;
use ork_ports::store::{
    Expired, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, Notifier, OutboxPage, PartFilter, PartStatus, Prune,
    Pruned, Store, StoreError, Take, Work,
};
use uuid::Uuid;

use crate::reporting_work::ReportingWork;

type Late = (Box<dyn Work>, Result<(), StoreError>);

/// The store.
#[derive(Debug)]
pub struct SlowStore {
    store: Arc<dyn Store>,
    late: Mutex<Sender<Late>>,
}

impl SlowStore {
    /// Wraps a store. The seed determines the order of the results.
    pub fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        let (late, waiting) = channel::<Late>();
        std::thread::spawn(move || {
            let mut rng = fastrand::Rng::with_seed(seed);
            while let Ok(first) = waiting.recv() {
                let mut together = vec![first];
                // More results may be about to arrive, so other threads may run for a random number of turns.
                for _ in 0..rng.usize(..200) {
                    std::thread::yield_now();
                    together.extend(waiting.try_iter());
                }
                rng.shuffle(&mut together);
                for (work, result) in together {
                    work.finish(result);
                }
            }
        });
        Self { store, late: Mutex::new(late) }
    }
}

#[async_trait]
impl Store for SlowStore {
    fn notifier(&self) -> &Notifier {
        self.store.notifier()
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        let late = self.late.lock().unwrap().clone();
        let report = move |work, result| {
            // The thread ends with the test.
            let _gone = late.send((work, result));
        };
        self.store.enqueue(Box::new(ReportingWork { work, report }));
    }

    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError> {
        self.store.take_outbox(take).await
    }

    async fn delete_outbox(&self, ids: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        self.store.delete_outbox(ids, by).await
    }

    async fn release_outbox(&self, ids: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        self.store.release_outbox(ids, by).await
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        self.store.heartbeat(beat).await
    }

    async fn leave(&self, by: Actor) -> Result<(), StoreError> {
        self.store.leave(by).await
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        self.store.progress(job, part, progress).await
    }

    async fn record(&self, deltas: Vec<ork_core::metric::Delta>) -> Result<Vec<JobId>, StoreError> {
        self.store.record(deltas).await
    }

    async fn metrics(&self, of: ork_ports::store::MetricsOf) -> Result<Vec<ork_core::metric::Metric>, StoreError> {
        self.store.metrics(of).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        self.store.job(id).await
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        self.store.jobs(filter).await
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        self.store.parts(job, from, limit).await
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        self.store.list_parts(job, filter).await
    }

    async fn diagnostics(&self, id: JobId) -> Result<JobDiagnostics, StoreError> {
        self.store.diagnostics(id).await
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        self.store.store_id().await
    }

    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        self.store.existing_jobs(jobs).await
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        self.store.expired(before, limit).await
    }

    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        self.store.prune(prune).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        self.store.check().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
