//! Yielding: after a worker has parked an input, it lets other workers take delayed rows first.
//!
//! All workers look for a row at the moment at which it becomes due. If the clock of one of them is always a little
//! ahead of the others, it would take each parked row again, and a worker that could run it never would.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::WorkerId;
use crate::mutant::{self, Mutant};

/// How long a worker yields after the last input that it has parked: longer than the longest pause of parked work.
const YIELDS_FOR: Duration = Duration::from_mins(20);

/// The longest pause, which is much longer than the clocks of workers differ.
const LONGEST_MILLIS: u64 = 1_000;

/// When a worker has parked an input last, in milliseconds; the minimum if it has parked none.
#[derive(Debug)]
pub(super) struct Yielding(AtomicI64);

impl Yielding {
    pub(super) const fn new() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    pub(super) fn begin(&self, now: Timestamp) {
        self.0.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// Returns how long a worker waits after a row has become due: another time for each row.
    pub(super) fn pause(&self, worker: &WorkerId, due: Timestamp) -> Duration {
        let parked = self.0.load(Ordering::Relaxed);
        if parked == i64::MIN
            || due > Timestamp::from_millis(parked) + YIELDS_FOR
            || mutant::is_on(Mutant::TakesParkedAgain)
        {
            return Duration::ZERO;
        }
        let mut hasher = DefaultHasher::new();
        (worker.boot(), due.as_millis()).hash(&mut hasher);
        Duration::from_millis(hasher.finish() % LONGEST_MILLIS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_that_has_parked_an_input_waits_and_not_always_as_long() {
        let (yielding, worker) = (Yielding::new(), WorkerId::with_boot("a", [7; 16]));
        let pauses = |yielding: &Yielding| -> Vec<_> {
            (0..20).map(|second| yielding.pause(&worker, Timestamp::from_millis(second * 1_000))).collect()
        };
        assert!(pauses(&yielding).iter().all(Duration::is_zero));
        yielding.begin(Timestamp::from_millis(0));
        let mut after = pauses(&yielding);
        assert_eq!(after, pauses(&yielding));
        after.sort_unstable();
        after.dedup();
        assert!(after.len() > 10);
        assert!(after.iter().all(|pause| *pause < Duration::from_millis(LONGEST_MILLIS)));
        let late = Timestamp::from_millis(1) + YIELDS_FOR;
        assert_eq!(yielding.pause(&worker, late), Duration::ZERO);
    }
}
