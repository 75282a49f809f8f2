//! Clocks of computers that are far apart: leases, signs of life and due times go by the store's.
//!
//! On the code before, a process with a clock that is ahead took living ones for dead, so that what they ran was called
//! twice, and made others wait by its own clock for what it had put off. Those of clocks that are apart were not run there.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ork::clock::system::SystemClock;
use ork::clock::{Clock, Pause};
use ork::{Context, JobId, JobState, Ork, Result, Timestamp, task};

use super::tasks::{Gate, called, calls};
use super::world::{World, builder, each};
use tempfile::TempDir;

/// The clock of a computer that is an hour ahead, or behind.
#[derive(Debug)]
struct Apart {
    ahead: bool,
}

const APART: Duration = Duration::from_hours(1);

impl Clock for Apart {
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

/// The clock of a computer that somebody sets while it runs.
#[derive(Debug, Default)]
struct Turned {
    by: AtomicI64,
    /// What its monotonic clock has not counted, as the computer slept: in milliseconds.
    slept: AtomicI64,
}

impl Clock for Turned {
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

/// A worker that goes by this clock.
async fn worker_by(store: &str, clock: Arc<dyn Clock>) -> Ork {
    let ork = builder(store).clock(clock).build().await.unwrap();
    ork.start_worker();
    ork
}

async fn worker(store: &str, ahead: bool) -> Ork {
    worker_by(store, Arc::new(Apart { ahead })).await
}

/// A worker alone over the store of this world, if processes can share it, and its clock.
async fn turned(world: World) -> Option<(Ork, Arc<Turned>, String, TempDir)> {
    world.shared_store()?;
    let (ork, store, folder) = world.parts();
    ork.shutdown().await;
    let clock = Arc::new(Turned::default());
    Some((worker_by(&store, Arc::<Turned>::clone(&clock)).await, clock, store, folder))
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

/// Stands at one gate when it begins and at the other one when it hears that it is cancelled.
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
fn process_with_a_clock_that_is_ahead_does_not_take_living_ones_for_dead() {
    each(|world| async move {
        let Some(store) = world.shared_store().map(str::to_owned) else { return };
        let (key, other) = (JobId::new().to_string(), JobId::new().to_string());
        let job = world.ork.submit(steady { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let ahead = worker(&store, true).await;
        // Whatever it had freed at its start it would have taken by the time that it runs this.
        for _ in 0..2 {
            let second = ahead.submit(steady { key: other.clone() }).await.unwrap();
            Gate::of(&other).entered().await;
            Gate::of(&other).open();
            second.wait().await.unwrap();
        }
        Gate::of(&key).open();
        job.wait().await.unwrap();
        assert_eq!(calls(&key), 1);
        ahead.shutdown().await;
        world.end().await;
    });
}

#[test]
fn process_with_a_clock_that_is_behind_is_not_taken_for_dead() {
    each(|world| async move {
        let Some(store) = world.shared_store().map(str::to_owned) else { return };
        let (ork, _, _folder) = world.parts();
        ork.shutdown().await;
        let behind = worker(&store, false).await;
        let key = JobId::new().to_string();
        let job = behind.submit(steady { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        // It beats once when it is built, and frees what it takes for dead.
        let right = builder(&store).build().await.unwrap();
        right.start_worker();
        assert_eq!(right.submit(put_off {}).and_wait().await.unwrap(), 2);
        Gate::of(&key).open();
        job.wait().await.unwrap();
        assert_eq!(calls(&key), 1);
        right.shutdown().await;
        behind.shutdown().await;
    });
}

#[test]
fn what_a_process_with_a_clock_that_is_ahead_puts_off_is_due_for_the_others_in_time() {
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
        right.start_worker();
        assert_eq!(right.wait(id).await.unwrap().status().attempt, 2);
        right.shutdown().await;
    });
}

/// Turns the clock of a process that works and waits for its next sign of life: another process calls nothing again.
fn is_not_taken_for_dead(turn: impl Fn(&Turned)) {
    each(async |world| {
        let Some((turned, clock, store, _folder)) = turned(world).await else { return };
        let key = JobId::new().to_string();
        let job = turned.submit(steady { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let (stopped, seen) = (JobId::new().to_string(), JobId::new().to_string());
        let cancelled = turned.submit(stops { key: stopped.clone(), seen: seen.clone() }).await.unwrap();
        Gate::of(&stopped).entered().await;
        turn(&clock);
        // A call hears by a sign of life that it is cancelled, so that one was written by then.
        cancelled.cancel().await.unwrap();
        Gate::of(&seen).entered().await;
        // It beats once when it is built, and frees what it takes for dead.
        let right = builder(&store).build().await.unwrap();
        right.start_worker();
        for _ in 0..3 {
            assert_eq!(right.submit(at_once {}).and_wait().await.unwrap(), 1);
        }
        Gate::of(&key).open();
        job.wait().await.unwrap();
        assert_eq!(calls(&key), 1);
        right.shutdown().await;
        turned.shutdown().await;
    });
}

/// Fails on the code before: its next sign of life was written by the new time, an hour ago for all others.
#[test]
fn process_whose_clock_is_set_back_while_it_works_is_not_taken_for_dead() {
    is_not_taken_for_dead(|clock| clock.by.store(-3_600_000, Ordering::SeqCst));
}

/// Its first sign of life is written by what it takes for the time, and the second one at once by the right time.
#[test]
fn process_whose_computer_has_slept_is_not_taken_for_dead_once_it_is_awake() {
    is_not_taken_for_dead(|clock| clock.slept.store(3_600_000, Ordering::SeqCst));
}

/// Fails on the code before: what was put off for an hour began at once.
#[test]
fn clock_that_is_set_forward_begins_nothing_before_its_time() {
    each(|world| async move {
        let Some((turned, clock, _, _folder)) = turned(world).await else { return };
        let late = turned.submit(put_off_for_long {}).await.unwrap();
        while late.status().await.unwrap().due.is_none() {
            tokio::task::yield_now().await;
        }
        clock.by.store(3_600_000, Ordering::SeqCst);
        // Whatever is due is taken with it.
        for _ in 0..3 {
            assert_eq!(turned.submit(at_once {}).and_wait().await.unwrap(), 1);
        }
        let status = late.status().await.unwrap();
        assert_eq!((status.state, status.attempt), (JobState::Retrying, 2));
        turned.shutdown().await;
    });
}
