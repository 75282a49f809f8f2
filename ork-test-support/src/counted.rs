//! A store and a broker that count the calls a process makes to them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::message::Outgoing;
use ork_core::progress::Progress;
use ork_core::tx::{Actor, OutboxId};
use ork_ports::broker::{Broker, BrokerError, Replies, Subscribe, Subscription};
use ork_ports::store::Filter;
use ork_ports::store::SettledPart;
use ork_ports::store::{
    Expired, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, Notifier, OutboxPage, PartFilter, PartStatus, Prune,
    Pruned, Store, StoreError, Take, Work,
};
use tokio::sync::watch;
use uuid::Uuid;

/// The number of calls, by name.
pub type Counts = BTreeMap<&'static str, usize>;

/// Counts calls. Clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<watch::Sender<Counts>>);

impl Calls {
    fn count(&self, call: &'static str) {
        self.0.send_modify(|calls| *calls.entry(call).or_default() += 1);
    }

    /// Makes a call, and counts it once it has returned.
    async fn made<T>(&self, call: &'static str, future: impl Future<Output = T>) -> T {
        let result = future.await;
        self.count(call);
        result
    }

    /// Returns how often each call was made so far.
    pub fn so_far(&self) -> Counts {
        self.0.borrow().clone()
    }

    /// Returns the calls made since `before`; a call that was not made is left out.
    pub fn since(&self, before: &Counts) -> Counts {
        let since = self.so_far().into_iter().map(|(call, n)| (call, n - before.get(call).unwrap_or(&0)));
        since.filter(|(_, n)| *n > 0).collect()
    }

    /// Returns how often `call` was made so far.
    pub fn of(&self, call: &str) -> usize {
        self.0.borrow().get(call).copied().unwrap_or_default()
    }

    /// Waits until `call` has been made at least `n` times.
    pub async fn reach(&self, call: &str, n: usize) {
        self.0.subscribe().wait_for(|calls| calls.get(call).is_some_and(|called| *called >= n)).await.unwrap();
    }
}

/// A store that counts its calls.
#[derive(Debug)]
pub struct CountedStore(pub Arc<dyn Store>, pub Calls);

#[async_trait]
impl Store for CountedStore {
    fn notifier(&self) -> &Notifier {
        self.0.notifier()
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        self.1.count("enqueue");
        self.0.enqueue(work);
    }

    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError> {
        self.1.made("take", self.0.take_outbox(take)).await
    }

    async fn delete_outbox(&self, ids: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        self.1.made("delete", self.0.delete_outbox(ids, by)).await
    }

    async fn release_outbox(&self, ids: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        self.1.made("release", self.0.release_outbox(ids, by)).await
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        self.1.made("beat", self.0.heartbeat(beat)).await
    }

    async fn leave(&self, by: Actor) -> Result<(), StoreError> {
        self.1.made("leave", self.0.leave(by)).await
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        self.1.made("progress", self.0.progress(job, part, progress)).await
    }

    async fn record(&self, deltas: Vec<ork_core::metric::Delta>) -> Result<Vec<JobId>, StoreError> {
        self.1.made("record", self.0.record(deltas)).await
    }

    async fn metrics(&self, of: ork_ports::store::MetricsOf) -> Result<Vec<ork_core::metric::Metric>, StoreError> {
        self.1.made("metrics", self.0.metrics(of)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        self.1.made("job", self.0.job(id)).await
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        self.1.made("jobs", self.0.jobs(filter)).await
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        self.1.made("parts", self.0.parts(job, from, limit)).await
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        self.1.made("list_parts", self.0.list_parts(job, filter)).await
    }

    async fn diagnostics(&self, id: JobId) -> Result<JobDiagnostics, StoreError> {
        self.1.made("diagnostics", self.0.diagnostics(id)).await
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        self.1.made("store_id", self.0.store_id()).await
    }

    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        self.1.made("existing", self.0.existing_jobs(jobs)).await
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        self.1.made("expired", self.0.expired(before, limit)).await
    }

    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        self.1.made("prune", self.0.prune(prune)).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        self.1.made("check", self.0.check()).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// A broker that counts its calls.
#[derive(Debug)]
pub struct CountedBroker(pub Arc<dyn Broker>, pub Calls);

#[async_trait]
impl Broker for CountedBroker {
    fn needs_relay(&self) -> bool {
        self.0.needs_relay()
    }

    async fn prepare(&self, queues: &[Subscribe]) -> Result<(), BrokerError> {
        self.1.made("prepare", self.0.prepare(queues)).await
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>> {
        self.1.made("publish", self.0.publish(messages)).await
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        self.1.made("subscribe", self.0.subscribe(subscribe)).await
    }

    async fn replies(&self) -> Result<Option<Replies>, BrokerError> {
        self.0.replies().await
    }

    async fn check(&self) -> Result<String, BrokerError> {
        self.1.made("check", self.0.check()).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
