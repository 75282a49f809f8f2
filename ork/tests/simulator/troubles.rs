//! Causes the troubles of a run.

use std::sync::Arc;

use super::broker::RECONNECTS;
use super::executor::Owner;
use super::names::Reached;
use super::process::Worker;
use super::scenario::{Ends, Trouble};
use super::world::World;

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
                    self.oracle(|oracle| oracle.refuses(None, now, now + lasts * 1_000));
                }
                Trouble::Doubt { lasts } => {
                    self.store_troubles.lock().unwrap().doubt_until = now + lasts * 1_000;
                    self.oracle(|oracle| oracle.refuses(None, now, now + lasts * 1_000));
                }
                Trouble::Locked { lasts } => {
                    let until = now + lasts * 1_000;
                    self.lock_store(until);
                    self.oracle(|oracle| oracle.refuses(None, now, until));
                }
                Trouble::ReadOnly { lasts } => {
                    let until = now + lasts * 1_000;
                    self.store_troubles.lock().unwrap().read_only_until = until;
                    self.oracle(|oracle| oracle.refuses(None, now, until));
                }
                Trouble::Damaged { percent, lasts } => {
                    let until = now + lasts * 1_000;
                    self.store_troubles.lock().unwrap().damaged = (until, percent);
                    self.oracle(|oracle| oracle.disturbs(None, now, until));
                }
                Trouble::Migrates { breaks, lasts } => self.install(breaks, now + lasts * 1_000),
                Trouble::PowerLoss { back } => self.lose_power(back),
                Trouble::ClientDies { client, back } => self.client_dies(client, back),
                Trouble::ClientFreezes { client, lasts } => self.client_freezes(client, lasts),
                Trouble::Objects { lasts } => {
                    // A write that failed is repeated after 30 s at most.
                    self.refuse_objects(now + lasts * 1_000);
                    self.oracle(|oracle| oracle.disturbs(None, now, now + (lasts + 30_000) * 1_000));
                }
                Trouble::Undone { lasts } => {
                    let until = now + lasts * 1_000;
                    self.store_troubles.lock().unwrap().refuses.insert(None, until);
                    self.undo(Reached::StoreRestarted);
                    self.oracle(|oracle| {
                        oracle.undoes(until);
                        oracle.disturbs(None, now, until);
                    });
                }
                Trouble::Refuses { worker, lasts } => {
                    let until = now + lasts * 1_000;
                    self.store_troubles.lock().unwrap().refuses.insert(worker, until);
                    let owner = worker.map(|worker| self.workers.get(worker).and_then(Worker::owner));
                    self.oracle(|oracle| oracle.refuses(owner.flatten(), now, until));
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
            | Trouble::Locked { .. }
            | Trouble::ReadOnly { .. }
            | Trouble::Damaged { .. }
            | Trouble::Migrates { .. }
            | Trouble::PowerLoss { .. }
            | Trouble::ClientDies { .. }
            | Trouble::ClientFreezes { .. }
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

    /// A newer version migrates the store. When it is installed everywhere, all workers of the old version are drained
    /// and restarted.
    fn install(self: &Arc<Self>, breaks: bool, until: u64) {
        let now = self.executor.now();
        self.migrate(breaks, until);
        self.oracle(|oracle| oracle.disturbs(None, now, until));
        let (world, old) = (Arc::clone(self), self.live_workers());
        self.executor.spawn(Owner::WORLD, async move {
            world.executor.sleep(until - now).await;
            let is_old = |worker: &Worker| worker.owner().is_some_and(|owner| old.contains(&owner));
            let numbers: Vec<_> = (0..).zip(&world.workers).filter(|(_, worker)| is_old(worker)).collect();
            for (number, _) in numbers {
                world.ask_to_stop(number, 1_000, false);
            }
        });
    }

    /// All processes die, and the file loses the transactions that were not on disk.
    fn lose_power(self: &Arc<Self>, back: u64) {
        for number in 0..self.workers.len() {
            self.crash(number, back);
        }
        for client in 0..self.scenario.n_clients() {
            self.client_dies(client, back);
        }
        self.undo(Reached::PowerLost);
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
