//! The barrier as stateright sees it: the possible steps in a world, and the properties of all worlds.

use ork_core::barrier::{Barrier, BarrierAction, BarrierEvent, End};
use stateright::{Model, Property};

use super::super::search::{Found, search};
use super::Config;
use super::world::{DeadReader, Worker, World};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    Take {
        worker: usize,
        msg: usize,
    },
    Advance {
        worker: usize,
    },
    /// Requeued entries arrive in the queue.
    Back {
        worker: usize,
    },
    Crash {
        worker: usize,
    },
    /// The channel of the reader is lost, but its worker continues.
    Lose {
        worker: usize,
    },
    /// The broker notices that a reader has died.
    Gone {
        dead_reader: usize,
    },
    Double {
        part: u8,
    },
    Again {
        worker: usize,
    },
    /// A program other than ork takes a record.
    Hold,
    /// That program requeues the record.
    Release,
    /// A reader stops waiting for its mark, because another program may have it.
    Impatient {
        worker: usize,
    },
    Look {
        worker: usize,
    },
}

#[derive(Debug, Clone)]
struct Explored(Config);
impl Model for Explored {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (worker, it) in world.workers.iter().enumerate() {
            let Some(it) = it else {
                // Idle workers are interchangeable.
                if world.workers[..worker].iter().all(Option::is_some) {
                    actions.extend((0..world.work.len()).map(|msg| Action::Take { worker, msg }));
                    if world.left.looks > 0 && world.may_look(worker) {
                        actions.push(Action::Look { worker });
                    }
                }
                continue;
            };
            let empty = world.queue.as_ref().is_none_or(Vec::is_empty);
            let reads = it.barrier.next() == BarrierAction::Read && world.readers.contains(&worker);
            let waits = reads && (world.readers.first() != Some(&worker) || empty);
            let fenced = it.barrier.next() == BarrierAction::PutBack && !it.back.is_empty() && it.held.is_empty();
            if !waits && !fenced {
                actions.push(Action::Advance { worker });
            }
            if !it.back.is_empty() {
                actions.push(Action::Back { worker });
            }
            if waits && world.held_by_other.is_some() && it.barrier.waits_for_mark() {
                actions.push(Action::Impatient { worker });
            }
            if world.left.crashes > 0 {
                actions.push(Action::Crash { worker });
                if world.readers.contains(&worker) && it.barrier.next() == BarrierAction::Read {
                    actions.push(Action::Lose { worker });
                }
            }
            if world.left.duplicates > 0 && it.barrier.next() == BarrierAction::Count && world.queue.is_some() {
                actions.push(Action::Again { worker });
            }
        }
        if world.held_by_other.is_some() {
            actions.push(Action::Release);
        } else if world.left.holds > 0 && world.queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            actions.push(Action::Hold);
        }
        actions.extend((0..world.dead_readers.len()).map(|dead_reader| Action::Gone { dead_reader }));
        if world.left.duplicates > 0 {
            actions.extend((0..self.0.parts).map(|part| Action::Double { part }));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let (mut next, config) = (world.clone(), &self.0);
        match action {
            Action::Take { worker, msg } => {
                let (part, suspect) = next.work.remove(msg);
                next.marks += 1;
                let barrier = Barrier::new(config.member(next.marks, suspect));
                let (held, back) = (Vec::new(), Vec::new());
                next.workers[worker] = Some(Worker { part, acked: false, barrier, held, back, removed: false });
            }
            Action::Advance { worker } => next.advance(config, worker),
            Action::Back { worker } => next.back(worker),
            Action::Hold => {
                next.left.holds -= 1;
                next.held_by_other = Some(next.queue.as_mut()?.remove(0));
            }
            Action::Release => {
                let held = next.held_by_other.take()?;
                next.requeue(vec![held]);
            }
            Action::Impatient { worker } => next.worker(worker).barrier.happened(BarrierEvent::MarkTimedOut),
            Action::Look { worker } => {
                next.left.looks -= 1;
                next.look(config, worker);
            }
            Action::Crash { worker } => {
                next.left.crashes -= 1;
                next.excused += u8::from(matches!(next.worker(worker).barrier.next(), BarrierAction::Remove));
                next.end(worker, false);
            }
            Action::Lose { worker } => {
                next.left.crashes -= 1;
                next.leave_unnoticed(worker);
                next.worker(worker).barrier.happened(BarrierEvent::Lost);
            }
            Action::Gone { dead_reader } => {
                let DeadReader { reader, held } = next.dead_readers.remove(dead_reader);
                next.readers.retain(|other| *other != reader);
                next.requeue(held);
            }
            Action::Double { part } => {
                next.left.duplicates -= 1;
                next.work.push((part, false));
                next.work.sort_unstable();
            }
            Action::Again { worker } => {
                next.left.duplicates -= 1;
                let part = next.worker(worker).part;
                next.queue.as_mut()?.push(config.record(part));
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a set fires once, unless its worker died before it removed the queue", |_, w: &World| {
                w.fired <= 1 + w.excused
            }),
            Property::always("no set fires before every part has ended", |_, w: &World| !w.early),
            Property::always("a quiet set has fired, and leaves no queue", |m: &Self, w: &World| {
                let quiet = w.work.is_empty() && w.workers.iter().all(Option::is_none);
                // After another program has held a record, the set may have to be checked again once that is back.
                let held = w.left.holds < m.0.left.holds;
                let settled = !held || (w.held_by_other.is_none() && w.dead_readers.is_empty());
                let end = if held && w.queue.is_some() { w.looked_at(&m.0) } else { w.clone() };
                !quiet || !settled || (end.fired > 0 && end.queue.is_none())
            }),
            Property::always("some worker can always continue", |m: &Self, w: &World| {
                let mut actions = Vec::new();
                m.actions(w, &mut actions);
                let quiet = w.work.is_empty() && w.workers.iter().all(Option::is_none);
                quiet
                    || actions.iter().any(|action| {
                        !matches!(
                            action,
                            Action::Crash { .. }
                                | Action::Lose { .. }
                                | Action::Double { .. }
                                | Action::Again { .. }
                                | Action::Hold
                                | Action::Look { .. }
                        )
                    })
            }),
            Property::sometimes("a set fires", |_, w: &World| w.fired == 1),
            Property::sometimes("a reader finds that parts are missing", |_, w: &World| {
                w.workers.iter().flatten().any(|worker| worker.barrier.next() == BarrierAction::PutBack)
            }),
            Property::sometimes("a worker finds no queue", |_, w: &World| {
                let finds_no_queue =
                    |worker: &Worker| matches!(worker.barrier.next(), BarrierAction::End(End::NoQueue | End::Gone));
                w.workers.iter().flatten().any(finds_no_queue)
            }),
        ]
    }
}

/// Explores all worlds, or of a large model only `most` states, depth first.
pub(super) fn explore(config: Config, most: usize) -> Found {
    search(Explored(config), most)
}
