//! Work: operations as a store sees them, without their type.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::StoreError;
use ork_core::id::JobId;
use ork_core::tx::{Durability, HeldRow, Operation, Shards, Transaction};

/// Operations that a store applies in order in one transaction, without knowing their types.
///
/// For each operation the store loads [`job`](Work::job), the job it needs [`with`](Work::with) it and those it
/// [`follows`](Work::follows), each with all jobs above it. Then it loads [`shards`](Work::shards),
/// [`limit`](Work::limit) and [`unique`](Work::unique), and calls [`apply`](Work::apply). It calls
/// [`finish`](Work::finish) once the promised [`durability`](Work::durability) is reached, or cannot be reached. After
/// a rollback it may apply the operations again, starting with the first.
pub trait Work: Send {
    /// Returns the number of operations. The parameter `at` of the other methods is below this number.
    fn count(&self) -> usize;

    /// Returns the job that the operation changes.
    fn job(&self, at: usize) -> JobId;

    /// Returns another job that the operation needs loaded, if any.
    fn with(&self, at: usize) -> Option<JobId>;

    /// Returns further jobs that the operation needs loaded, because a new job is to follow them.
    fn follows(&self, at: usize) -> &[JobId];

    /// Returns the strongest durability that one of the operations requires. They must not be finished before it is
    /// reached.
    fn durability(&self) -> Durability;

    /// Returns the shards of a ledger that the operation needs loaded. Called after its job was loaded.
    fn shards(&self, at: usize, tx: &Transaction) -> Shards;

    /// Returns the concurrency limit whose permits the operation needs loaded.
    fn limit(&self, at: usize) -> Option<&Arc<str>>;

    /// Returns the unique key that the operation needs loaded.
    fn unique(&self, at: usize) -> Option<&Arc<str>>;

    /// Applies the operation, and records in the transaction what must be written.
    fn apply(&mut self, at: usize, tx: &mut Transaction);

    /// Sends the result to the caller that waits for it.
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

/// The output of a committed operation, and the outbox rows that this process holds because of it.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "rows that are not sent wait until this process ends"]
pub struct Committed<T> {
    /// The output.
    pub output: T,
    /// Rows that only this process can send.
    pub rows: Vec<HeldRow>,
}

/// The reply channel of operations that wait for their commit.
type Reply<O> = oneshot::Sender<Result<Vec<Committed<<O as Operation>::Output>>, StoreError>>;

pub(super) struct Pending<O: Operation> {
    operations: Vec<O>,
    applied: Vec<Committed<O::Output>>,
    reply: Reply<O>,
}

impl<O: Operation> Pending<O> {
    pub(super) fn new(operations: Vec<O>, reply: Reply<O>) -> Self {
        Self { applied: Vec::with_capacity(operations.len()), operations, reply }
    }

    /// Returns the operation at this index, which a store keeps below `count`.
    fn operation(&self, at: usize) -> &O {
        #[expect(clippy::indexing_slicing, reason = "`Work` requires that `at` is less than `count`")]
        &self.operations[at]
    }
}

impl<O: Operation> Work for Pending<O> {
    fn count(&self) -> usize {
        self.operations.len()
    }

    fn job(&self, at: usize) -> JobId {
        self.operation(at).job()
    }

    fn with(&self, at: usize) -> Option<JobId> {
        self.operation(at).with()
    }

    fn follows(&self, at: usize) -> &[JobId] {
        self.operation(at).follows()
    }

    fn durability(&self) -> Durability {
        self.operations.iter().map(Operation::durability).max().unwrap_or(Durability::Lazy)
    }

    fn shards(&self, at: usize, tx: &Transaction) -> Shards {
        self.operation(at).shards(tx)
    }

    fn limit(&self, at: usize) -> Option<&Arc<str>> {
        self.operation(at).limit()
    }

    fn unique(&self, at: usize) -> Option<&Arc<str>> {
        self.operation(at).unique()
    }

    fn apply(&mut self, at: usize, tx: &mut Transaction) {
        self.applied.truncate(at);
        let output = self.operation(at).apply(tx);
        self.applied.push(Committed { output, rows: tx.take_held() });
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { applied, reply, .. } = *self;
        // The caller may have stopped waiting; the operations stay applied.
        drop(reply.send(result.map(|()| applied)));
    }
}
