//! The clock of one process: it has an offset, drifts, and is set while the process works.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ork::Timestamp;
use ork_core::clock::{Clock, Pause};

use super::executor::Executor;

/// The time of the store's clock at the beginning of a run, in milliseconds.
pub(crate) const EPOCH: i64 = 1_800_000_000_000;

/// Counts on from a moment at its own rate.
#[derive(Debug)]
pub(crate) struct ProcessClock {
    executor: Arc<Executor>,
    /// By how many parts in a million it is too fast.
    ppm: i64,
    /// How many microseconds it is ahead of a clock that runs as fast and was never set.
    ahead: Mutex<i64>,
}

impl ProcessClock {
    pub(crate) fn new(executor: &Arc<Executor>, ahead_ms: i64, ppm: i64) -> Arc<Self> {
        Arc::new(Self { executor: Arc::clone(executor), ppm, ahead: Mutex::new(ahead_ms * 1_000) })
    }

    /// Sets it forward, or back.
    pub(crate) fn turn(&self, by_ms: i64) {
        *self.ahead.lock().unwrap() += by_ms * 1_000;
    }

    /// How many microseconds have passed on it.
    fn run(&self) -> i64 {
        let now = i64::try_from(self.executor.now()).unwrap();
        now + now / 1_000 * self.ppm / 1_000
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(EPOCH + (self.run() + *self.ahead.lock().unwrap()).div_euclid(1_000))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.run()).unwrap_or(0))
    }

    fn pause(&self, duration: Duration) -> Pause {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 4_000_000);
        let micros = micros - micros * self.ppm / (1_000_000 + self.ppm);
        Box::pin(self.executor.sleep(u64::try_from(micros).unwrap_or(0)))
    }

    fn is_wall(&self) -> bool {
        true
    }
}
