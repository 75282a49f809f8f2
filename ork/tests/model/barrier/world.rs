//! The part queue, its readers and the workers: each step of a worker, and what its loss leaves behind.

use ork_core::barrier::{Barrier, BarrierAction, BarrierEvent, End, Entry, Fate};

use super::{Config, Left, Mutant};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    /// The part whose message this worker holds, or had before it acknowledged it. Without meaning if the worker only
    /// checks the set again.
    pub(super) part: u8,
    pub(super) acked: bool,
    pub(super) barrier: Barrier,
    /// Entries that it has read and not settled.
    pub(super) held: Vec<Entry>,
    /// Entries that it has requeued and that are not in the queue yet.
    pub(super) back: Vec<Entry>,
    pub(super) removed: bool,
}

/// The entries of a reader that has died or lost its channel, which the broker has not noticed yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DeadReader {
    /// Its place among the readers.
    pub(super) reader: usize,
    pub(super) held: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// Messages of parts, each with whether it was delivered before.
    pub(super) work: Vec<(u8, bool)>,
    pub(super) dead_readers: Vec<DeadReader>,
    pub(super) n_dead_readers: usize,
    pub(super) workers: Vec<Option<Worker>>,
    /// The queue, until it is removed.
    pub(super) queue: Option<Vec<Entry>>,
    /// The active reader, then those that wait to read.
    pub(super) readers: Vec<usize>,
    /// Whether each part was ever recorded.
    pub(super) recorded: Vec<bool>,
    pub(super) fired: u8,
    pub(super) early: bool,
    /// How often a worker died after it had fired.
    pub(super) excused: u8,
    pub(super) left: Left,
    pub(super) marks: u8,
    /// The record that a program other than ork holds.
    pub(super) held_by_other: Option<Entry>,
    /// Whether a process has ended a part while the set was incomplete, and therefore checks it again.
    pub(super) is_watched: bool,
}

/// The mark of workers that check the set again; there is only one of them at a time.
const LOOK: u8 = 250;

impl World {
    pub(super) fn new(config: &Config) -> Self {
        let head = config.headed.then_some(Entry::Head { epoch: 1 });
        Self {
            work: (0..config.parts).map(|part| (part, false)).collect(),
            dead_readers: Vec::new(),
            n_dead_readers: 0,
            workers: vec![None; config.workers],
            queue: Some(head.into_iter().collect()),
            readers: Vec::new(),
            recorded: vec![false; config.parts.into()],
            fired: 0,
            early: false,
            excused: 0,
            left: config.left,
            marks: 0,
            held_by_other: None,
            is_watched: false,
        }
    }

    pub(super) fn worker(&mut self, at: usize) -> &mut Worker {
        self.workers[at].as_mut().unwrap()
    }

    /// Returns whether an idle worker can check the set again: there is a reason to, and no other worker does.
    pub(super) fn may_look(&self, at: usize) -> bool {
        let looks = |worker: &Worker| worker.acked;
        self.is_watched && self.workers[at].is_none() && !self.workers.iter().flatten().any(looks)
    }

    pub(super) fn look(&mut self, config: &Config, at: usize) {
        let barrier = Barrier::look(config.member(LOOK, false));
        let (held, back) = (Vec::new(), Vec::new());
        self.workers[at] = Some(Worker { part: 0, acked: true, barrier, held, back, removed: false });
    }

    /// Returns the world that results if the set of a quiet world is checked again.
    pub(super) fn looked_at(&self, config: &Config) -> Self {
        let mut world = self.clone();
        if !world.may_look(0) {
            return world;
        }
        world.look(config, 0);
        // Each step but reading happens once, and each record is read twice at most.
        for _ in 0..100 {
            let Some(worker) = &world.workers[0] else { break };
            let next = worker.barrier.next();
            if next == BarrierAction::Read && world.queue.as_ref().is_none_or(Vec::is_empty) {
                break;
            }
            if worker.back.is_empty() {
                world.advance(config, 0);
            } else {
                world.back(0);
            }
        }
        world
    }

    /// The entries that a worker has requeued arrive in the queue.
    pub(super) fn back(&mut self, at: usize) {
        let back = std::mem::take(&mut self.worker(at).back);
        self.requeue(back);
        if self.worker(at).barrier.next() == BarrierAction::PutBack {
            self.worker(at).barrier.happened(BarrierEvent::PutBack);
        }
    }

    /// A reader leaves, and what it holds or has on its way back is in the queue again.
    fn leave(&mut self, at: usize) {
        let worker = self.worker(at);
        let mut back = std::mem::take(&mut worker.back);
        back.append(&mut worker.held);
        self.readers.retain(|reader| *reader != at);
        if let Some(queue) = &mut self.queue {
            // At their old places, before the entries that came since.
            back.append(queue);
            *queue = back;
        }
    }

    /// A reader leaves, and the broker has not noticed it yet.
    pub(super) fn leave_unnoticed(&mut self, at: usize) {
        let worker = self.worker(at);
        let mut held = std::mem::take(&mut worker.back);
        held.append(&mut worker.held);
        let Some(place) = self.readers.iter().position(|reader| *reader == at) else { return self.requeue(held) };
        // Dead readers are numbered beyond all workers.
        let reader = 100 + self.n_dead_readers;
        self.n_dead_readers += 1;
        self.readers[place] = reader;
        self.dead_readers.push(DeadReader { reader, held });
    }

    pub(super) fn requeue(&mut self, mut held: Vec<Entry>) {
        if let Some(queue) = &mut self.queue {
            held.append(queue);
            *queue = held;
        }
    }

    pub(super) fn end(&mut self, at: usize, ack: bool) {
        if ack {
            self.leave(at);
        } else {
            self.leave_unnoticed(at);
        }
        let worker = self.workers[at].take().unwrap();
        if !ack && !worker.acked {
            self.work.push((worker.part, true));
            self.work.sort_unstable();
        }
    }

    fn fire(&mut self) {
        self.fired += 1;
        self.early |= self.recorded.contains(&false);
    }

    fn remove(&mut self) {
        self.queue = None;
        self.readers.clear();
        self.dead_readers.clear();
        for worker in self.workers.iter_mut().flatten() {
            worker.held.clear();
            worker.back.clear();
        }
    }

    /// One step of a worker.
    pub(super) fn advance(&mut self, config: &Config, at: usize) {
        let next = self.worker(at).barrier.next();
        let event = match next {
            BarrierAction::Record => {
                if config.mutant == Some(Mutant::AckFirst) && !self.worker(at).acked {
                    self.worker(at).acked = true;
                    return;
                }
                let part = self.worker(at).part;
                match &mut self.queue {
                    None => BarrierEvent::NoQueue,
                    Some(queue) => {
                        queue.push(config.record(part));
                        self.recorded[usize::from(part)] = true;
                        BarrierEvent::Recorded
                    }
                }
            }
            BarrierAction::Count => match &self.queue {
                None => BarrierEvent::NoQueue,
                Some(queue) => {
                    let n = u64::try_from(queue.len()).unwrap();
                    if config.mutant == Some(Mutant::Length) && n == config.member(0, false).full() {
                        self.fire();
                        self.remove();
                        return self.end(at, true);
                    }
                    BarrierEvent::Counted(n)
                }
            },
            BarrierAction::Open | BarrierAction::Probe if self.queue.is_none() => BarrierEvent::NoQueue,
            BarrierAction::Open | BarrierAction::Probe if !self.readers.is_empty() && !config.waits => {
                BarrierEvent::Busy
            }
            BarrierAction::Open | BarrierAction::Probe => {
                self.readers.push(at);
                BarrierEvent::Opened
            }
            BarrierAction::Read if self.readers.contains(&at) => return self.read(at),
            // The queue was removed while it read.
            BarrierAction::Read => BarrierEvent::Lost,
            BarrierAction::PutBack => {
                self.readers.retain(|reader| *reader != at);
                let worker = self.worker(at);
                worker.back.append(&mut worker.held);
                if config.mutant == Some(Mutant::NoRecount) {
                    return self.end(at, true);
                }
                if config.mutant != Some(Mutant::NoFence) && !worker.back.is_empty() {
                    // It waits for the fence; the other step is `Back`.
                    return;
                }
                BarrierEvent::PutBack
            }
            BarrierAction::Fire => {
                if config.mutant == Some(Mutant::RemoveFirst) && !self.worker(at).removed {
                    self.remove();
                    self.worker(at).removed = true;
                    return;
                }
                self.fire();
                BarrierEvent::Fired
            }
            BarrierAction::Remove => {
                self.remove();
                BarrierEvent::Removed
            }
            BarrierAction::End(end) => {
                self.is_watched = end == End::Waits && config.mutant != Some(Mutant::NoLook);
                return self.end(at, true);
            }
        };
        self.worker(at).barrier.happened(event);
    }

    fn read(&mut self, at: usize) {
        let queue = self.queue.as_mut().unwrap();
        let entry = queue.remove(0);
        let worker = self.workers[at].as_mut().unwrap();
        if let Some(mark) = worker.barrier.marks_now() {
            queue.push(Entry::Mark(mark));
        }
        if worker.barrier.read(&entry) == Fate::Keep {
            worker.held.push(entry);
        }
    }
}
