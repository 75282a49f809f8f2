//! Clocks of computers that are far apart: leases, heartbeats and due times use the clock of the store.
//!
//! Before they did, a process whose clock was ahead presumed living processes dead, so that their calls were made
//! twice, and work that it had postponed was delayed for other processes by the difference. The tests with clocks that
//! are apart were not run on that code.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ork::{CancelMode, Context, JobId, JobState, Ork, Result, Timestamp, task};
use ork_core::clock::{Clock, Pause};
use ork_runtime::clock::system::SystemClock;

use super::tasks::{Gate, called, calls};
use super::world::{World, builder, each};
use tempfile::TempDir;

/// The clock of a computer that is an hour ahead, or behind.
#[derive(Debug)]
struct SkewedClock {
    ahead: bool,
}

const APART: Duration = Duration::from_hours(1);

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let (now, apart) = (SystemClock.now().as_millis(), i64::try_from(APART.as_millis()).unwrap());
        Timestamp::from_millis(if self.ahead { now + apart } else { now - apart })
    }

    fn pause(&self, duration: Duration) -> Pause {
        SystemClock.pause(duration)
    }

    fn is_wall(&self) -> bool {
        true
    }
}

/// The clock of a computer that is set while it runs.
#[derive(Debug, Default)]
struct AdjustableClock {
    by: AtomicI64,
    /// The time for which the computer slept, in milliseconds, which its monotonic clock has not counted.
    slept: AtomicI64,
}

impl Clock for AdjustableClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.by.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        // It has run for a day.
        let slept = Duration::from_millis(self.slept.load(Ordering::SeqCst).unsigned_abs());
        (SystemClock.monotonic() + Duration::from_hours(24)).checked_sub(slept).unwrap()
    }

    fn pause(&self, duration: Duration) -> Pause {
        SystemClock.pause(duration)
    }

    fn is_wall(&self) -> bool {
        true
    }
}

/// A worker that uses this clock.
async fn worker_by(store: &str, clock: Arc<dyn Clock>) -> Ork {
    let ork = builder(store).clock(clock).build().await.unwrap();
    ork.spawn_worker();
    ork
}

async fn worker(store: &str, ahead: bool) -> Ork {
    worker_by(store, Arc::new(SkewedClock { ahead })).await
}

/// Returns a single worker over the store of this world, if processes can share it, with its clock.
async fn worker_with_adjustable_clock(world: World) -> Option<(Ork, Arc<AdjustableClock>, String, TempDir)> {
    world.shared_store()?;
    let (ork, store, folder) = world.parts();
    ork.shutdown().await;
    let clock = Arc::new(AdjustableClock::default());
    Some((worker_by(&store, Arc::<AdjustableClock>::clone(&clock)).await, clock, store, folder))
}

#[task]
async fn steady(key: String) {
    called(&key);
    Gate::of(&key).pass().await;
}

#[task(retries = 1, backoff = "1s")]
async fn put_off(context: Context) -> Result<u32> {
    if context.attempt() == 1 { Err("not yet".into()) } else { Ok(context.attempt()) }
}

#[task(retries = 1, backoff = "30m")]
async fn put_off_for_long() -> Result<()> {
    Err("not yet".into())
}

/// Enters one gate when it starts, and the other one when it sees that it is cancelled.
#[task]
async fn stops(key: String, seen: String, context: Context) {
    Gate::of(&key).entered_by_one();
    context.cancelled().cancelled().await;
    Gate::of(&seen).entered_by_one();
}

#[task]
async fn at_once() -> u32 {
    1
}

#[test]
fn process_whose_clock_is_ahead_does_not_presume_living_ones_dead() {
    each(|world| async move {
        let Some(store) = world.shared_store().map(str::to_owned) else { return };
        let (key, other) = (JobId::new().to_string(), JobId::new().to_string());
        let job = world.ork.submit(steady { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let ahead = worker(&store, true).await;
        // Before it runs this job, it would have taken all work that it had released at its start.
        for _ in 0..2 {
            let second = ahead.submit(steady { key: other.clone() }).await.unwrap();
            Gate::of(&other).entered().await;
            Gate::of(&other).open();
            second.result().await.unwrap();
        }
        Gate::of(&key).open();
        job.result().await.unwrap();
        assert_eq!(calls(&key), 1);
        ahead.shutdown().await;
        world.end().await;
    });
}

#[test]
fn process_whose_clock_is_behind_is_not_presumed_dead() {
    each(|world| async move {
        let Some(store) = world.shared_store().map(str::to_owned) else { return };
        let (ork, _, _folder) = world.parts();
        ork.shutdown().await;
        let behind = worker(&store, false).await;
        let key = JobId::new().to_string();
        let job = behind.submit(steady { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        // A process sends a heartbeat when it is built, and frees the work of processes that it presumes dead.
        let right = builder(&store).build().await.unwrap();
        right.spawn_worker();
        assert_eq!(right.submit(put_off {}).result().await.unwrap(), 2);
        Gate::of(&key).open();
        job.result().await.unwrap();
        assert_eq!(calls(&key), 1);
        right.shutdown().await;
        behind.shutdown().await;
    });
}

#[test]
fn work_postponed_by_a_process_whose_clock_is_ahead_is_due_for_others_in_time() {
    each(|world| async move {
        let Some(store) = world.shared_store().map(str::to_owned) else { return };
        let (ork, _, _folder) = world.parts();
        ork.shutdown().await;
        let ahead = worker(&store, true).await;
        let job = ahead.submit(put_off {}).await.unwrap();
        loop {
            let status = job.status().await.unwrap();
            if status.attempt > 1 || status.due.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let id = job.id();
        ahead.shutdown().await;
        // Within the deadline of a test, which is far less than an hour.
        let right = builder(&store).build().await.unwrap();
        right.spawn_worker();
        assert_eq!(right.wait(id).await.unwrap().status().attempt, 2);
        right.shutdown().await;
    });
}

/// Changes the clock of a working process between two heartbeats, and asserts that another process runs nothing again.
fn is_not_presumed_dead(adjust: impl Fn(&AdjustableClock)) {
    each(async |world| {
        let Some((worker, clock, store, _folder)) = worker_with_adjustable_clock(world).await else { return };
        let key = JobId::new().to_string();
        let job = worker.submit(steady { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let (stopped, seen) = (JobId::new().to_string(), JobId::new().to_string());
        let cancelled = worker.submit(stops { key: stopped.clone(), seen: seen.clone() }).await.unwrap();
        Gate::of(&stopped).entered().await;
        adjust(&clock);
        // A call learns through a heartbeat that it is cancelled, so one has been written.
        cancelled.cancel(CancelMode::Immediate).await.unwrap();
        Gate::of(&seen).entered().await;
        // A process sends a heartbeat when it is built, and frees the work of processes that it presumes dead.
        let right = builder(&store).build().await.unwrap();
        right.spawn_worker();
        for _ in 0..3 {
            assert_eq!(right.submit(at_once {}).result().await.unwrap(), 1);
        }
        Gate::of(&key).open();
        job.result().await.unwrap();
        assert_eq!(calls(&key), 1);
        right.shutdown().await;
        worker.shutdown().await;
    });
}

/// Regression: its next heartbeat was written with the new time, which was an hour ago for all others.
#[test]
fn process_whose_clock_is_set_back_while_it_works_is_not_presumed_dead() {
    is_not_presumed_dead(|clock| clock.by.store(-3_600_000, Ordering::SeqCst));
}

/// Its first heartbeat is written with the time that it assumes, and the second one at once with the right time.
#[test]
fn process_is_not_presumed_dead_after_its_computer_has_slept() {
    is_not_presumed_dead(|clock| clock.slept.store(3_600_000, Ordering::SeqCst));
}

/// Regression: work that was postponed by half an hour used to start at once.
#[test]
fn clock_set_forward_starts_nothing_before_its_time() {
    each(|world| async move {
        let Some((worker, clock, _, _folder)) = worker_with_adjustable_clock(world).await else { return };
        let late = worker.submit(put_off_for_long {}).await.unwrap();
        while late.status().await.unwrap().due.is_none() {
            tokio::task::yield_now().await;
        }
        clock.by.store(3_600_000, Ordering::SeqCst);
        // If the postponed work were due, a worker would take it together with this job.
        for _ in 0..3 {
            assert_eq!(worker.submit(at_once {}).result().await.unwrap(), 1);
        }
        let status = late.status().await.unwrap();
        assert_eq!((status.state, status.attempt), (JobState::Retrying, 2));
        worker.shutdown().await;
    });
}
