//! Slots: a worker claims what it has a slot for and calls nothing else, so that a cancel, a drain or another worker
//! still has the rest. All of these count calls.
//!
//! On the code before this was so, a worker claimed what its window held, 256 parts at first, and called them all in the
//! end: more calls after a cancel or a drain than had begun, a second worker without work, `running` parts that nothing
//! ran. These tests were not run there.

use std::sync::Arc;

use ork::{JobId, JobState, Ork, OrkBuilder, Parts, State, task};

use super::tasks::{Gate, Greeting, called, calls};
use super::world::{World, builder, each};

/// A call that keeps its thread until its gate is opened.
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
    parts.counts().ok
}

/// How many calls run at once in a worker of these tests.
const SLOTS: u32 = 2;

fn narrow(store: &str) -> OrkBuilder {
    builder(store).set("blocking", SLOTS.to_string())
}

/// A worker with two slots over the store of this world.
async fn worker(store: &str) -> Ork {
    let ork = narrow(store).build().await.unwrap();
    ork.start_worker();
    ork
}

/// The store of this world, if processes can share it; its worker ends, so that only those of the test are there.
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

/// Waits until so many parts of a job are said to run. A claim is answered before it is written, and that parts begin is
/// no news to others, so the store is asked until it knows.
async fn until_running(ork: &Ork, job: JobId, parts: u32) {
    while ork.status(job).await.unwrap().parts.running != u64::from(parts) {
        tokio::task::yield_now().await;
    }
}

/// A gate that is opened for all at the end of a test that fails, too: threads that stood there would outlive it.
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
fn cancelled_job_calls_no_part_that_had_not_begun() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let ork = worker(&store).await;
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = ork.submit(keeps_a_thread_part { key: key.clone(), count: 300 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        // `running` means that a call runs.
        until_running(&ork, job.id(), SLOTS).await;
        job.cancel().await.unwrap();
        gate.for_all();
        assert_eq!(job.outcome().await.unwrap().status().state, JobState::Cancelled);
        ork.shutdown().await;
        assert_eq!(calls(&key), SLOTS);
    });
}

#[test]
fn job_cancelled_by_another_process_calls_no_part_that_had_not_begun() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let (ork, client) = (worker(&store).await, builder(&store).build().await.unwrap());
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = client.submit(keeps_a_thread_part { key: key.clone(), count: 300 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        job.cancel().await.unwrap();
        gate.for_all();
        ork.shutdown().await;
        client.shutdown().await;
        assert_eq!(calls(&key), SLOTS);
    });
}

#[test]
fn interrupted_job_calls_no_part_that_had_not_begun() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let ork = worker(&store).await;
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = ork.submit(keeps_a_thread_part { key: key.clone(), count: 300 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        ork.interrupt(job.id()).await.unwrap();
        gate.for_all();
        assert_eq!(job.outcome().await.unwrap().status().state, JobState::Cancelled);
        ork.shutdown().await;
        assert_eq!(calls(&key), SLOTS);
    });
}

#[test]
fn drained_worker_calls_nothing_more_and_gives_back_the_rest_at_once() {
    each(|world| async move {
        let Some((store, _folder)) = alone(world).await else { return };
        let first = worker(&store).await;
        let key = JobId::new().to_string();
        let gate = Opened(Gate::of(&key));
        let job = first.submit(keeps_a_thread_part { key: key.clone(), count: 20 }).await.unwrap();
        all_slots_are_busy(&gate.0).await;
        first.drain();
        // The next worker has what the first one had not begun while that one is still busy.
        let second = worker(&store).await;
        all_slots_are_busy(&gate.0).await;
        assert_eq!(calls(&key), 2 * SLOTS);
        // Only what had begun is ended by the first one: its calls come back, and no other is made by it.
        second.drain();
        gate.for_all();
        first.shutdown().await;
        second.shutdown().await;
        assert_eq!(calls(&key), 2 * SLOTS);

        let last = worker(&store).await;
        assert_eq!(last.wait(job.id()).await.unwrap().status().parts.ok, 20);
        assert_eq!(calls(&key), 20);
        last.shutdown().await;
    });
}

#[test]
fn two_workers_share_long_work_however_late_the_second_one_comes() {
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
        assert_eq!(job.outcome().await.unwrap().status().parts.ok, 40);
        first.shutdown().await;
        second.shutdown().await;
        assert_eq!(calls(&key), 40);
    });
}
