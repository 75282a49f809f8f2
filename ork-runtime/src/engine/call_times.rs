//! Durations of calls of the user's functions: they decide how much work a worker prefetches.
//!
//! The duration of a whole delivery would mislead: where the store or the broker is slow, the cure is to prefetch
//! more, not less.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Sums by task since the last [`CallTimes::take_mean`].
#[derive(Debug, Default)]
pub(crate) struct CallTimes(Mutex<HashMap<String, Sum>>);

#[derive(Debug, Default)]
struct Sum {
    count: u32,
    took: Duration,
}

impl CallTimes {
    /// Adds the duration of one call.
    pub(super) fn add(&self, task: &str, took: Duration) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match sums.get_mut(task) {
            Some(sum) => sum,
            None => sums.entry(task.to_owned()).or_default(),
        };
        sum.count = sum.count.saturating_add(1);
        sum.took += took;
    }

    /// Returns the mean duration of calls of these tasks since the last time, and starts over; `None` if there were
    /// none.
    pub(crate) fn take_mean(&self, tasks: &[String]) -> Option<Duration> {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = tasks.iter().fold(Sum::default(), |all, task| {
            let sum = sums.get_mut(task).map(std::mem::take).unwrap_or_default();
            Sum { count: all.count.saturating_add(sum.count), took: all.took + sum.took }
        });
        (all.count > 0).then(|| all.took / all.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_covers_the_given_tasks_and_calls_since_the_last_time() {
        let (calls, second) = (CallTimes::default(), Duration::from_secs(1));
        for (task, n) in [("a", 1), ("a", 3), ("b", 8), ("c", 100)] {
            calls.add(task, second * n);
        }
        let tasks = ["a".to_owned(), "b".to_owned(), "d".to_owned()];
        assert_eq!(calls.take_mean(&tasks), Some(second * 4));
        assert_eq!(calls.take_mean(&tasks), None);
        calls.add("a", second);
        assert_eq!(calls.take_mean(&tasks), Some(second));
    }
}
