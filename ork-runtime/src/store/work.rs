//! Work: operations on their way through a store, without their type.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::StoreError;
use crate::id::JobId;
use crate::tx::{Durability, HeldRow, Operation, Shards, Transaction};

/// Operations that a store carries out, one after the other in one transaction, without knowing what they are.
///
/// For each of them a store opens [`job`](Work::job), the one it needs [`with`](Work::with) it and those it
/// [`follows`](Work::follows), each with all jobs above it, then [`shards`](Work::shards), [`limit`](Work::limit) and [`unique`](Work::unique), and calls [`apply`](Work::apply).
/// Once what they [promise](Work::promise) is true, or cannot be, it calls [`finish`](Work::finish). It may apply them
/// again from the first one after a rollback.
pub trait Work: Send {
    /// How many they are.
    fn count(&self) -> usize;

    /// The job that one of them is about.
    fn job(&self, at: usize) -> JobId;

    /// Another job that one of them needs open.
    fn with(&self, at: usize) -> Option<JobId>;

    /// Further jobs that one of them needs open.
    fn follows(&self, at: usize) -> &[JobId];

    /// What their answers promise; they must not be finished before that is true.
    fn durability(&self) -> Durability;

    /// The shards that one of them needs open, now that its job is.
    fn shards(&self, at: usize, tx: &Transaction) -> Shards;

    /// The concurrency limit whose permits one of them needs open.
    fn limit(&self, at: usize) -> Option<&Arc<str>>;

    /// The unique key that one of them needs open.
    fn unique(&self, at: usize) -> Option<&Arc<str>>;

    /// Decides, and notes in the books what is to be written.
    fn apply(&mut self, at: usize, tx: &mut Transaction);

    /// Tells whoever waits.
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

/// The output of a committed operation, and the outbox rows that this process holds because of it.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "rows that are not sent wait until this process has ended"]
pub struct Committed<T> {
    /// The output.
    pub output: T,
    /// Rows that only this process can send.
    pub to_send: Vec<HeldRow>,
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

    /// A store asks for what there is only.
    fn operation(&self, at: usize) -> &O {
        #[expect(clippy::indexing_slicing, reason = "`at` is below `count`: the contract of `Work`")]
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
        self.applied.push(Committed { output, to_send: tx.take_held() });
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { applied, reply, .. } = *self;
        // The caller may have stopped waiting; the operations are committed all the same.
        drop(reply.send(result.map(|()| applied)));
    }
}
