//! How many deliveries to have at hand: few of long tasks, so that other workers get theirs; many of short ones, so
//! that nobody waits for the broker or the disk. Pure.

use std::time::Duration;

/// The work at hand should last about this long.
const AHEAD: Duration = Duration::from_millis(50);

/// No window is larger: beyond it nothing is gained, and memory is lost.
const MOST: usize = 4_000;

/// The weight of the newest measurement.
const WEIGHT: f64 = 0.2;

/// The window before anything was measured.
pub(super) fn first(concurrency: usize) -> u16 {
    clamp(concurrency.saturating_mul(2))
}

fn clamp(window: usize) -> u16 {
    u16::try_from(window.clamp(2, MOST)).unwrap_or(u16::MAX)
}

/// Follows how long deliveries take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    concurrency: usize,
    mean: Option<f64>,
}

impl Window {
    pub(super) const fn new(concurrency: usize) -> Self {
        Self { concurrency, mean: None }
    }

    /// One more delivery took this long, with `at_hand` of them at hand.
    pub(super) fn measured(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.mean = Some(self.mean.map_or(took, |mean| mean + WEIGHT * (took - mean)));
    }

    /// How many deliveries to have at hand.
    pub(super) fn size(&self) -> u16 {
        let Some(mean) = self.mean else {
            return first(self.concurrency);
        };
        let rounds = AHEAD.as_secs_f64() / mean.max(1e-6);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::as_conversions,
            reason = "clamped to 1..=10,000 just before"
        )]
        let rounds = rounds.clamp(1.0, 10_000.0) as usize;
        // One more than runs, so that the next one is there when a slot is free.
        clamp(self.concurrency.saturating_mul(rounds).max(self.concurrency + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tasks_get_a_small_window_and_short_ones_a_large_one() {
        let mut window = Window::new(2);
        (0..100).for_each(|_| window.measured(Duration::from_mins(1)));
        assert_eq!(window.size(), 3);
        (0..100).for_each(|_| window.measured(Duration::from_micros(10)));
        assert_eq!(usize::from(window.size()), MOST);
    }
}
