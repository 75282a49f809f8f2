//! The model as stateright sees it: the possible steps in a world, and the properties of all worlds.

use ork::JobState;
use ork_core::ledger::PartResult;
use stateright::{Model, Property};

use super::config::{Config, Mutant};
use super::leases::held_row;
use super::rules::Flaw;
use super::search::{Found, search};
use super::world::{Activity, Request, World};

/// One step of the world.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// The relay publishes a row. If `keep`, it dies before it can remove the row.
    Publish {
        row: usize,
        keep: bool,
    },
    /// A worker takes a message, together with its neighbors if `run`.
    Take {
        worker: usize,
        msg: usize,
        run: bool,
    },
    /// A worker takes its next step. If `fails`, its function has failed.
    Advance {
        worker: usize,
        fails: bool,
    },
    /// A worker finds that the input was made for another version, and parks it for a later attempt.
    Park {
        worker: usize,
    },
    /// A worker requeues what it is working on.
    Interrupt {
        worker: usize,
    },
    /// A worker dies. If `forget`, the store loses what it had confirmed to the worker before writing it.
    Crash {
        worker: usize,
        forget: bool,
    },
    /// The work of a worker takes long, and is leased.
    Lease {
        worker: usize,
    },
    /// A living process releases rows that wait for permits, if there are free ones.
    Beat,
    /// A worker is presumed dead, and continues.
    Expire {
        worker: usize,
    },
    /// The broker redelivers messages that a worker still holds.
    Redeliver {
        worker: usize,
    },
    /// A worker takes a message for which it has no slot.
    Hold {
        worker: usize,
        msg: usize,
    },
    /// A worker is drained.
    Drain {
        worker: usize,
    },
    /// The broker loses a message.
    Lose {
        msg: usize,
    },
    /// Lost messages are sent again.
    Resend,
    /// The store cannot write what it had confirmed early.
    RollBack,
    /// A worker rejects a message.
    Refuse {
        worker: usize,
        msg: usize,
    },
    /// A mutant writes what it kept outside the transaction.
    Late {
        worker: usize,
    },
    Cancel,
    Retry,
}

/// A world in which the split has started more often is not explored further.
const SPLITS: u32 = 6;

/// A config, explored.
#[derive(Debug, Clone)]
pub(crate) struct Explored(pub(crate) Config);

impl Model for Explored {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.flaw.is_some() {
            return;
        }
        progress(&self.0, world, actions);
        faults(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let (mut next, config) = (world.clone(), &self.0);
        let left = &mut next.left;
        match action {
            Action::Publish { row, keep } => {
                left.duplicates -= u8::from(keep);
                next.publish(row, keep);
            }
            Action::Take { worker, msg, run } => next.take(config, worker, msg, run),
            Action::Advance { worker, fails } => {
                left.failures -= u8::from(fails);
                next.advance(config, worker, fails);
            }
            Action::Park { worker } => {
                left.parks -= 1;
                next.park(config, worker);
            }
            Action::Interrupt { worker } => {
                left.interrupts -= 1;
                next.interrupt(config, worker);
            }
            Action::Crash { worker, forget } => {
                left.crashes -= 1;
                next.crash(config, worker, forget);
            }
            Action::Lease { worker } => {
                left.leases -= 1;
                next.lease(config, worker);
            }
            Action::Beat => next.sweep(config, |_| {}),
            Action::Expire { worker } => {
                left.expiries -= 1;
                next.expire(config, worker);
            }
            Action::Redeliver { worker } => {
                left.duplicates -= 1;
                next.redeliver(worker);
            }
            Action::Hold { worker, msg } => {
                left.holds -= 1;
                next.hold(config, worker, msg);
            }
            Action::Drain { worker } => {
                left.drains -= 1;
                next.drain(config, worker);
            }
            Action::Lose { msg } => {
                left.losses -= 1;
                next.lose(msg);
            }
            Action::Resend => next.resend(config),
            Action::RollBack => {
                left.rollbacks -= 1;
                next.roll_back(config);
            }
            Action::Refuse { worker, msg } => {
                left.refusals -= 1;
                next.refuse(config, worker, msg);
            }
            Action::Late { worker } => next.late(config, worker),
            Action::Cancel => {
                left.cancels -= 1;
                next.cancel(config);
            }
            Action::Retry => {
                left.retries -= 1;
                next.retry(config);
            }
        }
        if config.left.holds == 0 {
            next.died = 0;
        } else if next.is_lossy() {
            next.flaw = next.flaw.or(Some(Flaw::Lossy));
        }
        next.simplify();
        Some(next)
    }

    /// Two workers that may both run a split could supersede one another forever.
    fn within_boundary(&self, world: &World) -> bool {
        world.seen.job.as_ref().is_none_or(|row| row.head.epoch <= SPLITS)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("join, verdict and reply are enqueued once", |_, w: &World| w.flaw != Some(Flaw::Twice)),
            Property::always("nothing follows the parts before all have ended", |_, w: &World| {
                w.flaw != Some(Flaw::Early)
            }),
            Property::always("nothing changes after the end", |_, w: &World| w.flaw != Some(Flaw::Moved)),
            Property::always("older attempts and runs change nothing", |_, w: &World| w.flaw != Some(Flaw::Fenced)),
            Property::always("counts are those of the sets", |_, w: &World| w.flaw != Some(Flaw::Miscounted)),
            Property::always("a retry runs all but ok, and keeps ok", |_, w: &World| w.flaw != Some(Flaw::Resumed)),
            Property::always("an output comes from its own input", |_, w: &World| w.flaw != Some(Flaw::Foreign)),
            Property::always("a rejection ends nothing that a living process runs", |_, w: &World| {
                w.flaw != Some(Flaw::Killed)
            }),
            Property::always("no more attempts than the retries allow", |_, w: &World| w.flaw != Some(Flaw::Overtried)),
            Property::always("nothing is called after the end or after a stop", |_, w: &World| {
                w.flaw != Some(Flaw::CallOutcome)
            }),
            Property::always("losses are calls that died", |_, w: &World| w.flaw != Some(Flaw::Lossy)),
            Property::always("a quiet world has ended", |model: &Self, w: &World| {
                let Self(config) = model;
                !is_quiet(w) || has_ended(w) || w.seen.room() > 0 || is_noticed(config, w)
            }),
            Property::always("no more permits are held than there are, nor calls run", |model: &Self, w: &World| {
                let Self(config) = model;
                let most = config.permits.unwrap_or(u32::MAX);
                // The permits of workers that are presumed dead, or of claims that were lost, belong to others.
                let sure = config.left.expiries + config.left.rollbacks == 0;
                let calls = u32::try_from(w.limited_calls(config)).unwrap();
                w.seen.permits.iter().sum::<u32>() <= most && (calls <= most || !sure)
            }),
            Property::always("a released permit wakes a row that waits for it", |_, w: &World| {
                w.flaw != Some(Flaw::Unwoken)
            }),
            Property::always("every permit is released", |_, w: &World| {
                !is_quiet(w) || w.seen.permits.iter().all(|held| *held == 0)
            }),
            Property::always("no row waits for a permit forever", |_, w: &World| {
                !is_quiet(w) || w.seen.room() > 0 || w.seen.outbox.iter().all(|row| row.waits_for.is_none())
            }),
            Property::always("a lease ends with its work", |_, w: &World| {
                !is_quiet(w) || w.seen.outbox.iter().all(|row| row.holder.is_none())
            }),
            Property::sometimes("a job succeeds", |_, w: &World| w.seen.state() == Some(JobState::Succeeded)),
        ]
    }
}

/// Steps that happen without a fault.
fn progress(config: &Config, world: &World, actions: &mut Vec<Action>) {
    if is_quiet(world) && is_noticed(config, world) {
        actions.push(Action::Resend);
    }
    // A heartbeat is sent every few seconds. It is only needed when everything quick has been done.
    if is_quiet(world) && world.seen.room() > 0 {
        actions.push(Action::Beat);
    }
    actions.extend(world.free_rows().map(|row| Action::Publish { row, keep: false }));
    for (worker, state) in world.workers.iter().enumerate() {
        // Workers that do the same are interchangeable.
        if worker > 0 && alike(world, worker - 1, worker) {
            continue;
        }
        if !state.late.is_empty() {
            actions.push(Action::Late { worker });
        } else if state.activity == Activity::Idle {
            if !state.drained {
                take(world, worker, actions);
            }
        } else {
            actions.push(Action::Advance { worker, fails: false });
        }
    }
}

/// Returns whether two workers do the same, and hold the same.
fn alike(world: &World, one: usize, other: usize) -> bool {
    let same = |permits: &[u32]| permits.get(one) == permits.get(other);
    world.workers[one] == world.workers[other] && same(&world.seen.permits) && same(&world.disk.permits)
}

fn take(world: &World, worker: usize, actions: &mut Vec<Action>) {
    for (msg, message) in world.bag.iter().enumerate() {
        if msg > 0 && world.bag[msg - 1] == *message {
            continue;
        }
        actions.push(Action::Take { worker, msg, run: false });
        if world.left.holds > 0 {
            actions.push(Action::Hold { worker, msg });
        }
        let Request::Part { epoch, .. } = message.request else { continue };
        let alike = |other: &&super::world::Msg| {
            let same = matches!(other.request, Request::Part { epoch: theirs, .. } if theirs == epoch);
            same && !other.suspect && other.attempt == message.attempt
        };
        // A batch takes all messages that are alike, so it does not matter which of them is first.
        let first = world.bag.iter().position(|other| alike(&other)) == Some(msg);
        if first && world.bag.iter().filter(alike).count() > 1 {
            actions.push(Action::Take { worker, msg, run: true });
        }
    }
}

/// Faults, and requests of clients, as often as they may still happen.
fn faults(world: &World, actions: &mut Vec<Action>) {
    let left = world.left;
    if left.duplicates > 0 {
        actions.extend(world.free_rows().map(|row| Action::Publish { row, keep: true }));
    }
    if left.rollbacks > 0 && world.disk != world.seen {
        actions.push(Action::RollBack);
    }
    let state = world.seen.state();
    if left.cancels > 0 && state.is_some_and(|state| !state.is_final()) {
        actions.push(Action::Cancel);
    }
    if left.retries > 0 && matches!(state, Some(JobState::Failed | JobState::Cancelled)) {
        actions.push(Action::Retry);
    }
    if left.losses > 0 {
        let first_of_its_kind = |msg: &usize| *msg == 0 || world.bag[msg - 1] != world.bag[*msg];
        actions.extend((0..world.bag.len()).filter(first_of_its_kind).map(|msg| Action::Lose { msg }));
    }
    for (worker, it) in world.workers.iter().enumerate() {
        if worker > 0 && alike(world, worker - 1, worker) {
            continue;
        }
        if left.drains > 0 && !it.drained {
            actions.push(Action::Drain { worker });
        }
        let busy = matches!(it.activity, Activity::Job { .. } | Activity::Split { .. } | Activity::Parts { .. });
        if left.failures > 0 && busy {
            actions.push(Action::Advance { worker, fails: true });
        }
        if left.parks > 0 && matches!(it.activity, Activity::Job { join: false, .. }) {
            actions.push(Action::Park { worker });
        }
        if left.interrupts > 0 && busy {
            actions.push(Action::Interrupt { worker });
        }
        if left.crashes > 0 && it.soon {
            actions.push(Action::Crash { worker, forget: true });
        }
        if left.crashes > 0 && (it.activity != Activity::Idle || !it.late.is_empty()) {
            actions.push(Action::Crash { worker, forget: false });
        }
        if left.leases > 0 && it.lease.is_none() && held_row(it).is_some() {
            actions.push(Action::Lease { worker });
        }
        let permits = world.seen.permits.get(worker).is_some_and(|held| *held > 0);
        if left.expiries > 0 && (it.lease.is_some() || permits) {
            actions.push(Action::Expire { worker });
        }
        if left.duplicates > 0 && !it.unacked.is_empty() && !it.stale {
            actions.push(Action::Redeliver { worker });
        }
        if left.refusals > 0 && it.activity == Activity::Idle {
            actions.extend((0..world.bag.len()).map(|msg| Action::Refuse { worker, msg }));
        }
    }
}

/// Returns whether a message was lost and its loss will be detected.
fn is_noticed(config: &Config, world: &World) -> bool {
    config.mutant != Some(Mutant::LostUnnoticed) && world.lost && !world.seen.state().is_some_and(JobState::is_final)
}

/// Returns whether no row can be sent, nothing is under way, and every worker is idle.
fn is_quiet(world: &World) -> bool {
    let idle = world.workers.iter().all(|worker| worker.activity == Activity::Idle && worker.late.is_empty());
    world.free_rows().next().is_none() && world.bag.is_empty() && idle
}

/// Returns whether the job is final, each end of it had one reply, and no message or row of it is left.
fn has_ended(world: &World) -> bool {
    let Some(row) = &world.seen.job else { return false };
    let settled = row.parts().iter().all(|part| part.how.is_some() && !part.running);
    let judged =
        row.job.state != JobState::Succeeded || row.parts().iter().all(|part| part.how != Some(PartResult::Cancelled));
    row.job.state.is_final() && settled && judged && world.seen.ends == world.seen.replies
}

/// Explores every world, or up to `most` states.
pub(crate) fn explore(config: Config, most: usize) -> Found {
    search(Explored(config), most)
}
