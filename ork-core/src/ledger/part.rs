//! The state of one part of a job, from its first dispatch to its end.

use serde::{Deserialize, Serialize};

use super::{PartResult, SHARD_SIZE, Shard};

/// The state of a part.
///
/// ```
/// use ork_core::ledger::PartState;
///
/// assert_eq!(PartState::from_word("retrying"), Some(PartState::Retrying));
/// assert!(PartState::Skipped.is_final() && !PartState::Running.is_final());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// The part waits for a worker.
    Ready,
    /// A worker runs the part.
    Running,
    /// An attempt failed, and the next one has not started.
    Retrying,
    /// The part returned an output.
    Succeeded,
    /// The part failed permanently.
    Failed,
    /// The part never started, because too many other parts had failed.
    Skipped,
    /// The part was cancelled with its job.
    Cancelled,
}

impl PartState {
    /// Every state, in the order in which a part passes through them.
    pub const ALL: [Self; 7] =
        [Self::Ready, Self::Running, Self::Retrying, Self::Succeeded, Self::Failed, Self::Skipped, Self::Cancelled];

    /// Whether the state is final. Only a resume of the job changes it then.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled => true,
            Self::Ready | Self::Running | Self::Retrying => false,
        }
    }

    /// The name of the state in documents and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the state with this name, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl std::fmt::Display for PartState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<PartResult> for PartState {
    fn from(result: PartResult) -> Self {
        match result {
            PartResult::Succeeded => Self::Succeeded,
            PartResult::Failed => Self::Failed,
            PartResult::Skipped => Self::Skipped,
            PartResult::Cancelled => Self::Cancelled,
        }
    }
}

/// The state of one part, as the ledger records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartProgress {
    /// The index of the part.
    pub index: u64,
    /// The state of the part.
    pub state: PartState,
    /// The number of attempts that were started. `None` if the part has ended, because the ledger forgets the number
    /// then.
    pub attempts: Option<u32>,
}

impl Shard {
    /// Returns the state of the parts with indices `from..below`, in order. `number` is the number of this shard.
    pub fn progress(&self, number: u64, from: u64, below: u64) -> impl Iterator<Item = PartProgress> {
        let first = number * SHARD_SIZE;
        let low = |index: u64| u32::try_from(index.saturating_sub(first).min(SHARD_SIZE)).unwrap_or(0);
        (low(from)..low(below)).map(move |low| {
            let index = first + u64::from(low);
            let attempt = self.attempt(low);
            let (state, attempts) = match self.outcome(low) {
                Some(result) => (result.into(), None),
                None if self.is_running(low) => (PartState::Running, Some(attempt)),
                None if attempt > 1 => (PartState::Retrying, Some(attempt - 1)),
                None => (PartState::Ready, Some(0)),
            };
            PartProgress { index, state, attempts }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_covers_every_part_of_a_shard() {
        let mut shard = Shard::default();
        shard.settle(0, PartResult::Succeeded);
        shard.start(1, 1);
        shard.retry_later(2, 3);
        shard.retry_later(3, 2);
        shard.start(3, 2);
        shard.settle(5, PartResult::Cancelled);
        let first = 2 * SHARD_SIZE;
        let seen: Vec<_> = shard.progress(2, 0, first + 6).map(|part| (part.state, part.attempts)).collect();
        let expected = [
            (PartState::Succeeded, None),
            (PartState::Running, Some(1)),
            (PartState::Retrying, Some(2)),
            (PartState::Running, Some(2)),
            (PartState::Ready, Some(0)),
            (PartState::Cancelled, None),
        ];
        assert_eq!(seen, expected);
        let page: Vec<_> = shard.progress(2, first + 4, first + 99).map(|part| part.index - first).take(2).collect();
        assert_eq!(page, [4, 5]);
        assert_eq!(shard.progress(2, 0, first).count(), 0);
        assert_eq!(shard.progress(1, first, first + 6).count(), 0);
        assert_eq!(shard.progress(0, 1, 2 * first).count(), 65_535);
    }
}
