//! The writing connection and the books that are open on it: from the first operation to the commit, and as a cache of
//! what was written until another process writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::Synchronous;
use super::permits;
use super::tables::{self, Seqs};
use super::uniques;
use super::writer::IoWork;
use crate::store::Work;
use crate::tx::{Durability, StoreNotice, Transaction};

/// Beyond so many jobs the books are closed after a commit: what they hold is a cache then.
const JOBS: usize = 8_192;

/// The writing connection, with what is known of its file.
pub(super) struct Session {
    connection: Connection,
    sync: Sync,
    tx: Transaction,
    seqs: Seqs,
    /// The number of the next row of the outbox, as the file has it.
    next_outbox_id: u64,
    /// Changes when another process commits; then what is cached is of no use.
    version: Option<i64>,
    /// Whether a transaction is open.
    begun: bool,
    /// Whether something was answered that is not committed.
    answered: Arc<AtomicBool>,
    /// Whether another process has committed since the last transaction of this one.
    shared: bool,
}

impl Session {
    pub(super) fn new(connection: Connection, synchronous: Synchronous, answered: Arc<AtomicBool>) -> Self {
        Self {
            connection,
            sync: Sync::new(synchronous),
            tx: Transaction::default(),
            seqs: Seqs::default(),
            next_outbox_id: 0,
            version: None,
            begun: false,
            answered,
            shared: false,
        }
    }

    /// Whether a transaction is open, with what was promised to be written soon.
    pub(super) const fn is_begun(&self) -> bool {
        self.begun
    }

    /// Whether other processes are writing too, who wait while a transaction is open.
    pub(super) const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Opens a transaction, if none is open; `durable` if its commit is to wait for the disk.
    pub(super) fn begin(&mut self, durable: bool) -> rusqlite::Result<()> {
        if self.begun {
            return Ok(());
        }
        self.sync.set(&self.connection, durable)?;
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.begun = true;
        let version = self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        self.shared = self.version.is_some_and(|known| known != version);
        if self.version != Some(version) {
            self.forget();
            self.version = Some(version);
            self.next_outbox_id = tables::next_outbox_id(&self.connection)?;
            self.tx.number_from(self.next_outbox_id);
        }
        Ok(())
    }

    /// Lets operations decide. Answers whether they may be answered before the commit: what they promise is little, and
    /// nobody else hears of it.
    pub(super) fn apply(&mut self, work: &mut dyn Work) -> rusqlite::Result<bool> {
        for at in 0..work.count() {
            let one = [Some(work.job(at)), work.with(at)].into_iter().flatten();
            for id in one.chain(work.follows(at).iter().copied()) {
                tables::open_lineage(&self.connection, &mut self.tx, &mut self.seqs, id)?;
            }
            // One after the other: what an operation needs may depend on what the one before it did.
            let shards = work.shards(at, &self.tx);
            tables::open_shards(&self.connection, &mut self.tx, &self.seqs, shards)?;
            permits::open(&self.connection, &mut self.tx, work.limit(at))?;
            uniques::open(&self.connection, &mut self.tx, work.unique(at))?;
            work.apply(at, &mut self.tx);
        }
        Ok(work.durability() == Durability::Lazy && self.tx.is_quiet())
    }

    /// Writes what the operations have noted, lets `ios` change rows that no operation decides about, and commits.
    pub(super) fn commit(&mut self, ios: &mut [&mut Box<dyn IoWork>]) -> rusqlite::Result<Vec<StoreNotice>> {
        let mut notifier = tables::write(&self.connection, &mut self.tx, &mut self.seqs, self.next_outbox_id)?;
        for io in ios.iter_mut() {
            io.run(&self.connection, &mut notifier)?;
        }
        if !ios.is_empty() {
            self.tx.number_from(tables::next_outbox_id(&self.connection)?);
        }
        self.next_outbox_id = self.tx.next_outbox_id();
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.begun = false;
        self.answered.store(false, Ordering::Release);
        if self.tx.len() > JOBS || ios.iter().any(|io| io.removes_jobs()) {
            self.forget();
        }
        Ok(notifier)
    }

    /// Notes that something is answered before the commit, before it is.
    pub(super) fn answer_early(&self, answered: bool) {
        self.answered.fetch_or(answered, Ordering::Release);
    }

    /// Undoes what was not committed.
    pub(super) fn roll_back(&mut self) {
        self.answered.store(false, Ordering::Release);
        self.forget();
        if std::mem::take(&mut self.begun) && !self.connection.is_autocommit() {
            // Where even this fails the next transaction says why.
            drop(self.connection.execute_batch("ROLLBACK"));
        }
    }

    fn forget(&mut self) {
        let next = self.tx.next_outbox_id();
        (self.tx, self.seqs) = (Transaction::new(next), Seqs::default());
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
