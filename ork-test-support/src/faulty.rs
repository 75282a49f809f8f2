//! The ports of one process, which fail at a chosen call: the process dies there, or gets an error.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::message::Outgoing;
use ork_core::progress::Progress;
use ork_core::tx::{Actor, OutboxId};
use ork_ports::broker::{
    Acker, Broker, BrokerError, BrokerErrorKind, Delivery, Disposition, Replies, Subscribe, Subscription,
};
use ork_ports::objects::{Object, ObjectError, ObjectErrorKind, Objects};
use ork_ports::store::Filter;
use ork_ports::store::SettledPart;
use ork_ports::store::{
    Expired, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, Notifier, OutboxPage, PartFilter, PartStatus, Prune,
    Pruned, Store, StoreError, StoreErrorKind, Take, Work,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::reporting_work::ReportingWork;

/// The time that the last call of a dying process may take.
const LAST_CALL: Duration = Duration::from_millis(200);

/// The kind of fault at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is carried out, and the process dies before it gets the result.
    Crash,
    /// The call is not carried out, and the process gets an error.
    Error,
}

/// Counts the calls of one process, and lets the fault happen at one of them.
pub struct Faults {
    at: usize,
    fault: Fault,
    calls: AtomicUsize,
    is_dead: AtomicBool,
    /// Fires when the last call of the process begins.
    doomed: CancellationToken,
    /// Fires when the last call has been carried out.
    died: CancellationToken,
    /// Work that ended after the death of its process. It is never finished.
    unreported: Mutex<Vec<Box<dyn Work>>>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at call {} of {}", self.fault, self.at, self.calls())
    }
}

/// The effect of the fault on one call.
enum Call {
    Forwarded,
    ForwardedUnreported,
    Failing,
    NotMade,
}

impl Faults {
    /// Lets the fault happen at call number `at`, counted from 1; 0 means at no call.
    pub fn at(at: usize, fault: Fault) -> Arc<Self> {
        let (calls, is_dead) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (doomed, died) = Default::default();
        Arc::new(Self { at, fault, calls, is_dead, doomed, died, unreported: Mutex::default() })
    }

    /// Returns the number of calls so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until the process has died, its last call included. If the process has dropped the future of that call,
    /// the call is cut off, whether it has taken effect or not.
    pub async fn death(&self) {
        self.doomed.cancelled().await;
        drop(tokio::time::timeout(LAST_CALL, self.died.cancelled()).await);
    }

    fn call(&self) -> Call {
        if self.is_dead.load(Ordering::SeqCst) {
            return Call::NotMade;
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 != self.at {
            return Call::Forwarded;
        }
        match self.fault {
            Fault::Error => Call::Failing,
            Fault::Crash => {
                self.is_dead.store(true, Ordering::SeqCst);
                self.doomed.cancel();
                Call::ForwardedUnreported
            }
        }
    }

    /// Makes a call unless it is to fail. No call of a dead process ever returns.
    async fn make<T, E>(&self, call: impl Future<Output = Result<T, E>>, error: impl FnOnce() -> E) -> Result<T, E> {
        match self.call() {
            Call::Failing => return Err(error()),
            Call::NotMade => {}
            Call::Forwarded => {
                let made = call.await;
                if !self.is_dead.load(Ordering::SeqCst) {
                    return made;
                }
            }
            Call::ForwardedUnreported => {
                drop(call.await);
                self.died.cancel();
            }
        }
        std::future::pending().await
    }
}

fn no_store() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "it is set to fail")
}

fn no_broker() -> BrokerError {
    BrokerError::new(BrokerErrorKind::Disconnected, "it is set to fail")
}

/// The store of a process that may die.
#[derive(Debug)]
pub struct FaultyStore(pub Arc<dyn Store>, pub Arc<Faults>);

#[async_trait]
impl Store for FaultyStore {
    fn notifier(&self) -> &Notifier {
        self.0.notifier()
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        let last = match self.1.call() {
            Call::Forwarded => false,
            Call::ForwardedUnreported => true,
            Call::Failing => return work.finish(Err(no_store())),
            Call::NotMade => return self.1.unreported.lock().unwrap().push(work),
        };
        let faults = Arc::clone(&self.1);
        let report = move |work: Box<dyn Work>, result| {
            if faults.is_dead.load(Ordering::SeqCst) {
                // Kept, because dropping it would report its end to the caller that waits for it.
                faults.unreported.lock().unwrap().push(work);
            } else {
                work.finish(result);
            }
            if last {
                faults.died.cancel();
            }
        };
        self.0.enqueue(Box::new(ReportingWork { work, report }));
    }

    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError> {
        self.1.make(self.0.take_outbox(take), no_store).await
    }

    async fn delete_outbox(&self, ids: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        self.1.make(self.0.delete_outbox(ids, by), no_store).await
    }

    async fn release_outbox(&self, ids: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        self.1.make(self.0.release_outbox(ids, by), no_store).await
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        self.1.make(self.0.heartbeat(beat), no_store).await
    }

    async fn leave(&self, by: Actor) -> Result<(), StoreError> {
        self.1.make(self.0.leave(by), no_store).await
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        self.1.make(self.0.progress(job, part, progress), no_store).await
    }

    async fn record(&self, deltas: Vec<ork_core::metric::Delta>) -> Result<Vec<JobId>, StoreError> {
        self.1.make(self.0.record(deltas), no_store).await
    }

    async fn metrics(&self, of: ork_ports::store::MetricsOf) -> Result<Vec<ork_core::metric::Metric>, StoreError> {
        self.1.make(self.0.metrics(of), no_store).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        self.1.make(self.0.job(id), no_store).await
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        self.1.make(self.0.jobs(filter), no_store).await
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        self.1.make(self.0.parts(job, from, limit), no_store).await
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        self.1.make(self.0.list_parts(job, filter), no_store).await
    }

    async fn diagnostics(&self, id: JobId) -> Result<JobDiagnostics, StoreError> {
        self.1.make(self.0.diagnostics(id), no_store).await
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        self.1.make(self.0.store_id(), no_store).await
    }

    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        self.1.make(self.0.existing_jobs(jobs), no_store).await
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        self.1.make(self.0.expired(before, limit), no_store).await
    }

    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        self.1.make(self.0.prune(prune), no_store).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        self.0.check().await
    }

    /// Does nothing, because the store outlives the process.
    async fn close(&self) {}
}

/// The object store of a process that may die.
#[derive(Debug)]
pub struct FaultyObjects(pub Arc<dyn Objects>, pub Arc<Faults>);

fn no_objects() -> ObjectError {
    ObjectError::new(ObjectErrorKind::Unavailable, "it is set to fail")
}

#[async_trait]
impl Objects for FaultyObjects {
    fn place(&self) -> &str {
        self.0.place()
    }

    async fn put(&self, name: &str, body: Bytes) -> Result<(), ObjectError> {
        self.1.make(self.0.put(name, body), no_objects).await
    }

    async fn get(&self, name: &str, bytes: u64) -> Result<Bytes, ObjectError> {
        self.1.make(self.0.get(name, bytes), no_objects).await
    }

    fn list(&self, word: &str) -> BoxStream<'static, Result<Object, ObjectError>> {
        self.0.list(word)
    }

    async fn remove(&self, names: Vec<String>) -> Result<(), ObjectError> {
        self.1.make(self.0.remove(names), no_objects).await
    }

    async fn check(&self) -> Result<String, ObjectError> {
        self.0.check().await
    }
}

/// The broker of a process that may die.
#[derive(Debug)]
pub struct FaultyBroker(pub Arc<dyn Broker>, pub Arc<Faults>);

#[async_trait]
impl Broker for FaultyBroker {
    fn needs_relay(&self) -> bool {
        self.0.needs_relay()
    }

    async fn prepare(&self, queues: &[Subscribe]) -> Result<(), BrokerError> {
        self.1.make(self.0.prepare(queues), no_broker).await
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>> {
        let n = messages.len();
        let publish = async { Ok(self.0.publish(messages).await) };
        let failed = |error: BrokerError| (0..n).map(|_| Err(BrokerError::new(error.kind(), "no"))).collect();
        self.1.make(publish, no_broker).await.unwrap_or_else(failed)
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        let subscription = self.1.make(self.0.subscribe(subscribe), no_broker).await?;
        Ok(Box::new(FaultySubscription(subscription, Arc::clone(&self.1))))
    }

    async fn replies(&self) -> Result<Option<Replies>, BrokerError> {
        self.0.replies().await
    }

    async fn waiting(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        self.1.make(self.0.waiting(queue), no_broker).await
    }

    async fn events(&self) -> Result<Option<tokio::sync::mpsc::Receiver<ork_core::event::Event>>, BrokerError> {
        self.0.events().await
    }

    async fn check(&self) -> Result<String, BrokerError> {
        self.0.check().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[derive(Debug)]
struct FaultySubscription(Box<dyn Subscription>, Arc<Faults>);

impl FaultySubscription {
    fn wrap(&self, delivery: Delivery) -> Delivery {
        let receipt = Box::new(FaultyAcker(delivery.acker, Arc::clone(&self.1)));
        Delivery { acker: receipt, ..delivery }
    }
}

#[async_trait]
impl Subscription for FaultySubscription {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.0.next().await?;
        if self.1.is_dead.load(Ordering::SeqCst) {
            drop(delivery);
            std::future::pending::<()>().await;
            return None;
        }
        Some(self.wrap(delivery))
    }

    fn ready(&mut self) -> Option<Delivery> {
        let delivery = self.0.ready()?;
        Some(self.wrap(delivery))
    }

    fn resize(&mut self, window: u16) {
        self.0.resize(window);
    }

    async fn stop(&mut self) {
        self.0.stop().await;
    }
}

#[derive(Debug)]
struct FaultyAcker(Box<dyn Acker>, Arc<Faults>);

impl Acker for FaultyAcker {
    /// Settles the delivery, unless the process is dead or has lost its connection: then the disposition does not reach
    /// the broker.
    fn settle(self: Box<Self>, disposition: Disposition) {
        match self.1.call() {
            Call::Forwarded => self.0.settle(disposition),
            Call::Failing | Call::NotMade => drop(self.0),
            Call::ForwardedUnreported => {
                self.0.settle(disposition);
                self.1.died.cancel();
            }
        }
    }
}
