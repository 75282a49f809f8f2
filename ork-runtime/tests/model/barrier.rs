//! The barrier without a store, explored: workers over one part queue, which may lose answers, double messages, hand them
//! out again and lose workers, at every step. What decides is `ork::barrier` itself; this is its environment.

use ork::barrier::{Barrier, End, Entry, Event, Fate, Next, Whose};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

use super::proof;

/// One falsehood each, of which a proof that proves anything must find a consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// The set is complete when the queue is as long as it has parts.
    Length,
    /// The queue is removed before what follows is done.
    RemoveFirst,
    /// A part is acknowledged before its record is safe.
    AckFirst,
    /// Who has put all back does not count again.
    NoRecount,
    /// What is given back is counted before it is back.
    NoFence,
    /// Whose part came before believes a low count at once.
    NoSuspicion,
}

/// How large a world is, and how much goes wrong in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Config {
    parts: u8,
    workers: usize,
    headed: bool,
    /// Whether a second reader waits for its turn, as at a single active consumer, or is sent away.
    waits: bool,
    left: Left,
    mutant: Option<Mutant>,
}

/// How often each may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Left {
    crashes: u8,
    /// A part's message comes twice, or its record is published twice, as the first answer was lost.
    doubles: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    /// The part whose message it holds; `None` if it has acknowledged it and still goes on, which only a mutant does.
    part: u8,
    acked: bool,
    barrier: Barrier,
    /// What it has read and not settled.
    held: Vec<Entry>,
    /// What it has given back, and is not in the queue yet.
    back: Vec<Entry>,
    removed: bool,
}

/// What a reader held that has died or lost its channel: the broker does not know it yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ghost {
    /// Its place among the readers.
    reader: usize,
    held: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// Messages of parts, and whether they came before.
    work: Vec<(u8, bool)>,
    ghosts: Vec<Ghost>,
    n_ghosts: usize,
    workers: Vec<Option<Worker>>,
    /// The queue, while it is there.
    queue: Option<Vec<Entry>>,
    /// Who reads, then who waits to.
    readers: Vec<usize>,
    /// Which parts were ever recorded.
    recorded: Vec<bool>,
    fired: u8,
    early: bool,
    /// How often a worker died after it fired.
    excused: u8,
    left: Left,
    marks: u8,
}

#[derive(Debug, Clone, PartialEq)]
enum Action {
    Take {
        worker: usize,
        msg: usize,
    },
    GoOn {
        worker: usize,
    },
    /// What was given back arrives.
    Back {
        worker: usize,
    },
    Crash {
        worker: usize,
    },
    /// The reader's channel is lost, and its worker lives on.
    Lose {
        worker: usize,
    },
    /// The broker learns of a ghost.
    Gone {
        ghost: usize,
    },
    Double {
        part: u8,
    },
    Again {
        worker: usize,
    },
}

#[derive(Debug, Clone)]
struct Explored(Config);

impl Config {
    fn whose(&self, mark: u8, suspect: bool) -> Whose {
        let suspect = suspect && self.mutant != Some(Mutant::NoSuspicion);
        Whose { total: self.parts.into(), headed: self.headed, mark: mark.into(), suspect }
    }

    fn record(&self, part: u8) -> Entry {
        let epoch = u32::from(self.headed);
        Entry::Part { epoch, id: part.into(), total: self.parts.into(), ok: true }
    }
}

impl World {
    fn new(config: &Config) -> Self {
        let head = config.headed.then_some(Entry::Head { epoch: 1 });
        Self {
            work: (0..config.parts).map(|part| (part, false)).collect(),
            ghosts: Vec::new(),
            n_ghosts: 0,
            workers: vec![None; config.workers],
            queue: Some(head.into_iter().collect()),
            readers: Vec::new(),
            recorded: vec![false; config.parts.into()],
            fired: 0,
            early: false,
            excused: 0,
            left: config.left,
            marks: 0,
        }
    }

    fn worker(&mut self, at: usize) -> &mut Worker {
        self.workers[at].as_mut().unwrap()
    }

    /// A reader leaves, with what it holds or has on its way back in the queue again.
    fn leave(&mut self, at: usize) {
        let worker = self.worker(at);
        let mut back = std::mem::take(&mut worker.back);
        back.append(&mut worker.held);
        self.readers.retain(|reader| *reader != at);
        if let Some(queue) = &mut self.queue {
            // To where they were: before what came since.
            back.append(queue);
            *queue = back;
        }
    }

    /// A reader leaves, and the broker does not know it yet.
    fn haunt(&mut self, at: usize) {
        let worker = self.worker(at);
        let mut held = std::mem::take(&mut worker.back);
        held.append(&mut worker.held);
        let Some(place) = self.readers.iter().position(|reader| *reader == at) else { return self.give_back(held) };
        // Ghosts are numbered beyond all workers.
        let reader = 100 + self.n_ghosts;
        self.n_ghosts += 1;
        self.readers[place] = reader;
        self.ghosts.push(Ghost { reader, held });
    }

    fn give_back(&mut self, mut held: Vec<Entry>) {
        if let Some(queue) = &mut self.queue {
            held.append(queue);
            *queue = held;
        }
    }

    fn end(&mut self, at: usize, ack: bool) {
        if ack {
            self.leave(at);
        } else {
            self.haunt(at);
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
        self.ghosts.clear();
        for worker in self.workers.iter_mut().flatten() {
            worker.held.clear();
            worker.back.clear();
        }
    }

    /// One step of a worker.
    fn go_on(&mut self, config: &Config, at: usize) {
        let next = self.worker(at).barrier.next();
        let event = match next {
            Next::Record => {
                if config.mutant == Some(Mutant::AckFirst) && !self.worker(at).acked {
                    self.worker(at).acked = true;
                    return;
                }
                let part = self.worker(at).part;
                match &mut self.queue {
                    None => Event::NoQueue,
                    Some(queue) => {
                        queue.push(config.record(part));
                        self.recorded[usize::from(part)] = true;
                        Event::Recorded
                    }
                }
            }
            Next::Count => match &self.queue {
                None => Event::NoQueue,
                Some(queue) => {
                    let n = u64::try_from(queue.len()).unwrap();
                    if config.mutant == Some(Mutant::Length) && n == config.whose(0, false).full() {
                        self.fire();
                        self.remove();
                        return self.end(at, true);
                    }
                    Event::Counted(n)
                }
            },
            Next::Open | Next::Probe if self.queue.is_none() => Event::NoQueue,
            Next::Open | Next::Probe if !self.readers.is_empty() && !config.waits => Event::Busy,
            Next::Open | Next::Probe => {
                self.readers.push(at);
                Event::Opened
            }
            Next::Read if self.readers.contains(&at) => return self.read(at),
            // The queue was removed under it.
            Next::Read => Event::Lost,
            Next::PutBack => {
                self.readers.retain(|reader| *reader != at);
                let worker = self.worker(at);
                worker.back.append(&mut worker.held);
                if config.mutant == Some(Mutant::NoRecount) {
                    return self.end(at, true);
                }
                if config.mutant != Some(Mutant::NoFence) && !worker.back.is_empty() {
                    // It waits for the fence; `Back` is the other step.
                    return;
                }
                Event::PutBack
            }
            Next::Fire => {
                if config.mutant == Some(Mutant::RemoveFirst) && !self.worker(at).removed {
                    self.remove();
                    self.worker(at).removed = true;
                    return;
                }
                self.fire();
                Event::Fired
            }
            Next::Remove => {
                self.remove();
                Event::Removed
            }
            Next::End(_) => return self.end(at, true),
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
                }
                continue;
            };
            let empty = world.queue.as_ref().is_none_or(Vec::is_empty);
            let reads = it.barrier.next() == Next::Read && world.readers.contains(&worker);
            let waits = reads && (world.readers.first() != Some(&worker) || empty);
            let fenced = it.barrier.next() == Next::PutBack && !it.back.is_empty() && it.held.is_empty();
            if !waits && !fenced {
                actions.push(Action::GoOn { worker });
            }
            if !it.back.is_empty() {
                actions.push(Action::Back { worker });
            }
            if world.left.crashes > 0 {
                actions.push(Action::Crash { worker });
                if world.readers.contains(&worker) && it.barrier.next() == Next::Read {
                    actions.push(Action::Lose { worker });
                }
            }
            if world.left.doubles > 0 && it.barrier.next() == Next::Count && world.queue.is_some() {
                actions.push(Action::Again { worker });
            }
        }
        actions.extend((0..world.ghosts.len()).map(|ghost| Action::Gone { ghost }));
        if world.left.doubles > 0 {
            actions.extend((0..self.0.parts).map(|part| Action::Double { part }));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let (mut next, config) = (world.clone(), &self.0);
        match action {
            Action::Take { worker, msg } => {
                let (part, suspect) = next.work.remove(msg);
                next.marks += 1;
                let barrier = Barrier::new(config.whose(next.marks, suspect));
                let (held, back) = (Vec::new(), Vec::new());
                next.workers[worker] = Some(Worker { part, acked: false, barrier, held, back, removed: false });
            }
            Action::GoOn { worker } => next.go_on(config, worker),
            Action::Back { worker } => {
                let mut back = std::mem::take(&mut next.worker(worker).back);
                if let Some(queue) = &mut next.queue {
                    back.append(queue);
                    *queue = back;
                }
                if next.worker(worker).barrier.next() == Next::PutBack {
                    next.worker(worker).barrier.happened(Event::PutBack);
                }
            }
            Action::Crash { worker } => {
                next.left.crashes -= 1;
                next.excused += u8::from(matches!(next.worker(worker).barrier.next(), Next::Remove));
                next.end(worker, false);
            }
            Action::Lose { worker } => {
                next.left.crashes -= 1;
                next.haunt(worker);
                next.worker(worker).barrier.happened(Event::Lost);
            }
            Action::Gone { ghost } => {
                let Ghost { reader, held } = next.ghosts.remove(ghost);
                next.readers.retain(|other| *other != reader);
                next.give_back(held);
            }
            Action::Double { part } => {
                next.left.doubles -= 1;
                next.work.push((part, false));
                next.work.sort_unstable();
            }
            Action::Again { worker } => {
                next.left.doubles -= 1;
                let part = next.worker(worker).part;
                next.queue.as_mut()?.push(config.record(part));
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "what follows is done once, unless its worker died before it removed the queue",
                |_, w: &World| w.fired <= 1 + w.excused,
            ),
            Property::always("nothing follows before every part has ended", |_, w: &World| !w.early),
            Property::always("what is quiet has been followed, and leaves no queue", |_, w: &World| {
                let quiet = w.work.is_empty() && w.workers.iter().all(Option::is_none);
                !quiet || (w.fired > 0 && w.queue.is_none())
            }),
            Property::always("somebody can always go on", |m: &Self, w: &World| {
                let mut actions = Vec::new();
                m.actions(w, &mut actions);
                let quiet = w.work.is_empty() && w.workers.iter().all(Option::is_none);
                quiet
                    || actions.iter().any(|action| {
                        !matches!(
                            action,
                            Action::Crash { .. } | Action::Lose { .. } | Action::Double { .. } | Action::Again { .. }
                        )
                    })
            }),
            Property::sometimes("a set is followed", |_, w: &World| w.fired == 1),
            Property::sometimes("a reader finds that parts are missing", |_, w: &World| {
                w.workers.iter().flatten().any(|worker| worker.barrier.next() == Next::PutBack)
            }),
            Property::sometimes("a worker comes to a queue that is gone", |_, w: &World| {
                let gone = |worker: &Worker| matches!(worker.barrier.next(), Next::End(End::NoQueue | End::Gone));
                w.workers.iter().flatten().any(gone)
            }),
        ]
    }
}

/// Explores all of it, or of a large one down to its ends until so many steps were seen; answers how large it is, and what does not hold.
fn explore(config: Config, most: usize) -> (usize, Option<(&'static str, String)>) {
    let builder = Explored(config).checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    if most == 0 {
        found(config, &builder.spawn_bfs().join())
    } else {
        found(config, &builder.target_state_count(most).spawn_dfs().join())
    }
}

fn found(config: Config, checked: &impl Checker<Explored>) -> (usize, Option<(&'static str, String)>) {
    let properties = Explored(config).properties();
    for property in &properties {
        let always = property.expectation == Expectation::Always;
        if let (true, Some(path)) = (always, checked.discovery(property.name)) {
            let end = format!("{:#?}", path.last_state());
            let steps: Vec<_> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
            return (checked.unique_state_count(), Some((property.name, format!("{}\n{end}", steps.join("\n  ")))));
        }
    }
    (checked.unique_state_count(), None)
}

const SMALL: Config =
    Config { parts: 2, workers: 2, headed: false, waits: false, left: Left { crashes: 1, doubles: 1 }, mutant: None };

fn holds(config: Config, most: usize) {
    let (states, broken) = explore(config, most);
    assert!(broken.is_none(), "{config:?}: {broken:?}");
    println!("{config:?}: {states} states");
    proof::note("states", states);
}

#[test]
fn the_barrier_holds_whatever_happens() {
    for headed in [false, true] {
        for waits in [false, true] {
            holds(Config { headed, waits, ..SMALL }, 0);
        }
    }
    holds(Config { left: Left { crashes: 0, doubles: 2 }, ..SMALL }, 0);
    holds(Config { left: Left { crashes: 2, doubles: 0 }, ..SMALL }, 0);
}

#[test]
#[ignore = "long: .ci/prove --long"]
fn a_larger_barrier_holds_whatever_happens() {
    for waits in [false, true] {
        holds(Config { parts: 3, waits, ..SMALL }, 500_000);
        holds(Config { parts: 2, workers: 3, waits, ..SMALL }, 500_000);
        holds(Config { left: Left { crashes: 2, doubles: 2 }, waits, ..SMALL }, 500_000);
    }
}

fn caught(mutant: Mutant, config: Config) {
    let (_, truth) = explore(config, 0);
    assert!(truth.is_none(), "the truth itself does not hold: {truth:?}");
    let (states, broken) = explore(Config { mutant: Some(mutant), ..config }, 0);
    let Some((property, path)) = broken else { panic!("{mutant:?} was not caught in {states} states") };
    println!("{mutant:?}: it is not so that {property}:\n  {path}");
    proof::note("mutants", 1);
    proof::note("mutants_caught", 1);
}

#[test]
fn the_length_of_the_queue_in_place_of_distinct_parts_is_caught() {
    caught(Mutant::Length, Config { left: Left { crashes: 0, doubles: 1 }, ..SMALL });
}

#[test]
fn removing_before_firing_is_caught() {
    caught(Mutant::RemoveFirst, Config { left: Left { crashes: 1, doubles: 0 }, ..SMALL });
}

#[test]
fn acknowledging_before_publishing_is_caught() {
    caught(Mutant::AckFirst, Config { left: Left { crashes: 1, doubles: 0 }, ..SMALL });
}

#[test]
fn not_counting_again_is_caught() {
    caught(Mutant::NoRecount, Config { left: Left { crashes: 0, doubles: 1 }, ..SMALL });
}

#[test]
fn counting_before_all_is_back_is_caught() {
    caught(Mutant::NoFence, Config { left: Left { crashes: 0, doubles: 1 }, ..SMALL });
}

#[test]
fn believing_a_low_count_after_a_death_is_caught() {
    caught(Mutant::NoSuspicion, Config { left: Left { crashes: 1, doubles: 1 }, ..SMALL });
}
