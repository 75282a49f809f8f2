//! Pauses before another try: [`RetryPolicy`] for attempts of a task, and `Backoff` for operations of this process.
//! Pure code; the randomness is an argument.

use std::time::Duration;

/// The number of retries of a failed attempt, and the pauses between them.
///
/// `retries` counts the attempts *after* the first one. The pause before retry `k` (starting at 1) is `base * 2^(k -
/// 1)`. Up to a quarter of it is subtracted at random, so that jobs that failed together are not retried together.
/// The pause does not grow beyond `max`. A `base` longer than `max` is used as it is and does not grow.
///
/// ```
/// # use std::time::Duration;
/// let policy = ork_core::retry::RetryPolicy::new(2).backoff(Duration::from_secs(1));
/// assert_eq!(policy.pause_after(1, 0.0), Some(Duration::from_secs(1)));
/// assert_eq!(policy.pause_after(2, 0.0), Some(Duration::from_secs(2)));
/// assert_eq!(policy.pause_after(3, 0.0), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The maximum number of retries, i.e. attempts after the first one.
    pub retries: u32,
    /// The pause before the first retry.
    pub base: Duration,
    /// The maximum to which pauses grow.
    pub max: Duration,
}

impl RetryPolicy {
    /// Creates a policy with this number of retries. The first pause is one second, and pauses grow up to ten
    /// minutes.
    pub const fn new(retries: u32) -> Self {
        Self { retries, base: Duration::from_secs(1), max: Duration::from_mins(10) }
    }

    /// Sets the pause before the first retry.
    #[must_use]
    pub const fn backoff(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Returns the pause after the failed attempt `attempt` (starting at 1), or `None` if it was the last one.
    ///
    /// `random` is a random number in `0.0..1.0` for the jitter.
    pub fn pause_after(&self, attempt: u32, random: f64) -> Option<Duration> {
        if attempt > self.retries {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(31);
        let full = self.base.saturating_mul(1 << doublings).min(self.max.max(self.base));
        Some(full.mul_f64(1.0 - random.clamp(0.0, 1.0) / 4.0))
    }
}

impl Default for RetryPolicy {
    /// No retries.
    fn default() -> Self {
        Self::new(0)
    }
}

/// Pauses between tries: each is twice as long as the one before it, up to a longest one.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Creates pauses that double from `first` up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// Returns pauses that do not grow.
    pub const fn constant(pause: Duration) -> Self {
        Self::new(pause, pause)
    }

    /// Returns the next pause. `random` is a random number in `0.0..1.0`: up to half of the pause is subtracted.
    pub fn next(&mut self, random: f64) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause.mul_f64(1.0 - random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let policy = RetryPolicy::new(u32::MAX).backoff(Duration::from_secs(1));
        let pauses: Vec<_> = (1..=12).filter_map(|attempt| policy.pause_after(attempt, 0.0)).collect();
        assert_eq!(pauses[3], Duration::from_secs(8));
        assert_eq!(pauses[11], Duration::from_mins(10));
        assert_eq!(policy.pause_after(1_000_000, 0.0), Some(Duration::from_mins(10)));
    }

    /// Regression test: a first pause of an hour was silently cut to ten minutes.
    #[test]
    fn first_pause_above_the_maximum_is_kept_and_does_not_grow() {
        let hour = Duration::from_hours(1);
        let policy = RetryPolicy::new(u32::MAX).backoff(hour);
        assert_eq!([1, 2, 100].map(|attempt| policy.pause_after(attempt, 0.0)), [Some(hour); 3]);
        assert_eq!(policy.pause_after(1, 1.0), Some(Duration::from_mins(45)));
        let five = RetryPolicy::new(9).backoff(Duration::from_mins(5));
        let pauses = [1, 2, 3].map(|attempt| five.pause_after(attempt, 0.0));
        assert_eq!(pauses, [5, 10, 10].map(|minutes| Some(Duration::from_mins(minutes))));
    }

    #[test]
    fn jitter_shortens_a_pause_by_at_most_a_quarter() {
        let policy = RetryPolicy::new(1).backoff(Duration::from_secs(4));
        assert_eq!(policy.pause_after(1, 1.0), Some(Duration::from_secs(3)));
    }

    #[test]
    fn backoff_doubles_up_to_its_longest_pause() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        assert_eq!([0.0, 0.0, 0.0, 0.5].map(|random| backoff.next(random).as_millis()), [100, 200, 300, 225]);
        let mut constant = Backoff::constant(Duration::from_secs(1));
        assert_eq!([constant.next(0.0), constant.next(0.0)], [Duration::from_secs(1); 2]);
    }
}
