//! The troubles of the store: until when each lasts, and what they make of a request.

use std::collections::{BTreeMap, BTreeSet};

use ork::{Filter, JobId};
use ork_ports::store::{StoreError, StoreErrorKind, Work};
use ork_runtime::store::memory::Tables;

use super::dice::Dice;
use super::executor::Owner;
use super::names::Reached;
use super::scenario::StoreKind;
use super::world::World;

/// How long it takes until an asynchronous commit of a server is on disk, and one of a file.
const FLUSHES: (u64, u64) = (600_000, 10_000_000);

/// How long an operation waits for a lock, or for a lost connection, before it fails.
pub(crate) const PATIENCE: u64 = 10_000_000;

/// Transactions that are not on disk yet.
#[derive(Debug, Default)]
pub(crate) struct Soft {
    /// The tables before the first of them, at that moment.
    before: Option<(Tables, u64)>,
    /// When the last of them was written.
    written: u64,
}

/// The current troubles of the store.
#[derive(Debug, Default)]
pub(crate) struct StoreTroubles {
    /// Until when it is slow, and by how many milliseconds at most.
    pub(crate) late: (u64, u64),
    /// Until when every second transaction is rolled back first.
    pub(crate) conflicts_until: u64,
    /// Until when no commit is confirmed.
    pub(crate) doubt_until: u64,
    /// Until when it refuses writes.
    pub(crate) full_until: u64,
    /// Until when it is read-only.
    pub(crate) read_only_until: u64,
    /// Until when it is damaged, and the percentage of requests that notice it.
    pub(crate) damaged: (u64, u64),
    /// Until when another program holds locks, and on a server the jobs that it has locked.
    locked: (u64, BTreeSet<JobId>),
    /// Until when the new version that has migrated it is not installed, and the running processes of the old version
    /// if the migration breaks them.
    migrated: (u64, BTreeSet<Owner>),
    /// Until when it refuses the requests of a worker, or of all (`None`).
    pub(crate) refuses: BTreeMap<Option<usize>, u64>,
}

/// Whether a request changes the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

pub(crate) fn refusal() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the simulated store refuses")
}

/// The error for a request that has timed out: its outcome is unknown.
pub(crate) fn doubtful() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the connection to the simulated store was lost during a commit")
}

/// The error for a request that has waited for a lock for too long.
pub(crate) fn lock_timeout() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the simulated store is locked by another program")
}

impl World {
    /// Returns the error with which the store refuses a request now, unless it does not.
    pub(crate) fn refusal(&self, owner: Owner, access: Access, dice: &mut Dice) -> Option<StoreError> {
        let now = self.executor.now();
        if self.refuses(owner) {
            return Some(refusal());
        }
        let (full_until, read_only_until, damaged, is_old) = {
            let troubles = self.store_troubles.lock().unwrap();
            let (until, old) = &troubles.migrated;
            let is_old = now < *until && old.contains(&owner);
            (troubles.full_until, troubles.read_only_until, troubles.damaged, is_old)
        };
        if is_old || (now < damaged.0 && dice.percent(damaged.1)) {
            self.oracle(|oracle| oracle.meets_damage(owner));
            return Some(StoreError::new(StoreErrorKind::Corrupt, "the simulated store is damaged"));
        }
        if access == Access::Read {
            return None;
        }
        if now < read_only_until {
            self.oracle(|oracle| oracle.reaches(Reached::ReadOnly));
            return Some(StoreError::new(StoreErrorKind::ReadOnly, "the simulated store is read-only"));
        }
        (now < full_until).then(refusal)
    }

    /// Returns the error with which the store cannot be opened now, unless it can be. Opening it writes to it.
    pub(crate) fn opens(&self, owner: Owner) -> Result<(), StoreError> {
        let now = self.executor.now();
        let troubles = self.store_troubles.lock().unwrap();
        let (is_read_only, is_damaged) = (now < troubles.read_only_until, now < troubles.damaged.0);
        let is_too_new = now < troubles.migrated.0 && !self.oracle(|oracle| oracle.clients.contains(&owner));
        drop(troubles);
        if is_too_new {
            self.oracle(|oracle| oracle.reaches(Reached::TooNew));
            return Err(StoreError::new(StoreErrorKind::TooNew, "a newer version has migrated the simulated store"));
        }
        if is_damaged {
            return Err(StoreError::new(StoreErrorKind::Corrupt, "the simulated store is damaged"));
        }
        if is_read_only {
            return Err(StoreError::new(StoreErrorKind::ReadOnly, "the simulated store is read-only"));
        }
        Ok(())
    }

    /// Returns whether it refuses the requests of a process.
    fn refuses(&self, owner: Owner) -> bool {
        let now = self.executor.now();
        let worker = self.workers.iter().position(|worker| worker.owner() == Some(owner));
        let store_troubles = self.store_troubles.lock().unwrap();
        let until = |of: Option<usize>| store_troubles.refuses.get(&of).copied().unwrap_or(0);
        now < until(None) || (worker.is_some() && now < until(worker))
    }

    /// Draws by how many milliseconds the store is late.
    pub(crate) fn late(&self) -> u64 {
        let (until, most) = self.store_troubles.lock().unwrap().late;
        if self.executor.now() < until { most } else { 0 }
    }

    /// Until when every second transaction of the store is rolled back first.
    pub(crate) fn conflicts_until(&self) -> u64 {
        self.store_troubles.lock().unwrap().conflicts_until
    }

    /// Until when no commit is confirmed.
    pub(crate) fn doubt_until(&self) -> u64 {
        self.store_troubles.lock().unwrap().doubt_until
    }

    /// Another program locks the file, or every second job of a server.
    pub(crate) fn lock_store(&self, until: u64) {
        let all = Filter { limit: usize::MAX, ..Filter::default() };
        let jobs = self.truth(|tables| tables.jobs(&all)).into_iter().map(|view| view.job.id);
        let is_locked = |id: &JobId| id.as_bytes().last().is_some_and(|byte| byte.is_multiple_of(2));
        let locked = jobs.filter(is_locked).collect();
        self.store_troubles.lock().unwrap().locked = (until, locked);
    }

    /// Until when the file is locked.
    pub(crate) fn file_locked_until(&self) -> u64 {
        let until = self.store_troubles.lock().unwrap().locked.0;
        if self.scenario.store == StoreKind::File { until } else { 0 }
    }

    /// Until when jobs are locked that these operations need, on a server: the transaction of these, and of jobs above
    /// them, would wait.
    pub(crate) fn jobs_locked_until(&self, work: &dyn Work) -> Option<u64> {
        let troubles = self.store_troubles.lock().unwrap();
        let (until, locked) = &troubles.locked;
        if self.scenario.store != StoreKind::Server || self.executor.now() >= *until {
            return None;
        }
        let needs = |at: usize| [Some(work.job(at)), work.with(at)].into_iter().flatten();
        let above = |job: &JobId| self.truth(|tables| tables.job(*job)).and_then(|view| view.job.parent);
        let mut jobs = (0..work.count()).flat_map(needs);
        let is_locked = jobs.any(|job| std::iter::successors(Some(job), above).any(|job| locked.contains(&job)));
        is_locked.then_some(*until)
    }

    /// A newer version migrates the store, and is installed at this moment.
    pub(crate) fn migrate(&self, breaks: bool, until: u64) {
        let old = if breaks { self.live_workers() } else { Vec::new() };
        self.store_troubles.lock().unwrap().migrated = (until, old.into_iter().collect());
    }

    /// Marks everything that the store has now as surviving a restart of its server, or a power failure.
    pub(crate) fn keep_durable(&self) {
        if self.scenario.undoes() || self.scenario.loses_power() {
            let tables = self.truth(|tables| tables.clone());
            *self.durable.lock().unwrap() = Some(tables);
            self.soft.lock().unwrap().before = None;
        }
    }

    /// Called before a write: what was written long enough ago is on disk by now.
    pub(crate) fn flush(&self) {
        if !self.scenario.undoes() && !self.scenario.loses_power() {
            return;
        }
        let flushes = if self.scenario.store == StoreKind::File { FLUSHES.1 } else { FLUSHES.0 };
        let now = self.executor.now();
        let tables = || self.truth(|tables| tables.clone());
        let mut soft = self.soft.lock().unwrap();
        let Soft { before, written } = &mut *soft;
        if *written + flushes <= now {
            (*before, *self.durable.lock().unwrap()) = (None, Some(tables()));
        } else if let Some((tables, _)) = before.take_if(|(_, at)| *at + flushes <= now) {
            *self.durable.lock().unwrap() = Some(tables);
        }
        before.get_or_insert_with(|| (tables(), now));
        *written = now;
    }

    /// Restarts the store with its last transaction that must survive a restart, or that was on disk.
    pub(crate) fn undo(&self, reached: Reached) {
        self.flush();
        // Before the first of them, it was empty.
        let durable = self.durable.lock().unwrap().clone().unwrap_or_default();
        self.truth(|tables| *tables = durable);
        self.oracle(|oracle| oracle.reaches(reached));
    }
}
