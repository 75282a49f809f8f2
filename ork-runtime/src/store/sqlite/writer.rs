//! The one thread that writes: takes all that waits, does it in one transaction, answers after the commit.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvError};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::Synchronous;
use super::error::store_error;
use super::tables;
use super::wake::Bell;
use crate::accounting::{Books, Change};
use crate::store::{Changes, StoreError, StoreErrorKind, Work};

/// At most so many commands make one transaction: what waits behind them should not wait for too long.
const BATCH: usize = 4_096;

/// What the writer is asked to do.
pub(super) enum Command {
    /// Carry out an operation.
    Work(Box<dyn Work>),
    /// Change rows that no operation decides about.
    Io(Box<dyn IoWork>),
    /// End, after what is waiting.
    Close,
}

/// A change of rows, on its way through the writer without its type.
pub(super) trait IoWork: Send {
    fn run(&mut self, connection: &Connection, changes: &mut Vec<Change>) -> rusqlite::Result<()>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

pub(super) struct Io<F, T> {
    work: F,
    answer: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Io<F, T> {
    pub(super) const fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { work, answer: None, reply }
    }
}

impl<F, T> IoWork for Io<F, T>
where
    F: FnMut(&Connection, &mut Vec<Change>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection, changes: &mut Vec<Change>) -> rusqlite::Result<()> {
        self.answer = Some((self.work)(connection, changes)?);
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

impl Command {
    /// Whether it must be on disk before it is finished. What only says who holds or does something need not be: if it
    /// is forgotten, the work is handed out once more, and what was settled is not settled again.
    fn is_durable(&self) -> bool {
        match self {
            Self::Work(work) => work.is_durable(),
            Self::Io(_) | Self::Close => false,
        }
    }

    fn finish(self, result: Result<(), StoreError>) {
        match self {
            Self::Work(work) => work.finish(result),
            Self::Io(io) => io.finish(result),
            Self::Close => {}
        }
    }
}

/// The writing thread.
#[derive(Debug)]
pub(super) struct Writer(JoinHandle<()>);

impl Writer {
    pub(super) fn start(
        path: PathBuf,
        (connection, synchronous): (Connection, Synchronous),
        queue: Receiver<Command>,
        changes: Changes,
        bell: Bell,
    ) -> Result<Self, StoreError> {
        let state = Thread { path, connection, sync: Sync::new(synchronous), changes, bell };
        let thread = std::thread::Builder::new().name("ork-sqlite".into()).spawn(move || state.run(&queue));
        thread.map(Self).map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "no thread can be started for the store").with_source(error)
        })
    }

    pub(super) fn join(self) {
        // A panic there has been reported by the panic hook, and every waiter was told that the store is closed.
        drop(self.0.join());
    }
}

struct Thread {
    path: PathBuf,
    connection: Connection,
    sync: Sync,
    changes: Changes,
    bell: Bell,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Command>) {
        loop {
            let mut batch = Vec::new();
            match queue.recv() {
                Ok(Command::Close) | Err(RecvError) => return,
                Ok(command) => batch.push(command),
            }
            let mut closing = false;
            while batch.len() < BATCH {
                match queue.try_recv() {
                    Ok(Command::Close) => closing = true,
                    Ok(command) => batch.push(command),
                    Err(_empty) => break,
                }
            }
            self.carry_out(batch);
            if closing {
                return;
            }
        }
    }

    fn carry_out(&mut self, mut batch: Vec<Command>) {
        match self.transaction(&mut batch) {
            Ok(changes) => {
                for command in batch {
                    command.finish(Ok(()));
                }
                self.tell(&changes);
            }
            Err(error) if batch.len() == 1 || !is_of_one(&error) => {
                for command in batch {
                    command.finish(Err(error.copy()));
                }
            }
            // One of them may be at fault; alone, it fails alone.
            Err(_) => batch.into_iter().for_each(|command| self.carry_out(vec![command])),
        }
    }

    fn transaction(&mut self, batch: &mut [Command]) -> Result<Vec<Change>, StoreError> {
        let Self { path, connection, sync, .. } = self;
        let wrong = |error| store_error(path, error);
        let durable = batch.iter().any(Command::is_durable);
        sync.set(connection, durable).map_err(wrong)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
        let mut works: Vec<&mut Box<dyn Work>> = Vec::new();
        let mut ios = Vec::new();
        for command in batch {
            match command {
                Command::Work(work) => works.push(work),
                Command::Io(io) => ios.push(io),
                Command::Close => {}
            }
        }
        let mut changes = Vec::new();
        if !works.is_empty() {
            changes = Self::works(&transaction, &mut works).map_err(wrong)?;
        }
        for io in ios {
            io.run(&transaction, &mut changes).map_err(wrong)?;
        }
        transaction.commit().map_err(wrong)?;
        Ok(changes)
    }

    fn works(connection: &Connection, works: &mut [&mut Box<dyn Work>]) -> rusqlite::Result<Vec<Change>> {
        let next_owed = tables::next_owed(connection)?;
        let mut books = Books::new(next_owed);
        let mut seqs = tables::Seqs::default();
        for work in works.iter() {
            tables::open_job(connection, &mut books, &mut seqs, work.job())?;
        }
        // One after the other: what an operation needs may depend on what the one before it did.
        for work in works.iter_mut() {
            let shards = work.shards(&books);
            tables::open_shards(connection, &mut books, &seqs, shards)?;
            work.apply(&mut books);
        }
        tables::write(connection, &mut books, seqs, next_owed)
    }

    fn tell(&self, changes: &[Change]) {
        for change in changes {
            self.changes.tell(*change);
        }
        self.bell.ring(changes);
    }
}

/// Whether the next commit waits for the disk.
struct Sync {
    full: bool,
    now: bool,
}

impl Sync {
    /// As `schema` has set it.
    const fn new(synchronous: Synchronous) -> Self {
        let full = matches!(synchronous, Synchronous::Full);
        Self { full, now: full }
    }

    /// A commit that waits also brings those before it to disk, so that nothing is there without what it rests on.
    fn set(&mut self, connection: &Connection, durable: bool) -> rusqlite::Result<()> {
        let wanted = self.full && durable;
        if wanted != self.now {
            let pragma = if wanted { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            connection.prepare_cached(pragma)?.execute([])?;
            self.now = wanted;
        }
        Ok(())
    }
}

/// Whether one command alone can have caused this.
fn is_of_one(error: &StoreError) -> bool {
    match error.kind() {
        StoreErrorKind::Unavailable | StoreErrorKind::ReadOnly | StoreErrorKind::Closed => false,
        StoreErrorKind::TooNew
        | StoreErrorKind::Corrupt
        | StoreErrorKind::Config
        | StoreErrorKind::NotFound
        | StoreErrorKind::NoStore => true,
    }
}
