//! What a multi-part job makes of its failed parts: the verdict, never the barrier.

use std::fmt;
use std::str::FromStr;

use crate::ledger::Counts;

/// What happens to the other parts when one has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Every part runs to its end.
    #[default]
    Finish,
    /// The first failure beyond the tolerance skips the parts that have not started.
    Stop,
}

impl OnError {
    /// The word that stores and documents use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Stop => "stop",
        }
    }

    /// The policy of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Finish, Self::Stop].into_iter().find(|policy| policy.as_str() == word)
    }
}

/// How many failed parts a job bears and still succeeds.
///
/// ```
/// use ork::Tolerate;
/// assert_eq!("5%".parse(), Ok(Tolerate::Percent(5.0)));
/// assert!(Tolerate::Percent(5.0).bears(5, 100));
/// assert!(!Tolerate::Count(2).bears(3, 100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerate {
    /// At most this many.
    Count(u64),
    /// At most this share of all parts, from 0 to 100.
    Percent(f64),
}

impl Default for Tolerate {
    /// None.
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Tolerate {
    /// Whether `failed` of `total` parts are within the tolerance.
    pub fn bears(self, failed: u64, total: u64) -> bool {
        match self {
            Self::Count(most) => failed <= most,
            #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "part counts stay far below 2^52")]
            Self::Percent(most) => failed as f64 * 100.0 <= most * total as f64,
        }
    }
}

impl fmt::Display for Tolerate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Says that a text is no tolerance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no tolerance: expected a count such as `3` or a share from `0%` to `100%`")]
pub struct ParseTolerateError {
    found: String,
}

impl FromStr for Tolerate {
    type Err = ParseTolerateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseTolerateError { found: text.to_owned() };
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Count).map_err(|_not_a_number| wrong()),
            Some(share) => match share.parse::<f64>() {
                Ok(share) if (0.0..=100.0).contains(&share) => Ok(Self::Percent(share)),
                Ok(_) | Err(_) => Err(wrong()),
            },
        }
    }
}

/// The policy of one multi-part job.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Policy {
    /// What happens after a failure.
    pub on_error: OnError,
    /// How many failures are borne.
    pub tolerate: Tolerate,
}

impl Policy {
    /// Whether these failures are too many, given that `known` parts exist so far.
    ///
    /// While the number of parts is still growing a share cannot be judged, so only counts are.
    pub fn is_broken(&self, counts: Counts, known: u64, sealed: bool) -> bool {
        match self.tolerate {
            Tolerate::Percent(_) if !sealed => false,
            tolerate => !tolerate.bears(counts.failed, known),
        }
    }
}

/// How many calls of a task may run at once, over all processes that share a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Concurrency {
    /// How many.
    pub calls: u32,
    /// The input whose every value has a limit of its own.
    pub key: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_judged_only_when_the_total_is_known() {
        let policy = Policy { on_error: OnError::Stop, tolerate: Tolerate::Percent(50.0) };
        let counts = Counts { failed: 1, ..Counts::default() };
        assert!(!policy.is_broken(counts, 1, false));
        assert!(policy.is_broken(counts, 1, true));
        assert!(!policy.is_broken(counts, 2, true));
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for text in ["", "%", "-1", "101%", "NaN%", "five", "1.5"] {
            assert!(text.parse::<Tolerate>().is_err(), "{text}");
        }
    }
}
