//! What a process asks of its store and its broker while it has nothing to do, or nothing but to wait for its tasks.
//!
//! Two broken variants were made by hand, and each failed its test: a pump, and a relay, that also look once a second;
//! and a heart that beats once more for each job that runs.

use std::sync::Arc;
use std::time::Duration;

use ork::broker::Broker;
use ork::broker::embedded::Embedded;
use ork::clock::Clock;
use ork::runtime::system::TokioRuntime;
use ork::store::Store;
use ork::store::memory::Memory;
use ork::{Ork, Result, Timestamp, WorkerId, task};

use super::clock::Manual;
use super::counted::{Calls, CountedBroker, CountedStore, Counts};
use super::hub::{Hub, HubEnd};
use super::tasks::*;
use super::world::{DEADLINE, builder};

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_secs(5);

/// After a beat the heart rests at least for so long, whatever happens.
const REST: Duration = Duration::from_millis(200);

/// From the end of that rest to the next beat.
const SLEEP: Duration = Duration::from_millis(4_800);

/// A process that works over counted ports and a clock that is turned.
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
            Arc::new(HubEnd(Hub::tame()))
        } else {
            let clock: Arc<dyn Clock> = Arc::<Manual>::clone(&clock);
            Arc::new(Embedded::new(Arc::clone(&store), clock, Arc::new(TokioRuntime), worker.clone()))
        };
        let broker = Arc::new(CountedBroker(broker, calls.clone()));
        let ports = builder("memory:").set("concurrency", "256").clock(Arc::<Manual>::clone(&clock));
        let ork = ports.ports(store, Some(broker), worker).build().await.unwrap();
        ork.start_worker();
        Self { ork, clock, calls }
    }

    /// Lets the time pass in which the heart beats so often.
    async fn pass(&self, beats: usize) {
        for _ in 0..beats {
            let start = self.clock.now();
            self.clock.is_awaited(start + REST).await;
            self.clock.turn(REST);
            self.clock.is_awaited(start + BEAT).await;
            let so_far = self.calls.of("beat");
            self.clock.turn(SLEEP);
            self.calls.reach("beat", so_far + 1).await;
        }
    }

    /// Nothing is called but the heart beats, for the time of so many beats. What was begun may have to be brought to its
    /// end first, so it is seen in one of several such times; who looks now and then looks in each.
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
                let words = format!("hangs over {store:?}, relayed: {relayed}");
                let test = async { test(World::new(store, *relayed).await).await };
                tokio::time::timeout(DEADLINE, test).await.unwrap_or_else(|_| panic!("{words}"));
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
    use ork::store::sqlite::{Sqlite, Synchronous};
    vec![Arc::new(Sqlite::open(&folder.path().join("ork.db"), Synchronous::Normal).unwrap())]
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_folder: &tempfile::TempDir) -> Vec<Arc<dyn Store>> {
    Vec::new()
}

/// Records something before it waits at its gate.
#[task]
async fn measured_and_gated(key: String, context: ork::Context) {
    context.metrics().record("value", 1.0, &[]);
    Gate::of(&key).pass().await;
}

/// Fails at first, and is due again after the time that is looked at.
#[task(retries = 1, backoff = "10m")]
async fn due_later(first: String, context: ork::Context) -> Result<String> {
    if context.attempt() == 1 {
        return Err(first.into());
    }
    Ok(first)
}

#[test]
fn an_idle_process_asks_for_nothing_and_says_every_five_seconds_that_it_lives() {
    each_counted(&[false, true], |world| async move {
        let job = world.ork.submit(add { a: 1, b: 1 }).await.unwrap();
        assert_eq!(job.wait().await.unwrap(), 2);
        world.only_beats(120, 5).await;
        world.ork.shutdown().await;
    });
}

/// Records something.
#[task]
async fn measured(value: f64, context: ork::Context) {
    context.metrics().record("value", value, &[]);
}

/// Recorded in one go, as the job has ended; on and on only while there is something to write.
#[test]
fn what_was_recorded_is_written_once_without_being_asked_for() {
    each_counted(&[false], |world| async move {
        let job = world.ork.submit(measured { value: 2.5 }).await.unwrap();
        job.wait().await.unwrap();
        world.calls.reach("record", 1).await;
        world.only_beats(20, 3).await;
        assert_eq!(world.calls.of("record"), 1);
        assert_eq!(world.ork.metrics(job.id()).await.unwrap().len(), 1);
        assert_eq!(world.calls.of("record"), 1, "who only looks writes nothing");
        world.ork.shutdown().await;
    });
}

/// While its job goes on it is written a second after it was recorded.
#[test]
fn what_is_recorded_while_a_job_goes_on_is_written_after_a_second() {
    each_counted(&[false], |world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(measured_and_gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let second = Duration::from_secs(1);
        world.clock.is_awaited(world.clock.now() + second).await;
        assert_eq!(world.calls.of("record"), 0);
        world.clock.turn(second);
        world.calls.reach("record", 1).await;
        Gate::of(&key).open();
        job.wait().await.unwrap();
        world.ork.shutdown().await;
        assert_eq!(world.calls.of("record"), 1);
    });
}

#[test]
fn what_is_due_later_is_slept_for() {
    each_counted(&[false, true], |world| async move {
        let job = world.ork.submit(due_later { first: "later".into() }).await.unwrap();
        let due = loop {
            match job.status().await.unwrap().due {
                Some(due) => break due,
                None => tokio::task::yield_now().await,
            }
        };
        world.clock.is_awaited(due).await;
        // It is due after seven and a half minutes or later.
        world.only_beats(20, 4).await;
        world.clock.turn(due - world.clock.now());
        assert_eq!(job.wait().await.unwrap(), "later");
        world.ork.shutdown().await;
    });
}

#[test]
fn a_process_has_one_heart_however_many_jobs_it_runs() {
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
            assert_eq!(job.wait().await.unwrap(), key);
        }
        world.ork.shutdown().await;
    });
}
