//! Work that reports its result to a test double instead of its caller.

use std::sync::Arc;

use ork_core::id::JobId;
use ork_core::tx::{Durability, Shards, Transaction};
use ork_ports::store::{StoreError, Work};

/// Work, and the function that is called with its result.
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct ReportingWork<F> {
    pub work: Box<dyn Work>,
    pub report: F,
}

impl<F: FnOnce(Box<dyn Work>, Result<(), StoreError>) + Send> Work for ReportingWork<F> {
    fn count(&self) -> usize {
        self.work.count()
    }

    fn job(&self, at: usize) -> JobId {
        self.work.job(at)
    }

    fn with(&self, at: usize) -> Option<JobId> {
        self.work.with(at)
    }

    fn follows(&self, at: usize) -> &[JobId] {
        self.work.follows(at)
    }

    fn durability(&self) -> Durability {
        self.work.durability()
    }

    fn shards(&self, at: usize, tx: &Transaction) -> Shards {
        self.work.shards(at, tx)
    }

    fn limit(&self, at: usize) -> Option<&Arc<str>> {
        self.work.limit(at)
    }

    fn unique(&self, at: usize) -> Option<&Arc<str>> {
        self.work.unique(at)
    }

    fn apply(&mut self, at: usize, tx: &mut Transaction) {
        self.work.apply(at, tx);
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        (self.report)(self.work, result);
    }
}
