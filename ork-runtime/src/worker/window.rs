//! The prefetch window: how many deliveries a worker holds. Few for long tasks, so that other workers get their
//! share; many for short tasks, so that no slot waits for the broker or the disk. Pure code, without I/O.

use std::time::Duration;

/// The time for which the prefetched deliveries should keep the slots busy.
const AHEAD: Duration = Duration::from_millis(50);

/// The maximum size of a window. A larger one costs memory and gains nothing.
const MOST: usize = 4_000;

/// The weight of the newest measurement in the moving average.
const WEIGHT: f64 = 0.2;

fn clamp(window: usize) -> u16 {
    u16::try_from(window.clamp(1, MOST)).unwrap_or(u16::MAX)
}

/// Sizes the window by a moving average of the duration of calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    slots: usize,
    mean: Option<f64>,
}

impl Window {
    /// Creates a window for work that has this many slots.
    pub(super) const fn new(slots: usize) -> Self {
        Self { slots, mean: None }
    }

    /// Adds the mean duration of the latest calls to the average.
    pub(super) fn measured(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.mean = Some(self.mean.map_or(took, |mean| mean + WEIGHT * (took - mean)));
    }

    /// Records that the prefetched deliveries have waited this long without a free slot. Returns whether this makes the
    /// window smaller.
    pub(super) fn stalled(&mut self, wait: Duration) -> bool {
        let before = self.size();
        self.mean = Some(self.mean.unwrap_or_default().max(wait.as_secs_f64()));
        self.size() < before
    }

    /// Returns how many deliveries to prefetch: as many as there are slots, until calls are known to be short. With
    /// long calls the next delivery is requested only when a slot is free, so that other workers get what this one
    /// could not start.
    pub(super) fn size(&self) -> u16 {
        let Some(mean) = self.mean else {
            return clamp(self.slots);
        };
        let rounds = AHEAD.as_secs_f64() / mean.max(1e-6);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::as_conversions,
            reason = "clamped to 1..=10,000 just before"
        )]
        let rounds = rounds.clamp(1.0, 10_000.0) as usize;
        clamp(self.slots.saturating_mul(rounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tasks_get_a_small_window_and_short_ones_a_large_one() {
        let mut window = Window::new(2);
        assert_eq!(window.size(), 2);
        (0..100).for_each(|_| window.measured(Duration::from_micros(10)));
        assert_eq!(usize::from(window.size()), MOST);
        (0..100).for_each(|_| window.measured(Duration::from_mins(1)));
        assert_eq!(window.size(), 2);
    }

    #[test]
    fn stall_shrinks_the_window_at_once_and_only_once() {
        let mut window = Window::new(2);
        (0..100).for_each(|_| window.measured(Duration::from_micros(10)));
        assert!(window.stalled(Duration::from_millis(250)));
        assert_eq!(window.size(), 2);
        assert!(!window.stalled(Duration::from_millis(250)));
    }
}
