//! The calls that a process makes to its store and its broker while it only waits for its tasks.
//!
//! The tests were checked against two broken variants, and each variant failed its test: a pump and a relay that also
//! poll once a second, and an additional heartbeat for each running job.

use std::sync::Arc;
use std::time::Duration;

use ork::{Ork, Result, Timestamp, WorkerId, task};
use ork_core::clock::Clock;
use ork_ports::broker::Broker;
use ork_ports::store::Store;
use ork_runtime::broker::embedded::Embedded;
use ork_runtime::runtime::system::TokioRuntime;
use ork_runtime::store::memory::Memory;

use super::clock::Manual;
use super::counted::{Calls, CountedBroker, CountedStore, Counts};
use super::hub::{Hub, HubEnd};
use super::tasks::*;
use super::world::{DEADLINE, builder};

/// The interval of the heartbeat.
const BEAT: Duration = Duration::from_secs(5);

/// The least pause after a heartbeat, whatever happens.
const REST: Duration = Duration::from_millis(200);

/// The time from the end of that pause to the next heartbeat.
const SLEEP: Duration = Duration::from_millis(4_800);

/// A process that works over counted ports and a manual clock.
struct World {
    ork: Ork,
    clock: Arc<Manual>,
    calls: Calls,
}

impl World {
    async fn new(store: Arc<dyn Store>, relayed: bool) -> Self {
        let (clock, calls) = (Manual::new(Timestamp::from_millis(1_000_000_000)), Calls::default());
        let store: Arc<dyn Store> = Arc::new(CountedStore(store, calls.clone()));
        let worker = WorkerId::new("one");
        let broker: Arc<dyn Broker> = if relayed {
            Arc::new(HubEnd(Hub::in_order()))
        } else {
            let clock: Arc<dyn Clock> = Arc::<Manual>::clone(&clock);
            Arc::new(Embedded::new(Arc::clone(&store), clock, Arc::new(TokioRuntime), worker.clone()))
        };
        let broker = Arc::new(CountedBroker(broker, calls.clone()));
        let ports = builder("memory:").set("concurrency", "256").clock(Arc::<Manual>::clone(&clock));
        let ork = ports.ports(store, Some(broker), worker).build().await.unwrap();
        ork.spawn_worker();
        Self { ork, clock, calls }
    }

    /// Advances the clock by this many heartbeats.
    async fn pass(&self, beats: usize) {
        for _ in 0..beats {
            let start = self.clock.now();
            self.clock.wait_for_timer(start + REST).await;
            self.clock.advance(REST);
            self.clock.wait_for_timer(start + BEAT).await;
            let so_far = self.calls.of("beat");
            self.clock.advance(SLEEP);
            self.calls.reach("beat", so_far + 1).await;
        }
    }

    /// Asserts that nothing but the heartbeat is called, for the time of `beats` heartbeats. Earlier work may have to
    /// be finished first, so one of `times` such periods is enough: polling would show in each of them.
    async fn only_beats(&self, beats: usize, times: usize) {
        let mut called = Vec::new();
        for _ in 0..times {
            let before = self.calls.so_far();
            self.pass(beats).await;
            let calls = self.calls.since(&before);
            if calls == Counts::from([("beat", beats)]) {
                return;
            }
            called.push(calls);
        }
        panic!("more than {beats} beats: {called:?}");
    }
}

/// Runs a test over each store that needs no server.
fn each_counted<F: Future<Output = ()>>(relayed: &[bool], test: impl Fn(World) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for relayed in relayed {
            let folder = tempfile::tempdir().unwrap();
            for store in stores(&folder) {
                let message = format!("hangs over {store:?}, relayed: {relayed}");
                let test = async { test(World::new(store, *relayed).await).await };
                tokio::time::timeout(DEADLINE, test).await.unwrap_or_else(|_| panic!("{message}"));
            }
        }
    });
}

fn stores(folder: &tempfile::TempDir) -> Vec<Arc<dyn Store>> {
    let memory: Arc<dyn Store> = Arc::new(Memory::new());
    std::iter::once(memory).chain(sqlite(folder)).collect()
}

#[cfg(feature = "sqlite")]
fn sqlite(folder: &tempfile::TempDir) -> Vec<Arc<dyn Store>> {
    use ork_sqlite::{Sqlite, Synchronous};
    vec![Arc::new(Sqlite::open(&folder.path().join("ork.db"), Synchronous::Normal).unwrap())]
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_folder: &tempfile::TempDir) -> Vec<Arc<dyn Store>> {
    Vec::new()
}

/// Records a metric, then waits at its gate.
#[task]
async fn measured_and_gated(key: String, context: ork::Context) {
    context.metrics().record("value", 1.0, &[]);
    Gate::of(&key).pass().await;
}

/// Fails at first, and its retry is due after the period that the test watches.
#[task(retries = 1, backoff = "10m")]
async fn due_later(first: String, context: ork::Context) -> Result<String> {
    if context.attempt() == 1 {
        return Err(first.into());
    }
    Ok(first)
}

#[test]
fn idle_process_makes_no_calls_but_a_heartbeat_every_five_seconds() {
    each_counted(&[false, true], |world| async move {
        let job = world.ork.submit(add { a: 1, b: 1 }).await.unwrap();
        assert_eq!(job.result().await.unwrap(), 2);
        world.only_beats(120, 5).await;
        world.ork.shutdown().await;
    });
}

/// Records a metric.
#[task]
async fn measured(value: f64, context: ork::Context) {
    context.metrics().record("value", value, &[]);
}

/// The values of a job that has ended are written at once, and the writer stops once nothing is left to write.
#[test]
fn metrics_are_written_once_after_the_job_without_polling() {
    each_counted(&[false], |world| async move {
        let job = world.ork.submit(measured { value: 2.5 }).await.unwrap();
        job.result().await.unwrap();
        world.calls.reach("record", 1).await;
        world.only_beats(20, 3).await;
        assert_eq!(world.calls.of("record"), 1);
        assert_eq!(world.ork.metrics(job.id()).await.unwrap().len(), 1);
        assert_eq!(world.calls.of("record"), 1, "reading metrics writes nothing");
        world.ork.shutdown().await;
    });
}

/// While the job runs, a value is written a second after it was recorded.
#[test]
fn metrics_of_a_running_job_are_written_after_a_second() {
    each_counted(&[false], |world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(measured_and_gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let second = Duration::from_secs(1);
        world.clock.wait_for_timer(world.clock.now() + second).await;
        assert_eq!(world.calls.of("record"), 0);
        world.clock.advance(second);
        world.calls.reach("record", 1).await;
        Gate::of(&key).open();
        job.result().await.unwrap();
        world.ork.shutdown().await;
        assert_eq!(world.calls.of("record"), 1);
    });
}

#[test]
fn process_sleeps_until_the_next_due_time() {
    each_counted(&[false, true], |world| async move {
        let job = world.ork.submit(due_later { first: "later".into() }).await.unwrap();
        let due = loop {
            match job.status().await.unwrap().due {
                Some(due) => break due,
                None => tokio::task::yield_now().await,
            }
        };
        world.clock.wait_for_timer(due).await;
        // The retry is due after seven and a half minutes or more.
        world.only_beats(20, 4).await;
        world.clock.advance(due - world.clock.now());
        assert_eq!(job.result().await.unwrap(), "later");
        world.ork.shutdown().await;
    });
}

#[test]
fn process_has_one_heartbeat_however_many_jobs_it_runs() {
    each_counted(&[false], |world| async move {
        let key = ork::JobId::new().to_string();
        let jobs = world.ork.submit_all((0..200).map(|_| gated { key: key.clone() })).await.unwrap();
        for _ in &jobs {
            Gate::of(&key).entered().await;
        }
        world.only_beats(120, 5).await;
        for _ in &jobs {
            Gate::of(&key).open();
        }
        for job in jobs {
            assert_eq!(job.result().await.unwrap(), key);
        }
        world.ork.shutdown().await;
    });
}
