//! The commands for the writer, and the replies to them.

use rusqlite::Connection;
use tokio::sync::oneshot;

use ork_core::tx::{Durability, StoreNotice};
use ork_ports::store::{StoreError, Work};

/// A command for the writer.
pub(crate) enum Command {
    /// Apply operations.
    Work(Box<dyn Work>),
    /// Change rows without an operation.
    Io(Box<dyn IoWork>),
    /// End, after the commands that wait.
    Close,
}

impl Command {
    /// Whether the transaction of this command has to wait for the disk, or may have to because of a later command in
    /// it. A change that only records which process holds a row need not wait: if it is lost, the work is delivered
    /// again.
    pub(crate) fn may_be_durable(&self) -> bool {
        match self {
            Self::Work(work) => work.durability() != Durability::Process,
            Self::Io(_) | Self::Close => false,
        }
    }

    pub(crate) fn finish(self, result: Result<(), StoreError>) {
        match self {
            Self::Work(work) => work.finish(result),
            Self::Io(io) => io.finish(result),
            Self::Close => {}
        }
    }
}

/// A change of rows as the writer sees it, without its type.
pub(crate) trait IoWork: Send {
    fn run(&mut self, connection: &Connection, notices: &mut Vec<StoreNotice>) -> rusqlite::Result<()>;
    /// Whether the change may remove jobs, which makes the cached jobs invalid.
    fn removes_jobs(&self) -> bool;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

pub(crate) struct Io<F, T> {
    work: F,
    answer: Option<T>,
    removes: bool,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Io<F, T> {
    pub(crate) const fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { work, answer: None, removes: false, reply }
    }

    /// Marks the change as one that removes jobs.
    pub(crate) fn removes(self) -> Self {
        Self { removes: true, ..self }
    }
}

impl<F, T> IoWork for Io<F, T>
where
    F: FnMut(&Connection, &mut Vec<StoreNotice>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn removes_jobs(&self) -> bool {
        self.removes
    }

    fn run(&mut self, connection: &Connection, notices: &mut Vec<StoreNotice>) -> rusqlite::Result<()> {
        self.answer = Some((self.work)(connection, notices)?);
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { answer, reply, .. } = *self;
        match (result, answer) {
            (Ok(()), Some(answer)) => drop(reply.send(Ok(answer))),
            (Err(error), _) => drop(reply.send(Err(error))),
            (Ok(()), None) => drop(reply),
        }
    }
}
