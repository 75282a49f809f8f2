//! The barrier without a store, explored: workers over one part queue, which may lose answers, double messages, hand them
//! out again and lose workers, at every step. What decides is `ork::barrier` itself; this is its environment.

mod explore;
mod mutants;
mod world;

use ork::barrier::{Entry, Whose};

use self::explore::explore;
use super::proof;
use super::search::Found;

/// One falsehood each, of which a proof that proves anything must find a consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
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
    /// A set that was not complete when its part ended is not looked at again.
    NoLook,
}

/// How large a world is, and how much goes wrong in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) parts: u8,
    pub(super) workers: usize,
    pub(super) headed: bool,
    /// Whether a second reader waits for its turn, as at a single active consumer, or is sent away.
    pub(super) waits: bool,
    pub(super) left: Left,
    pub(super) mutant: Option<Mutant>,
}

/// How often each may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) crashes: u8,
    /// A part's message comes twice, or its record is published twice, as the first answer was lost.
    pub(super) doubles: u8,
    /// A program that knows nothing of ork takes a record and gives it back later.
    pub(super) holds: u8,
    /// An open set is looked at in the middle of everything else. At the end it always is.
    pub(super) looks: u8,
}

impl Config {
    pub(super) fn whose(&self, mark: u8, suspect: bool) -> Whose {
        let suspect = suspect && self.mutant != Some(Mutant::NoSuspicion);
        Whose { total: self.parts.into(), headed: self.headed, mark: mark.into(), suspect }
    }

    pub(super) fn record(&self, part: u8) -> Entry {
        let epoch = u32::from(self.headed);
        Entry::Part { epoch, id: part.into(), total: self.parts.into(), ok: true }
    }
}

pub(super) const SMALL: Config = Config {
    parts: 2,
    workers: 2,
    headed: false,
    waits: false,
    left: Left { crashes: 1, doubles: 1, ..NOTHING },
    mutant: None,
};

/// Nothing goes wrong.
pub(super) const NOTHING: Left = Left { crashes: 0, doubles: 0, holds: 0, looks: 0 };

fn holds(config: Config, most: usize) {
    let Found { states, broken } = explore(config, most);
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
    holds(Config { left: Left { doubles: 2, ..NOTHING }, ..SMALL }, 0);
    holds(Config { left: Left { crashes: 2, ..NOTHING }, ..SMALL }, 0);
}

/// As long as a process that has ended a part of the set lives, which then looks at it again.
#[test]
fn a_stranger_that_holds_records_only_delays_what_follows() {
    for headed in [false, true] {
        for waits in [false, true] {
            holds(Config { headed, waits, left: Left { holds: 1, looks: 1, ..NOTHING }, ..SMALL }, 0);
        }
    }
    holds(Config { left: Left { holds: 2, ..NOTHING }, ..SMALL }, 0);
    holds(Config { left: Left { crashes: 1, holds: 1, ..NOTHING }, ..SMALL }, 0);
}

#[test]
#[ignore = "long: .ci/prove --long"]
fn a_larger_barrier_holds_whatever_happens() {
    for waits in [false, true] {
        holds(Config { parts: 3, waits, ..SMALL }, 500_000);
        holds(Config { parts: 2, workers: 3, waits, ..SMALL }, 500_000);
        holds(Config { waits, left: Left { crashes: 1, doubles: 1, holds: 2, looks: 2 }, ..SMALL }, 500_000);
        holds(Config { left: Left { crashes: 2, doubles: 2, ..NOTHING }, waits, ..SMALL }, 500_000);
    }
}
