//! How many deliveries to have at hand: few of long tasks, so that other workers get theirs; many of short ones, so
//! that nobody waits for the broker or the disk. Pure.

use std::time::Duration;

/// The work at hand should last about this long.
const AHEAD: Duration = Duration::from_millis(50);

/// No window is larger: beyond it nothing is gained, and memory is lost.
const MOST: usize = 4_000;

/// The weight of the newest measurement.
const WEIGHT: f64 = 0.2;

fn clamp(window: usize) -> u16 {
    u16::try_from(window.clamp(1, MOST)).unwrap_or(u16::MAX)
}

/// Follows how long calls take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    slots: usize,
    mean: Option<f64>,
}

impl Window {
    /// A window for work that has so many slots.
    pub(super) const fn new(slots: usize) -> Self {
        Self { slots, mean: None }
    }

    /// Calls took this long lately.
    pub(super) fn measured(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.mean = Some(self.mean.map_or(took, |mean| mean + WEIGHT * (took - mean)));
    }

    /// For so long no slot was free for what is at hand; answers whether the window is smaller for that.
    pub(super) fn stalled(&mut self, wait: Duration) -> bool {
        let before = self.size();
        self.mean = Some(self.mean.unwrap_or_default().max(wait.as_secs_f64()));
        self.size() < before
    }

    /// How many deliveries to have at hand: as many as there are slots, until calls are known to be short. Of long calls
    /// the next one is only asked for when a slot is free, so that other workers have what this one could not begin.
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
    fn work_that_finds_no_slot_makes_the_window_small_at_once_and_only_once() {
        let mut window = Window::new(2);
        (0..100).for_each(|_| window.measured(Duration::from_micros(10)));
        assert!(window.stalled(Duration::from_millis(250)));
        assert_eq!(window.size(), 2);
        assert!(!window.stalled(Duration::from_millis(250)));
    }
}
