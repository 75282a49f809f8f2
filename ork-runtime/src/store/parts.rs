//! Parts as they are listed: what the ledger knows of each, and what its row adds to that.

use serde::Serialize;

use crate::context::Progress;
use crate::failure::Failure;
use crate::ledger::{PartProgress, PartState, Shard};

/// Which parts of a job to list, in order of their index.
///
/// ```
/// use ork::{PartFilter, PartState};
///
/// // The second page of those that failed, if the last one of the first page has index 41.
/// let page = PartFilter { states: vec![PartState::Failed], from: 42, limit: 20 };
/// assert_eq!(PartFilter::default().limit, 0);
/// # let _used = page;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartFilter {
    /// Only in one of these states; empty for all.
    pub states: Vec<PartState>,
    /// From this index on.
    pub from: u64,
    /// At most this many.
    pub limit: usize,
}

impl PartFilter {
    /// The parts of one shard that are to be listed; `found` has those of the shards before it.
    pub fn pick(&self, shard: &Shard, number: u64, appended: u64, found: &mut Vec<PartProgress>) {
        let wanted = |part: &PartProgress| self.states.is_empty() || self.states.contains(&part.state);
        let left = self.limit.saturating_sub(found.len());
        found.extend(shard.progress(number, self.from, appended).filter(wanted).take(left));
    }
}

/// How one part of a job stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartStatus {
    /// Which one, from 0.
    pub index: u64,
    /// Where it stands.
    pub state: PartState,
    /// How many attempts at it were begun. Of one that was cancelled while it ran, how many had ended before.
    pub attempts: u32,
    /// Why it failed, or why the last attempt did.
    pub failure: Option<Failure>,
    /// What it said last about how far it is, while it runs.
    pub progress: Option<Progress>,
}

/// What the row of a part adds to what the ledger knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PartRowInfo {
    /// Which attempt ended last, if one has.
    pub attempts: Option<u32>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What was said last about how far it is.
    pub progress: Option<Progress>,
}

impl PartStatus {
    /// Puts both together: a row may keep what was true before its job was retried, and the ledger knows better.
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
