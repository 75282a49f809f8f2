//! The writing connection with its open [`Transaction`]. The transaction collects changes from the first operation to
//! the commit, and then serves as a cache of the loaded jobs until another process writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use crate::command::IoWork;
use crate::load::{self, Seqs};
use crate::schema::Synchronous;
use crate::{outbox, permits, save, uniques};
use ork_core::tx::{Durability, StoreNotice, Transaction};
use ork_ports::store::Work;

/// The maximum number of jobs that stay loaded after a commit, as a cache.
const JOBS: usize = 8_192;

/// The writing connection, and what is known about the contents of the file.
pub(crate) struct Session {
    /// The writing connection. All changes that this process makes to the file go through it.
    connection: Connection,
    /// Whether the next commit waits for the disk. It is set when a transaction begins, by the commands in it.
    sync: Sync,
    /// The changes since the last commit, and the jobs that are loaded. It remains after a commit, as a cache.
    tx: Transaction,
    /// The row numbers of the loaded jobs. Emptied together with the cache.
    seqs: Seqs,
    /// The number of the next row of the outbox, as stored in the file.
    next_outbox_id: u64,
    /// The `data_version` of the file. It changes when another process commits, which invalidates the cache.
    version: Option<i64>,
    /// Whether a transaction is open. It stays open for a moment if it contains only claims.
    begun: bool,
    /// Whether results were returned that are not committed yet. Readers check it, and then wait for the commit.
    answered: Arc<AtomicBool>,
    /// Whether another process has committed since the previous transaction of this one. If so, transactions are not
    /// kept open, because that process would have to wait.
    shared: bool,
}

impl Session {
    pub(crate) fn new(connection: Connection, synchronous: Synchronous, answered: Arc<AtomicBool>) -> Self {
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

    /// Whether a transaction is open. It holds changes that are to be committed soon.
    pub(crate) const fn is_begun(&self) -> bool {
        self.begun
    }

    /// Whether other processes write, too. They have to wait while a transaction is open.
    pub(crate) const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Opens a transaction if none is open. If `durable` is set, its commit waits for the disk.
    pub(crate) fn begin(&mut self, durable: bool) -> rusqlite::Result<()> {
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
            self.next_outbox_id = outbox::next_id(&self.connection)?;
            self.tx.number_from(self.next_outbox_id);
        }
        Ok(())
    }

    /// Applies operations. Returns whether their results may be returned before the commit: if they require little
    /// durability, and nothing else waits for the changes.
    pub(crate) fn apply(&mut self, work: &mut dyn Work) -> rusqlite::Result<bool> {
        for at in 0..work.count() {
            let one = [Some(work.job(at)), work.with(at)].into_iter().flatten();
            for id in one.chain(work.follows(at).iter().copied()) {
                load::open_lineage(&self.connection, &mut self.tx, &mut self.seqs, id)?;
            }
            // In order: what an operation needs may depend on the operations before it.
            let shards = work.shards(at, &self.tx);
            load::open_shards(&self.connection, &mut self.tx, &self.seqs, shards)?;
            permits::open(&self.connection, &mut self.tx, work.limit(at))?;
            uniques::open(&self.connection, &mut self.tx, work.unique(at))?;
            work.apply(at, &mut self.tx);
        }
        Ok(work.durability() == Durability::Lazy && self.tx.is_quiet())
    }

    /// Writes the changes of the operations, runs `ios`, which change rows without an operation, and commits.
    pub(crate) fn commit(&mut self, ios: &mut [&mut Box<dyn IoWork>]) -> rusqlite::Result<Vec<StoreNotice>> {
        let mut notifier = save::save(&self.connection, &mut self.tx, &mut self.seqs, self.next_outbox_id)?;
        for io in ios.iter_mut() {
            io.run(&self.connection, &mut notifier)?;
        }
        if !ios.is_empty() {
            self.tx.number_from(outbox::next_id(&self.connection)?);
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

    /// Records that results are about to be returned before the commit.
    pub(crate) fn answer_early(&self, answered: bool) {
        self.answered.fetch_or(answered, Ordering::Release);
    }

    /// Rolls back the open transaction.
    pub(crate) fn roll_back(&mut self) {
        self.answered.store(false, Ordering::Release);
        self.forget();
        if std::mem::take(&mut self.begun) && !self.connection.is_autocommit() {
            // If the rollback fails as well, the next transaction reports why.
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
    /// Starts with the pragma that `schema` has set.
    const fn new(synchronous: Synchronous) -> Self {
        let full = matches!(synchronous, Synchronous::Full);
        Self { full, now: full }
    }

    /// Sets the pragma for the next commit. A commit that waits for the disk also flushes all commits before it, so no
    /// change is on disk without those that it depends on.
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
