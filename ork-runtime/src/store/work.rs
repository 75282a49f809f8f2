//! Work: an operation on its way through a store, without its type.

use tokio::sync::oneshot;

use super::StoreError;
use crate::accounting::{Books, Operation, Promise, Shards};
use crate::id::JobId;

/// An operation that a store carries out without knowing what it is.
///
/// A store opens [`job`](Work::job), then [`shards`](Work::shards), calls [`apply`](Work::apply), and once what it
/// [promises](Work::promise) is true, or cannot be, [`finish`](Work::finish). It may apply it again from the start after
/// a rollback.
pub trait Work: Send {
    /// The job it is about.
    fn job(&self) -> JobId;

    /// What its answer promises; it must not be finished before that is true.
    fn promise(&self) -> Promise;

    /// The shards it needs open, now that its job is.
    fn shards(&self, books: &Books) -> Shards;

    /// Decides, and notes in the books what is to be written.
    fn apply(&mut self, books: &mut Books);

    /// Tells whoever waits.
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

pub(super) struct Pending<O: Operation> {
    pub(super) operation: O,
    pub(super) answer: Option<O::Answer>,
    pub(super) reply: oneshot::Sender<Result<O::Answer, StoreError>>,
}

impl<O: Operation> Work for Pending<O> {
    fn job(&self) -> JobId {
        self.operation.job()
    }

    fn promise(&self) -> Promise {
        self.operation.promise()
    }

    fn shards(&self, books: &Books) -> Shards {
        self.operation.shards(books)
    }

    fn apply(&mut self, books: &mut Books) {
        self.answer = Some(self.operation.apply(books));
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { answer, reply, .. } = *self;
        // Whoever waited may be gone; what was done stays done.
        match (result, answer) {
            (Ok(()), Some(answer)) => drop(reply.send(Ok(answer))),
            (Err(error), _) => drop(reply.send(Err(error))),
            (Ok(()), None) => drop(reply),
        }
    }
}
