//! A store that fails for a while under a worker: the worker keeps what it has taken until the store works again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ork::{Clock, Filter, JobId, JobState, Timestamp, WorkerId};
use ork_amqp::Amqp;
use ork_core::clock::Pause;
use ork_core::progress::Progress;
use ork_core::tx::{Actor, OutboxId};
use ork_ports::store::SettledPart;
use ork_ports::store::{
    Expired, Heartbeat, HeartbeatReply, JobDiagnostics, JobView, Notifier, OutboxPage, PartFilter, PartStatus, Prune,
    Pruned, Store, StoreError, StoreErrorKind, Take, Work,
};
use ork_runtime::clock::system::SystemClock;
use ork_sqlite::{Sqlite, Synchronous};
use tokio::sync::watch;
use uuid::Uuid;

use super::parts::{Followed, make, part};
use super::tasks::*;
use super::world::{World, fresh, once};

/// A store that refuses every operation while it is broken.
#[derive(Debug)]
struct Flaky {
    store: Arc<dyn Store>,
    broken: watch::Sender<bool>,
    /// Whether rows cannot be removed from the outbox.
    cannot_delete: watch::Sender<bool>,
    /// How many operations it has refused.
    refused: watch::Sender<usize>,
    /// How many rows were removed from the outbox.
    deleted: watch::Sender<usize>,
}

impl Flaky {
    fn works(&self) -> Result<(), StoreError> {
        if !*self.broken.borrow() {
            return Ok(());
        }
        self.refused.send_modify(|n| *n += 1);
        Err(StoreError::new(StoreErrorKind::Unavailable, "it is set to fail"))
    }

    /// Waits until this many more operations were refused.
    async fn refused(&self, n: usize) {
        let mut refused = self.refused.subscribe();
        let before = *refused.borrow_and_update();
        refused.wait_for(|now| *now >= before + n).await.unwrap();
    }
}

#[async_trait]
impl Store for Flaky {
    fn notifier(&self) -> &Notifier {
        self.store.notifier()
    }

    fn enqueue(&self, work: Box<dyn Work>) {
        match self.works() {
            Ok(()) => self.store.enqueue(work),
            Err(error) => work.finish(Err(error)),
        }
    }

    async fn take_outbox(&self, take: Take) -> Result<OutboxPage, StoreError> {
        self.works()?;
        self.store.take_outbox(take).await
    }

    async fn delete_outbox(&self, ids: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        if *self.cannot_delete.borrow() {
            self.refused.send_modify(|refused| *refused += 1);
            return Err(StoreError::new(StoreErrorKind::Unavailable, "nothing can be removed from the outbox"));
        }
        self.works()?;
        let n = ids.len();
        self.store.delete_outbox(ids, by).await?;
        self.deleted.send_modify(|deleted| *deleted += n);
        Ok(())
    }

    async fn release_outbox(&self, ids: Vec<OutboxId>, by: Actor) -> Result<(), StoreError> {
        self.works()?;
        self.store.release_outbox(ids, by).await
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<HeartbeatReply, StoreError> {
        self.works()?;
        self.store.heartbeat(beat).await
    }

    async fn leave(&self, by: Actor) -> Result<(), StoreError> {
        self.works()?;
        self.store.leave(by).await
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        self.works()?;
        self.store.progress(job, part, progress).await
    }

    async fn record(&self, deltas: Vec<ork_core::metric::Delta>) -> Result<Vec<JobId>, StoreError> {
        self.works()?;
        self.store.record(deltas).await
    }

    async fn metrics(&self, of: ork_ports::store::MetricsOf) -> Result<Vec<ork::Metric>, StoreError> {
        self.works()?;
        self.store.metrics(of).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        self.works()?;
        self.store.job(id).await
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        self.works()?;
        self.store.jobs(filter).await
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        self.works()?;
        self.store.parts(job, from, limit).await
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        self.works()?;
        self.store.list_parts(job, filter).await
    }

    async fn diagnostics(&self, job: JobId) -> Result<JobDiagnostics, StoreError> {
        self.works()?;
        self.store.diagnostics(job).await
    }

    async fn store_id(&self) -> Result<Uuid, StoreError> {
        self.works()?;
        self.store.store_id().await
    }

    async fn existing_jobs(&self, jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        self.works()?;
        self.store.existing_jobs(jobs).await
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        self.works()?;
        self.store.expired(before, limit).await
    }

    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        self.works()?;
        self.store.prune(prune).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        self.store.check().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// Starts a worker with a store that can be broken, over a file that other processes use too.
async fn flaky_worker(world: &World) -> (ork::Ork, Arc<Flaky>) {
    flaky_worker_at(world, "flaky", Arc::new(SystemClock)).await
}

async fn flaky_worker_at(world: &World, name: &str, clock: Arc<dyn Clock>) -> (ork::Ork, Arc<Flaky>) {
    let path = world.store.strip_prefix("sqlite:").unwrap();
    let store = Arc::new(Sqlite::open(path.as_ref(), Synchronous::Full).unwrap());
    let flaky = Arc::new(Flaky {
        store,
        broken: watch::channel(false).0,
        cannot_delete: watch::channel(false).0,
        refused: watch::channel(0).0,
        deleted: watch::channel(0).0,
    });
    let mut config = ork_amqp::Config::new(&world.url).unwrap();
    config.prefix.clone_from(&world.prefix);
    let broker = Arc::new(Amqp::new(config).unwrap());
    let store: Arc<dyn Store> = Arc::<Flaky>::clone(&flaky);
    let ork = world.builder().clock(clock).ports(store, Some(broker), WorkerId::new(name)).build().await.unwrap();
    ork.spawn_worker();
    (ork, flaky)
}

#[test]
fn temporary_store_failure_loses_nothing() {
    once(|world| async move {
        let client = world.client().await;
        let (worker, flaky) = flaky_worker(&world).await;
        let (key, run) = (fresh(), fresh());
        let job = client.submit(gated { key: key.clone() }).await.unwrap();
        let parts = count_part { count: 300, run: run.clone(), hold: 100, failing: Vec::new() };
        let parts = client.submit(parts).await.unwrap();
        Gate::of(&key).entered(1).await;
        Gate::of(&run).entered(100).await;

        flaky.broken.send_replace(true);
        // The outcomes of calls cannot be recorded, and arriving work cannot be claimed.
        Gate::of(&key).open();
        Gate::of(&run).open();
        let sums = client.submit_all((0..200).map(|a| add { a, b: 1 })).await.unwrap();
        flaky.refused(300).await;
        assert_eq!(job.status().await.unwrap().state, JobState::Running);
        assert!(parts.status().await.unwrap().parts.settled() < 300);

        flaky.broken.send_replace(false);
        assert_eq!(job.result().await.unwrap(), key);
        for (a, sum) in (0..).zip(&sums) {
            assert_eq!(sum.result().await.unwrap(), a + 1);
        }
        assert_eq!(parts.result().await.unwrap(), 299 * 300 / 2);
        let status = parts.status().await.unwrap();
        assert_eq!((status.parts.succeeded, status.parts.settled(), status.attempt), (300, 300, 2));
        assert_eq!(calls(&format!("{}.join", parts.id())), 1);
        // Nothing was moved to the dead letters in the meantime.
        let report = client_check(&world).await;
        assert!(report.ends_with(": empty"), "{report}");
        worker.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn worker_stops_while_its_store_fails_and_the_next_one_continues() {
    once(|world| async move {
        let client = world.client().await;
        let (first, flaky) = flaky_worker(&world).await;
        let key = fresh();
        let job = client.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        flaky.broken.send_replace(true);
        Gate::of(&key).open();
        flaky.refused(1).await;
        first.worker().kill();
        first.shutdown().await;
        let next = world.worker().await;
        assert_eq!(job.result().await.unwrap(), key);
        assert_eq!(job.status().await.unwrap().attempt, 1);
        next.shutdown().await;
        client.shutdown().await;
    });
}

/// A clock that is so far ahead that all current processes are presumed dead.
#[derive(Debug)]
struct Ahead(SystemClock);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now() + Duration::from_mins(1)
    }

    fn pause(&self, duration: Duration) -> Pause {
        self.0.pause(duration)
    }
}

/// Regression test: both jobs reported that a hook was not sent, because the part queue no longer existed.
#[test]
fn completed_set_reports_no_failure_when_its_rows_are_found_again() {
    once(|world| async move {
        let (first, flaky) = flaky_worker(&world).await;
        let foreigner = world.foreigner().await;
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let queue = format!("part.{}", fresh());
        make(&foreigner, &queue, lapin::types::FieldTable::default()).await;
        flaky.cannot_delete.send_replace(true);
        for id in 0..2 {
            let properties = part(id, 2, &queue, r#"[{"route": "after", "inputs": 1}]"#);
            foreigner.publish("add", br#"{"a": 1, "b": 2}"#, properties).await;
        }
        followed.next().await;
        // The process itself finds the rows of both parts again.
        flaky.refused(6).await;
        // After its death, another process does.
        flaky.broken.send_replace(true);
        first.worker().kill();
        first.shutdown().await;
        let (next, healthy) = flaky_worker_at(&world, "next", Arc::new(Ahead(SystemClock))).await;
        healthy.deleted.subscribe().wait_for(|deleted| *deleted >= 2).await.unwrap();
        followed.nothing().await;
        for id in 0..2 {
            let job = JobId::from_foreign(&format!("{queue}.{id}"));
            assert_eq!(next.status(job).await.unwrap().hooks_failed, None);
            let why = next.why(job).await.unwrap().to_string();
            assert!(!why.contains("could not be sent"), "{why}");
        }
        next.shutdown().await;
    });
}

/// Returns what the broker reports about itself.
async fn client_check(world: &World) -> String {
    use ork_ports::broker::Broker as _;
    let mut config = ork_amqp::Config::new(&world.url).unwrap();
    config.prefix.clone_from(&world.prefix);
    let broker = Amqp::new(config).unwrap();
    let report = broker.check().await.unwrap();
    broker.close().await;
    report
}
