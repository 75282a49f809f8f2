//! When a failed attempt is tried again: a pure answer from the policy, the attempt and a random number.

use std::time::Duration;

/// How often, and how soon, a failed attempt is tried again.
///
/// `retries` counts the attempts *after* the first. The pause before retry `k` (from 1) is
/// `base * 2^(k - 1)`, at most `max`, of which up to a quarter is taken off at random so that
/// many failures at one moment do not all return at one moment.
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
    /// No pause is longer than this.
    pub max: Duration,
}

impl RetryPolicy {
    /// Retries this often, after one second at first, never after more than ten minutes.
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
        let full = self.base.saturating_mul(1 << doublings).min(self.max);
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

    #[test]
    fn jitter_takes_off_a_quarter_at_most() {
        let policy = RetryPolicy::new(1).backoff(Duration::from_secs(4));
        assert_eq!(policy.pause_after(1, 1.0), Some(Duration::from_secs(3)));
    }
}
