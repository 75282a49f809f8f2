//! The retention of jobs: removes jobs that ended long ago, with all data about them, page by page.
//!
//! A tree is a root job with all jobs below it. A tree expires as a whole, by the end of the last of its jobs. Expired
//! jobs are first looked up, which only reads; then they are removed in small transactions, each of which checks again
//! what it removes. So any number of processes may prune at the same time, and any of them may stop midway.

use ork_core::clock::Timestamp;
use ork_core::id::JobId;

/// The jobs whose tree ended before a given time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    /// Some of these jobs; jobs further down in a tree come before those above them.
    pub jobs: Vec<JobId>,
    /// The earliest end of a tree that has not expired yet; `None` if there is no such tree.
    pub next: Option<Timestamp>,
}

/// A request to remove jobs, up to a number of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// The jobs to remove, in this order. A job is kept if it, or its root, has not ended before
    /// [`before`](Prune::before).
    pub jobs: Vec<JobId>,
    /// The time before which jobs must have ended.
    pub before: Timestamp,
    /// The maximum number of parts to remove in this request.
    pub parts: u64,
}

/// The result of [`Prune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// The number of jobs that were removed.
    pub jobs: u64,
    /// The number of parts that were removed.
    pub parts: u64,
    /// The number of jobs, counted from the first, that are finished: removed, or rightly kept. The next request should
    /// start with the one after them.
    pub done: usize,
}
