//! The size of batches: as many deliveries as occupy a thread for a millisecond.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The target time that a batch occupies its thread: short enough to delay nothing else.
pub(super) const THREAD_TIME: Duration = Duration::from_millis(1);

/// The maximum size of a batch: a larger one gains little.
const MOST: usize = 64;

/// The batch sizes of each task, learned from the durations of earlier batches and calls.
#[derive(Debug, Default)]
pub(super) struct BatchSizer(Mutex<HashMap<&'static str, Pace>>);

/// The measured pace of a task, which determines the size of its batches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The number of deliveries that make a batch.
    pub(super) size: usize,
    /// The number of calls that one slot admits: as many as it makes in [`THREAD_TIME`].
    pub(super) by_slot: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { size: 1, by_slot: 1 }
    }
}

impl BatchSizer {
    fn sizes(&self) -> MutexGuard<'_, HashMap<&'static str, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what was learned of a task.
    pub(super) fn pace(&self, task: &str) -> Pace {
        self.sizes().get(task).copied().unwrap_or_default()
    }

    /// Learns from a batch of `len` deliveries that occupied its thread for `took`.
    pub(super) fn measured(&self, task: &'static str, len: usize, took: Duration) {
        let mut sizes = self.sizes();
        let size = &mut sizes.entry(task).or_default().size;
        if took > THREAD_TIME {
            *size = fitting(len, took);
        } else if len >= *size {
            *size = (*size * 2).min(MOST);
        }
    }

    /// Learns from the duration of a call. One long call outweighs many short ones: the calls that were claimed with
    /// it wait for it.
    pub(super) fn called(&self, task: &'static str, took: Duration) {
        let mut sizes = self.sizes();
        let by_slot = &mut sizes.entry(task).or_default().by_slot;
        *by_slot = fitting(1, took).min(*by_slot * 2);
    }
}

/// Returns how many calls fit into [`THREAD_TIME`], given that `len` calls took `took`.
fn fitting(len: usize, took: Duration) -> usize {
    let fits = u128::try_from(len).unwrap_or(1) * THREAD_TIME.as_micros() / took.as_micros().max(1);
    usize::try_from(fits).unwrap_or(MOST).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_for_short_parts_and_shrink_for_long_ones() {
        let sizer = BatchSizer::default();
        assert_eq!(sizer.pace("a").size, 1);
        for _ in 0..10 {
            sizer.measured("a", sizer.pace("a").size, Duration::ZERO);
        }
        assert_eq!((sizer.pace("a").size, sizer.pace("b").size), (MOST, 1));
        sizer.measured("a", MOST, Duration::from_millis(16));
        assert_eq!(sizer.pace("a").size, 4);
        sizer.measured("a", 4, Duration::from_secs(1));
        assert_eq!(sizer.pace("a").size, 1);
        // Fewer deliveries than a batch were available: that shows nothing about larger batches.
        sizer.measured("a", 1, Duration::ZERO);
        sizer.measured("a", 1, Duration::ZERO);
        assert_eq!(sizer.pace("a").size, 2);
    }

    #[test]
    fn slot_admits_many_short_calls_or_one_long_one() {
        let sizer = BatchSizer::default();
        assert_eq!(sizer.pace("a").by_slot, 1);
        for _ in 0..3 {
            sizer.called("a", Duration::from_micros(10));
        }
        assert_eq!(sizer.pace("a").by_slot, 8);
        for _ in 0..10 {
            sizer.called("a", Duration::from_micros(100));
        }
        assert_eq!(sizer.pace("a").by_slot, 10);
        sizer.called("a", Duration::from_secs(1));
        assert_eq!(sizer.pace("a").by_slot, 1);
    }
}
