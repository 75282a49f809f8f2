//! The listing of parts: combines what the ledger records about a part with what its row adds.

use serde::Serialize;

use bytes::Bytes;
use ork_core::failure::Failure;
use ork_core::ledger::{PartProgress, PartResult, PartState, Shard};
use ork_core::progress::Progress;

/// A filter for the parts of a job to list, in order of their index.
///
/// ```
/// use ork_core::ledger::PartState;
/// use ork_ports::store::PartFilter;
///
/// // The second page of those that failed, if the last one of the first page has index 41.
/// let page = PartFilter { states: vec![PartState::Failed], from: 42, ..PartFilter::default() };
/// assert_eq!(page.limit, 100);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFilter {
    /// The states to list; empty for all states.
    pub states: Vec<PartState>,
    /// The index of the first part to list.
    pub from: u64,
    /// The maximum number of parts to return; 100 by default.
    pub limit: usize,
}

impl Default for PartFilter {
    fn default() -> Self {
        Self { states: Vec::new(), from: 0, limit: 100 }
    }
}

impl PartFilter {
    /// Adds the matching parts of one shard to `found`, which contains those of the preceding shards.
    pub fn pick(&self, shard: &Shard, number: u64, appended: u64, found: &mut Vec<PartProgress>) {
        let wanted = |part: &PartProgress| self.states.is_empty() || self.states.contains(&part.state);
        let left = self.limit.saturating_sub(found.len());
        found.extend(shard.progress(number, self.from, appended).filter(wanted).take(left));
    }
}

/// The status of one part of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartStatus {
    /// The index of the part, starting at 0.
    pub index: u64,
    /// The state of the part.
    pub state: PartState,
    /// The number of attempts that have started. For a part that was cancelled while it ran: the number of attempts
    /// that had ended before.
    pub attempts: u32,
    /// The failure of the part, or of its last attempt. `None` if no attempt has failed.
    pub failure: Option<Failure>,
    /// The progress that the part last reported; `None` unless it is running.
    pub progress: Option<Progress>,
}

/// The data that the row of a part adds to its entry in the ledger.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PartRowInfo {
    /// The number of the last attempt that ended, if one has.
    pub attempts: Option<u32>,
    /// The failure of that attempt, if it failed.
    pub failure: Option<Failure>,
    /// The progress that was last reported.
    pub progress: Option<Progress>,
}

impl PartStatus {
    /// Combines both sources. The ledger takes precedence: a row may still hold data from before the job was retried.
    pub fn new(standing: PartProgress, notes: PartRowInfo) -> Self {
        let PartProgress { index, state, attempts } = standing;
        let ran = u32::from(matches!(state, PartState::Succeeded | PartState::Failed));
        let attempts = attempts.or(notes.attempts).unwrap_or(ran);
        let has_failed = match state {
            PartState::Ready | PartState::Succeeded => false,
            PartState::Running => attempts > 1,
            PartState::Retrying | PartState::Failed | PartState::Skipped | PartState::Cancelled => true,
        };
        let failure = notes.failure.filter(|_| has_failed);
        let progress = notes.progress.filter(|_| state == PartState::Running);
        Self { index, state, attempts, failure, progress }
    }
}

/// A settled part, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledPart {
    /// The index of the part.
    pub index: u64,
    /// The state in which the part ended.
    pub how: PartResult,
    /// The output of a part that succeeded: JSON, or a [reference](ork_core::output::OutputRef) to a large output.
    pub output: Option<Bytes>,
    /// The reason why the part failed. `None` unless it failed.
    pub failure: Option<Failure>,
}
