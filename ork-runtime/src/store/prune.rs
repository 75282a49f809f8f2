//! What a store forgets: jobs that ended long ago, with all that belongs to them, a page at a time.
//!
//! A tree is a root job with all jobs below it. It is due as one, by the last of its jobs to end. First the due jobs are
//! looked up, which only reads; then they are removed in small transactions, each of which looks again at what it
//! removes. So any number of processes may do this at once, and any may stop half-way.

use crate::clock::Timestamp;
use crate::id::JobId;

/// Jobs whose tree ended before a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    /// Some of them, those below others first.
    pub jobs: Vec<JobId>,
    /// When the next tree ended, of those that are not due yet.
    pub next: Option<Timestamp>,
}

/// Asks to remove jobs, whole or as far as the page goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// Which ones, in this order. One that has not ended before the moment, or whose root has not, stays.
    pub jobs: Vec<JobId>,
    /// The moment.
    pub before: Timestamp,
    /// At most so many parts.
    pub parts: u64,
}

/// The answer to [`Prune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// How many jobs are gone now that were there.
    pub jobs: u64,
    /// How many parts are gone with them.
    pub parts: u64,
    /// How many of the jobs, from the first on, are done with: gone, or rightly there. The page ended at the next one.
    pub done: usize,
}
