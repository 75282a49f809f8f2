//! A worker died, and the next worker that gets its message does not have the task.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use ork::{FailureKind, JobId, JobState, Registry, Timestamp, WorkerId};
use ork_core::clock::Clock as _;
use ork_core::job::{Job, Phase};
use ork_core::tx::{Actor, Claim, Claimed, NewJob};
use ork_ports::store::{Heartbeat, Store};
use ork_runtime::clock::system::SystemClock;

use super::tasks::*;
use super::world::{World, fresh, header, shared, why};

async fn open(world: &World) -> Arc<dyn Store> {
    #[cfg(feature = "postgres")]
    if world.store.starts_with("postgres") {
        return Arc::new(ork_postgres::Postgres::open(&world.store).await.unwrap());
    }
    let path = world.store.strip_prefix("sqlite:").unwrap();
    Arc::new(ork_sqlite::Sqlite::open(path.as_ref(), ork_sqlite::Synchronous::Full).unwrap())
}

/// A process that is killed while it runs a job: it sends no more heartbeats.
pub(crate) struct DyingProcess {
    store: Arc<dyn Store>,
    worker: WorkerId,
}

impl DyingProcess {
    pub(crate) async fn new(world: &World) -> Self {
        Self { store: open(world).await, worker: WorkerId::new("doomed") }
    }

    fn by(&self) -> Actor {
        Actor {
            worker: self.worker.clone(),
            now: SystemClock.now(),
            hold: false,
            events: ork_core::event::EventRouting::Off,
        }
    }

    /// Sends a heartbeat; returns until when the process is presumed alive.
    pub(crate) async fn beat(&self, ttl: Duration) -> Timestamp {
        let by = self.by();
        let until = by.now + ttl;
        self.store
            .heartbeat(Heartbeat { ttl, running: Vec::new(), holding: Vec::new(), waiting: Vec::new(), actor: by })
            .await
            .unwrap();
        until
    }

    pub(crate) async fn claim(&self, id: JobId) {
        let unknown = NewJob { job: Job::new(id, "gated", SystemClock.now()), input: "{}".into() };
        let claim = Claim { durable: true, ..Claim::new(unknown, Phase::Start, 1, self.by()) };
        assert!(matches!(self.store.apply(claim).await.unwrap().output, Claimed::Granted { .. }));
    }
}

/// Regression test: without the wait, a job stayed `running` forever.
#[test]
fn job_of_a_dead_worker_fails_when_no_worker_has_its_task() {
    shared(|world| async move {
        let client = world.client().await;
        let key = fresh();
        let job = client.submit(gated { key }).await.unwrap();
        let doomed = DyingProcess::new(&world).await;
        let foreigner = world.foreigner().await;
        let (options, queue) = (BasicConsumeOptions::default(), format!("{}.task.plain", world.prefix));
        let consume = foreigner.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut deliveries = consume.await.unwrap();
        let held = deliveries.next().await.unwrap().unwrap();
        assert!(!held.redelivered);
        doomed.beat(Duration::from_mins(1)).await;
        doomed.claim(job.id()).await;
        // Its connection is gone, but the process may be alive.
        foreigner.channel.close(200, "killed".into()).await.unwrap();

        let known = Arc::clone(Registry::collect().unwrap().get("add").unwrap());
        let older = world.builder().registry(Registry::of([known.work]).unwrap()).build().await.unwrap();
        let mut watcher = world.foreigner().await;
        older.spawn_worker();
        // These jobs are behind it in the queue.
        for a in 0..20 {
            assert_eq!(client.submit(add { a, b: 1 }).result().await.unwrap(), a + 1);
        }
        assert_eq!(job.status().await.unwrap().state, JobState::Running);
        let until = doomed.beat(Duration::from_secs(2)).await;
        // A worker that stops while it waits requeues the message for the next one.
        older.worker().kill();
        older.shutdown().await;
        let older = world.builder().registry(Registry::of([known.work]).unwrap()).build().await.unwrap();
        older.spawn_worker();
        let outcome = job.wait().await.unwrap();
        assert!(why(&outcome).contains("gated"), "{outcome:?}");
        let status = outcome.status();
        assert_eq!(status.failure.as_ref().unwrap().kind, FailureKind::UnknownTask);
        assert!(status.ended.unwrap() > until, "it was rejected before its process was presumed dead");
        assert_eq!(header(&watcher.dead().await, "x-ork-reason"), "unknown-task");
        older.shutdown().await;
        client.shutdown().await;
        doomed.store.close().await;
    });
}
