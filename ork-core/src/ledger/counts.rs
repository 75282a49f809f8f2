//! The number of parts in each state.

/// The number of parts that ended in each way, and of those that are running. Always derived from the sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// The number of parts that returned an output.
    pub succeeded: u64,
    /// The number of parts that failed permanently.
    pub failed: u64,
    /// The number of parts that never started.
    pub skipped: u64,
    /// The number of parts that were cancelled with their job.
    pub cancelled: u64,
    /// The number of parts that a worker has started and not settled.
    pub running: u64,
}

impl Counts {
    /// The number of parts that have ended in any way.
    pub const fn settled(&self) -> u64 {
        self.succeeded + self.failed + self.skipped + self.cancelled
    }

    /// The number of parts that ended without an output.
    pub const fn unsuccessful(&self) -> u64 {
        self.failed + self.skipped + self.cancelled
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, more| Self {
            succeeded: sum.succeeded + more.succeeded,
            failed: sum.failed + more.failed,
            skipped: sum.skipped + more.skipped,
            cancelled: sum.cancelled + more.cancelled,
            running: sum.running + more.running,
        })
    }
}
