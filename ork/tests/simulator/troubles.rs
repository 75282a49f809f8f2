//! Causes the troubles of a run, and holds the state of the store during them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ork_runtime::store::memory::Tables;

use super::broker::RECONNECTS;
use super::executor::Owner;
use super::names::Reached;
use super::process::Worker;
use super::scenario::{Ends, Trouble};
use super::world::World;

/// How long it takes until an asynchronous commit is on disk.
const FLUSHES: u64 = 600_000;

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
    late: (u64, u64),
    /// Until when every second transaction is rolled back first.
    conflicts_until: u64,
    /// Until when no commit is confirmed.
    doubt_until: u64,
    /// Until when it refuses writes.
    full_until: u64,
    /// Until when it refuses the requests of a worker, or of all (`None`).
    refuses: BTreeMap<Option<usize>, u64>,
}

impl World {
    /// Causes all troubles, each at its time.
    pub(crate) async fn cause(self: Arc<Self>) {
        for (at, trouble) in &self.scenario.troubles {
            let now = self.executor.now();
            self.executor.sleep((at * 1_000).saturating_sub(now)).await;
            self.note(Owner::WORLD, format_args!("{trouble:?}"));
            let now = self.executor.now();
            match *trouble {
                Trouble::Crash { worker, back } => self.crash(worker, back),
                Trouble::Freeze { worker, lasts } => self.freeze(worker, lasts),
                Trouble::Sleep { lasts } => self.sleep(lasts),
                Trouble::Drain { worker, back } => self.ask_to_stop(worker, back, false),
                Trouble::Stop { worker, back } => self.ask_to_stop(worker, back, true),
                Trouble::Turn { worker, by } => self.turn(worker, by),
                Trouble::InCommit { worker, after, what } => {
                    self.armed.lock().unwrap().insert(worker, (after, what));
                }
                Trouble::Late { most, lasts } => {
                    let until = now + lasts * 1_000;
                    self.store_troubles.lock().unwrap().late = (until, most);
                    // A request in the last moment is late, too, and what follows from it.
                    self.oracle(|oracle| oracle.disturbs(None, now, until + 4 * most * 1_000));
                }
                Trouble::Conflicts { lasts } => {
                    self.store_troubles.lock().unwrap().conflicts_until = now + lasts * 1_000;
                }
                Trouble::NoSpace { lasts } => {
                    self.store_troubles.lock().unwrap().full_until = now + lasts * 1_000;
                    self.oracle(|oracle| oracle.disturbs(None, now, now + lasts * 1_000));
                }
                Trouble::Doubt { lasts } => {
                    self.store_troubles.lock().unwrap().doubt_until = now + lasts * 1_000;
                    self.oracle(|oracle| oracle.disturbs(None, now, now + lasts * 1_000));
                }
                Trouble::Objects { lasts } => {
                    // A write that failed is repeated after 30 s at most.
                    self.refuse_objects(now + lasts * 1_000);
                    self.oracle(|oracle| oracle.disturbs(None, now, now + (lasts + 30_000) * 1_000));
                }
                Trouble::Undone { lasts } => {
                    let until = now + lasts * 1_000;
                    self.store_troubles.lock().unwrap().refuses.insert(None, until);
                    self.undo();
                    self.oracle(|oracle| {
                        oracle.undoes(until);
                        oracle.disturbs(None, now, until);
                    });
                }
                Trouble::Refuses { worker, lasts } => {
                    let until = now + lasts * 1_000;
                    self.store_troubles.lock().unwrap().refuses.insert(worker, until);
                    let owner = worker.map(|worker| self.workers.get(worker).and_then(Worker::owner));
                    self.oracle(|oracle| oracle.disturbs(owner.flatten(), now, until));
                }
                Trouble::Cut { .. }
                | Trouble::Channels { .. }
                | Trouble::Cancels { .. }
                | Trouble::NoChannels { .. }
                | Trouble::Publishers { .. }
                | Trouble::Timeout { .. }
                | Trouble::SlowBroker { .. }
                | Trouble::Blocks { .. }
                | Trouble::Full { .. }
                | Trouble::Doubles { .. }
                | Trouble::Stranger { .. }
                | Trouble::Holds { .. }
                | Trouble::Foreign(_)
                | Trouble::Purge
                | Trouble::Failover { .. }
                | Trouble::Deletes
                | Trouble::DropsOldest { .. }
                | Trouble::Expires { .. } => self.cause_of_broker(trouble, now),
            }
        }
    }

    /// Causes a trouble of the broker.
    fn cause_of_broker(self: &Arc<Self>, trouble: &Trouble, now: u64) {
        match *trouble {
            Trouble::Cut { worker: Some(worker), lasts } => {
                if let Some(owner) = self.workers.get(worker).and_then(Worker::owner) {
                    self.cut(owner, lasts);
                    self.oracle(|oracle| oracle.disturbs(Some(owner), now, now + lasts * 1_000 + RECONNECTS));
                }
            }
            Trouble::Cut { worker: None, lasts } => {
                self.cut_all(lasts);
                self.oracle(|oracle| oracle.disturbs(None, now, now + lasts * 1_000 + RECONNECTS));
            }
            Trouble::Channels { worker } => {
                if let Some(owner) = self.workers.get(worker).and_then(Worker::owner) {
                    self.close_channels(owner);
                    self.oracle(|oracle| oracle.disturbs(Some(owner), now, now + RECONNECTS));
                }
            }
            Trouble::Cancels { lasts } => {
                self.cancel_consumers(now + lasts * 1_000);
                self.oracle(|oracle| oracle.disturbs(None, now, now + lasts * 1_000 + RECONNECTS));
            }
            Trouble::NoChannels { worker, lasts } => {
                self.cause_for(worker, |owner| {
                    self.use_up_channels(owner, now + lasts * 1_000);
                    self.oracle(|oracle| oracle.disturbs(owner, now, now + lasts * 1_000 + RECONNECTS));
                });
            }
            Trouble::Publishers { worker, lasts } => {
                self.cause_for(worker, |owner| {
                    self.close_publishers(owner, now + lasts * 1_000);
                    self.oracle(|oracle| oracle.disturbs(owner, now, now + lasts * 1_000));
                });
            }
            // It disturbs a process whenever it closes one of its channels.
            Trouble::Timeout { longest, lasts } => self.set_consumer_timeout(now + lasts * 1_000, longest * 1_000),
            Trouble::SlowBroker { most, lasts } => {
                let until = now + lasts * 1_000;
                self.slow_broker(until, most);
                self.oracle(|oracle| oracle.disturbs(None, now, until + 4 * most * 1_000));
            }
            Trouble::Blocks { lasts } => {
                self.block_publishers(now + lasts * 1_000);
                self.oracle(|oracle| oracle.disturbs(None, now, now + lasts * 1_000));
            }
            Trouble::Full { lasts } => {
                self.fill_queues(now + lasts * 1_000);
                self.oracle(|oracle| oracle.disturbs(None, now, now + lasts * 1_000));
            }
            Trouble::Doubles { most } => self.double(most),
            Trouble::Stranger { most, lasts, keeps } => {
                self.take_as_other_program(most, lasts, keeps);
                self.oracle(|oracle| oracle.disturbs(None, now, now + lasts * 1_000));
            }
            Trouble::Holds { most, lasts } => self.hold_records(most, lasts),
            Trouble::Foreign(what) => self.publish_as_other_program(what.letter(now)),
            Trouble::Purge => {
                let n_lost = self.forget_newest(usize::MAX);
                self.note(Owner::WORLD, format_args!("{n_lost} messages are lost"));
            }
            Trouble::Failover { most, lasts } => {
                let n_lost = self.forget_newest(most);
                self.note(Owner::WORLD, format_args!("{n_lost} messages are lost"));
                self.cut_all(lasts);
                self.oracle(|oracle| oracle.disturbs(None, now, now + lasts * 1_000 + RECONNECTS));
            }
            Trouble::Expires { longest, lasts } => self.expire(now + lasts * 1_000, longest * 1_000),
            Trouble::Deletes => {
                self.delete_queues();
                self.oracle(|oracle| oracle.disturbs(None, now, now + RECONNECTS));
            }
            Trouble::DropsOldest { most, lasts } => self.limit_queues(now + lasts * 1_000, most),
            // `cause` has caused these.
            Trouble::Crash { .. }
            | Trouble::Freeze { .. }
            | Trouble::Sleep { .. }
            | Trouble::Drain { .. }
            | Trouble::Stop { .. }
            | Trouble::Turn { .. }
            | Trouble::InCommit { .. }
            | Trouble::Late { .. }
            | Trouble::Conflicts { .. }
            | Trouble::NoSpace { .. }
            | Trouble::Undone { .. }
            | Trouble::Doubt { .. }
            | Trouble::Objects { .. }
            | Trouble::Refuses { .. } => {}
        }
    }

    /// Causes a trouble of the process of a worker, if it is running, or of all processes (`None`).
    fn cause_for(&self, worker: Option<usize>, cause: impl FnOnce(Option<Owner>)) {
        let owner = worker.map(|worker| self.workers.get(worker).and_then(Worker::owner));
        if owner != Some(None) {
            cause(owner.flatten());
        }
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

    /// Marks everything that the store has now as surviving a restart of its server.
    pub(crate) fn keep_durable(&self) {
        if self.scenario.undoes() {
            let tables = self.truth(|tables| tables.clone());
            *self.durable.lock().unwrap() = Some(tables);
            self.soft.lock().unwrap().before = None;
        }
    }

    /// Called before a write: what was written long enough ago is on disk by now.
    pub(crate) fn flush(&self) {
        if !self.scenario.undoes() {
            return;
        }
        let now = self.executor.now();
        let tables = || self.truth(|tables| tables.clone());
        let mut soft = self.soft.lock().unwrap();
        let Soft { before, written } = &mut *soft;
        if *written + FLUSHES <= now {
            (*before, *self.durable.lock().unwrap()) = (None, Some(tables()));
        } else if let Some((tables, _)) = before.take_if(|(_, at)| *at + FLUSHES <= now) {
            *self.durable.lock().unwrap() = Some(tables);
        }
        before.get_or_insert_with(|| (tables(), now));
        *written = now;
    }

    /// Restarts the store with its last transaction that must survive a restart, or that was on disk.
    fn undo(&self) {
        self.flush();
        let durable = self.durable.lock().unwrap().clone();
        if let Some(durable) = durable {
            self.truth(|tables| *tables = durable);
            self.oracle(|oracle| oracle.reaches(Reached::StoreRestarted));
        }
    }

    /// Returns whether it has no space for writes.
    pub(crate) fn is_full(&self) -> bool {
        self.executor.now() < self.store_troubles.lock().unwrap().full_until
    }

    /// Returns whether it refuses the requests of a process.
    pub(crate) fn refuses(&self, owner: Owner) -> bool {
        let now = self.executor.now();
        let worker = self.workers.iter().position(|worker| worker.owner() == Some(owner));
        let store_troubles = self.store_troubles.lock().unwrap();
        let until = |of: Option<usize>| store_troubles.refuses.get(&of).copied().unwrap_or(0);
        now < until(None) || (worker.is_some() && now < until(worker))
    }

    /// Ends the worker of a transaction in the middle of it, if a trouble is due.
    pub(crate) fn in_commit(self: &Arc<Self>, owner: Owner) {
        let Some(worker) = self.workers.iter().position(|worker| worker.owner() == Some(owner)) else { return };
        let mut armed = self.armed.lock().unwrap();
        let Some((left, what)) = armed.get_mut(&worker) else { return };
        if *left > 0 {
            *left -= 1;
            return;
        }
        let what = *what;
        armed.remove(&worker);
        let world = Arc::clone(self);
        self.executor.spawn(Owner::WORLD, async move { world.end_worker(worker, what) });
    }

    fn end_worker(self: &Arc<Self>, worker: usize, what: Ends) {
        self.note(Owner::WORLD, format_args!("{what:?} in a commit: worker {worker}"));
        match what {
            Ends::Dies => self.crash(worker, 1_000),
            Ends::Drains => self.ask_to_stop(worker, 1_000, false),
            Ends::Stops => self.ask_to_stop(worker, 1_000, true),
        }
    }
}
