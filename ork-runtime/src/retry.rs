//! When a failed attempt is tried again: a pure answer from the policy, the attempt and a random number.

use std::time::Duration;

/// How often, and how soon, a failed attempt is tried again.
///
/// `retries` counts the attempts *after* the first. The pause before retry `k` (from 1) is
/// `base * 2^(k - 1)`, of which up to a quarter is taken off at random so that
/// many failures at one moment do not all return at one moment. It does not grow beyond `max`; a `base` that is longer
/// than `max` is kept, and does not grow.
///
/// ```
/// # use std::time::Duration;
/// let policy = ork::RetryPolicy::new(2).backoff(Duration::from_secs(1));
/// assert_eq!(policy.pause_after(1, 0.0), Some(Duration::from_secs(1)));
/// assert_eq!(policy.pause_after(2, 0.0), Some(Duration::from_secs(2)));
/// assert_eq!(policy.pause_after(3, 0.0), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub retries: u32,
    /// The pause before the first retry.
    pub base: Duration,
    /// No pause grows beyond this.
    pub max: Duration,
}

impl RetryPolicy {
    /// Retries this often, after one second at first, later after up to ten minutes.
    pub const fn new(retries: u32) -> Self {
        Self { retries, base: Duration::from_secs(1), max: Duration::from_mins(10) }
    }

    /// The same policy with another first pause.
    #[must_use]
    pub const fn backoff(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The pause after failed attempt `attempt` (from 1), or `None` when it was the last.
    ///
    /// `random` lies in `0.0..1.0` and chooses the jitter.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = RetryPolicy::new(u32::MAX).backoff(Duration::from_secs(1));
        let pauses: Vec<_> = (1..=12).filter_map(|attempt| policy.pause_after(attempt, 0.0)).collect();
        assert_eq!(pauses[3], Duration::from_secs(8));
        assert_eq!(pauses[11], Duration::from_mins(10));
        assert_eq!(policy.pause_after(1_000_000, 0.0), Some(Duration::from_mins(10)));
    }

    /// Before, an hour was cut at ten minutes without a word.
    #[test]
    fn a_first_pause_beyond_the_longest_is_kept_and_does_not_grow() {
        let hour = Duration::from_hours(1);
        let policy = RetryPolicy::new(u32::MAX).backoff(hour);
        assert_eq!([1, 2, 100].map(|attempt| policy.pause_after(attempt, 0.0)), [Some(hour); 3]);
        assert_eq!(policy.pause_after(1, 1.0), Some(Duration::from_mins(45)));
        let five = RetryPolicy::new(9).backoff(Duration::from_mins(5));
        let pauses = [1, 2, 3].map(|attempt| five.pause_after(attempt, 0.0));
        assert_eq!(pauses, [5, 10, 10].map(|minutes| Some(Duration::from_mins(minutes))));
    }

    #[test]
    fn jitter_takes_off_a_quarter_at_most() {
        let policy = RetryPolicy::new(1).backoff(Duration::from_secs(4));
        assert_eq!(policy.pause_after(1, 1.0), Some(Duration::from_secs(3)));
    }
}
