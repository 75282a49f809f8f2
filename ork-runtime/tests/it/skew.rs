//! Clocks of computers that are far apart: leases, signs of life and due times go by the store's.
//!
//! On the code before, a process with a clock that is ahead took living ones for dead, so that what they ran was called
//! twice, and made others wait by its own clock for what it had put off. These tests
//! were not run there.

use std::sync::Arc;
use std::time::Duration;

use ork::clock::system::SystemClock;
use ork::clock::{Clock, Pause};
use ork::{Context, JobId, Ork, Result, Timestamp, task};

use super::tasks::{Gate, called, calls};
use super::world::{builder, each};

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

async fn worker(store: &str, ahead: bool) -> Ork {
    let ork = builder(store).clock(Arc::new(Apart { ahead })).build().await.unwrap();
    ork.start_worker();
    ork
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
