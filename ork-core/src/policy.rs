//! The policy for failed parts: whether a job with failed parts continues, and whether it succeeds. It never decides
//! when the join starts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ledger::counts::Counts;

/// Whether the other parts of a job still start after a part has failed permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// All parts run.
    #[default]
    Finish,
    /// Once more parts have failed than are tolerated, the parts that have not started are skipped.
    Stop,
}

impl OnError {
    /// The name of the policy in stores and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Stop => "stop",
        }
    }
}

/// The number of failed parts with which a job still succeeds.
///
/// ```
/// use ork_core::policy::Tolerate;
/// assert_eq!("5%".parse(), Ok(Tolerate::Percent(5.0)));
/// assert!(Tolerate::Percent(5.0).allows(5, 100));
/// assert!(!Tolerate::Count(2).allows(3, 100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Tolerate {
    /// The maximum number of failed parts.
    Count(u64),
    /// The maximum share of failed parts, as a percentage of all parts from 0 to 100.
    Percent(f64),
}

impl Default for Tolerate {
    /// No failed part is tolerated.
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Tolerate {
    /// Whether a job with `failed` of `total` parts still succeeds.
    pub fn allows(self, failed: u64, total: u64) -> bool {
        match self {
            Self::Count(most) => failed <= most,
            #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "part counts are far below 2^52")]
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

/// The error for a text that is not a tolerance.
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

impl From<Tolerate> for String {
    fn from(tolerate: Tolerate) -> Self {
        tolerate.to_string()
    }
}

impl TryFrom<String> for Tolerate {
    type Error = ParseTolerateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The policy of a job with parts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Whether the other parts still start after a failure.
    pub on_error: OnError,
    /// The number of failed parts with which the job still succeeds.
    pub tolerate: Tolerate,
}

impl Policy {
    /// Whether too many parts have failed, of the `known` parts that exist so far.
    ///
    /// A percentage applies only once the ledger is sealed, because the total is not known before.
    pub fn is_broken(&self, counts: Counts, known: u64, sealed: bool) -> bool {
        match self.tolerate {
            Tolerate::Percent(_) if !sealed => false,
            tolerate => !tolerate.allows(counts.failed, known),
        }
    }
}

/// A limit on the number of calls of a task that run at once, over all processes that share a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Concurrency {
    /// The maximum number of calls.
    pub calls: u32,
    /// The name of an input. If set, the limit applies separately to each value of this input.
    pub key: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentage_applies_only_once_the_total_is_known() {
        let policy = Policy { on_error: OnError::Stop, tolerate: Tolerate::Percent(50.0) };
        let counts = Counts { failed: 1, ..Counts::default() };
        assert!(!policy.is_broken(counts, 1, false));
        assert!(policy.is_broken(counts, 1, true));
        assert!(!policy.is_broken(counts, 2, true));
    }

    #[test]
    fn invalid_tolerances_are_rejected() {
        for text in ["", "%", "-1", "101%", "NaN%", "five", "1.5"] {
            assert!(text.parse::<Tolerate>().is_err(), "{text}");
        }
    }
}
