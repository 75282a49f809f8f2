//! Slots: a worker claims only work that it has a slot for, so that a cancel, a drain or another worker still gets the
//! rest. All of these tests count calls.
//!
//! Before that, a worker claimed all messages of its window, 256 parts at first, and called all of them in the end:
//! more calls after a cancel or a drain than had started, a second worker without work, and `running` parts that no
//! process ran. These tests were not run on that code.

use std::sync::Arc;

use ork::{CancelMode, JobId, JobState, Ork, OrkBuilder, Parts, State, task};

use super::tasks::{Gate, Greeting, called, calls};
use super::world::{World, builder, each};

/// A call that blocks its thread until its gate is opened.
#[task]
fn keeps_a_thread(key: String, number: u64) -> u64 {
    called(&key);
    tokio::runtime::Handle::current().block_on(Gate::of(&key).pass());
    number
}

#[task(part)]
fn keeps_a_thread_part(key: String, count: u64) -> impl Iterator<Item = keeps_a_thread> {
    (0..count).map(move |number| keeps_a_thread { key: key.clone(), number })
}

#[task(join)]
async fn keeps_a_thread_join(parts: Parts<u64>, greeting: State<Greeting>) -> u64 {
    assert!(!greeting.0.is_empty());
    parts.counts().succeeded
}

/// How many calls run at once in a worker of these tests.
const SLOTS: u32 = 2;

fn narrow(store: &str) -> OrkBuilder {
    builder(store).set("blocking_concurrency", SLOTS.to_string())
}

/// A worker with two slots over the store of this world.
async fn worker(store: &str) -> Ork {
    let ork = narrow(store).build().await.unwrap();
    ork.spawn_worker();
    ork
}

/// Returns the store of this world, if processes can share it, after its worker has ended, so that only the workers of
/// the test use it.
async fn alone(world: World) -> Option<(String, tempfile::TempDir)> {
    let store = world.shared_store().map(str::to_owned);
    let (ork, _, folder) = world.parts();
    ork.shutdown().await;
    store.map(|store| (store, folder))
}

async fn all_slots_are_busy(gate: &Gate) {
    for _ in 0..SLOTS {
        gate.entered().await;
    }
}

/// Waits until this many parts of a job are recorded as running. A claim returns before it is written, and the start of
/// parts notifies no other process, so the store is polled.
async fn until_running(ork: &Ork, job: JobId, parts: u32) {
    while ork.status(job).await.unwrap().parts.running != u64::from(parts) {
        tokio::task::yield_now().await;
    }
}

/// Opens a gate for all calls when it is dropped. That includes the end of a failed test, because waiting threads
/// would outlive it.
struct Opened(Arc<Gate>);

impl Opened {
    fn for_all(&self) {
        (0..400).for_each(|_| self.0.open());
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.for_all();
    }
}

#[test]
fn cancelled_job_starts_no_further_parts() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let ork = worker(&store).await;
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = ork.submit(keeps_a_thread_part { key: key.clone(), count: 300 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        // `running` means that a call runs.
        until_running(&ork, job.id(), SLOTS).await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        gate.for_all();
        assert_eq!(job.wait().await.unwrap().status().state, JobState::Cancelled);
        ork.shutdown().await;
        assert_eq!(calls(&key), SLOTS);
    });
}

#[test]
fn job_cancelled_by_another_process_starts_no_further_parts() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let (ork, client) = (worker(&store).await, builder(&store).build().await.unwrap());
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = client.submit(keeps_a_thread_part { key: key.clone(), count: 300 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        gate.for_all();
        ork.shutdown().await;
        client.shutdown().await;
        assert_eq!(calls(&key), SLOTS);
    });
}

#[test]
fn gracefully_cancelled_job_starts_no_further_parts() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let ork = worker(&store).await;
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = ork.submit(keeps_a_thread_part { key: key.clone(), count: 300 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        ork.cancel(job.id(), CancelMode::Graceful).await.unwrap();
        gate.for_all();
        assert_eq!(job.wait().await.unwrap().status().state, JobState::Cancelled);
        ork.shutdown().await;
        assert_eq!(calls(&key), SLOTS);
    });
}

#[test]
fn drained_worker_starts_no_calls_and_requeues_the_rest_at_once() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let first = worker(&store).await;
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = first.submit(keeps_a_thread_part { key: key.clone(), count: 20 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        first.worker().stop();
        // The next worker gets the work that the first one has not started, while the first one is still busy.
        let second = worker(&store).await;
        all_slots_are_busy(&gate.0).await;
        assert_eq!(calls(&key), 2 * SLOTS);
        // The first worker only finishes the calls that it has started, and makes no others.
        second.worker().stop();
        gate.for_all();
        first.shutdown().await;
        second.shutdown().await;
        assert_eq!(calls(&key), 2 * SLOTS);

        let last = worker(&store).await;
        assert_eq!(last.wait(job.id()).await.unwrap().status().parts.succeeded, 20);
        assert_eq!(calls(&key), 20);
        last.shutdown().await;
    });
}

#[test]
fn two_workers_share_long_work_even_if_the_second_starts_late() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let first = worker(&store).await;
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = first.submit(keeps_a_thread_part { key: key.clone(), count: 40 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        let second = worker(&store).await;
        all_slots_are_busy(&gate.0).await;
        until_running(&first, job.id(), 2 * SLOTS).await;
        gate.for_all();
        assert_eq!(job.wait().await.unwrap().status().parts.succeeded, 40);
        first.shutdown().await;
        second.shutdown().await;
        assert_eq!(calls(&key), 40);
    });
}
