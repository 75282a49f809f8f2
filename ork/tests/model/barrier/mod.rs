//! The barrier without a store, explored: workers over one part queue, which may lose confirmations, deliver messages
//! twice, redeliver them and lose workers, at every step. `ork_core::barrier` itself decides; the rest is its
//! environment.

mod explore;
mod mutants;
mod world;

use ork_core::barrier::{Arrival, Entry};

use self::explore::explore;
use super::proof;
use super::search::Found;

/// Faults in the barrier. A useful proof must find a consequence of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// The set is complete when the queue is as long as it has parts.
    Length,
    /// The queue is removed before the join or the hooks of the set are sent.
    RemoveFirst,
    /// A part is acknowledged before its record is safe.
    AckFirst,
    /// A reader that has put everything back does not count again.
    NoRecount,
    /// Requeued entries are counted before they are back in the queue.
    NoFence,
    /// A worker whose message was redelivered trusts a low count immediately.
    NoSuspicion,
    /// A set that was incomplete when its part ended is not checked again.
    NoLook,
}

/// The size of a world, and how much goes wrong in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) parts: u8,
    pub(super) workers: usize,
    pub(super) headed: bool,
    /// Whether a second reader waits for its turn, as with a single active consumer, or is rejected.
    pub(super) waits: bool,
    pub(super) left: Left,
    pub(super) mutant: Option<Mutant>,
}

/// How often each fault may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) crashes: u8,
    /// The message of a part is delivered twice, or its record is published twice because the first confirmation was
    /// lost.
    pub(super) duplicates: u8,
    /// A program other than ork takes a record, and requeues it later.
    pub(super) holds: u8,
    /// How often an open set is checked while other steps are possible. At the end it always is.
    pub(super) looks: u8,
}

impl Config {
    pub(super) fn member(&self, mark: u8, suspect: bool) -> Arrival {
        let suspect = suspect && self.mutant != Some(Mutant::NoSuspicion);
        Arrival { total: self.parts.into(), headed: self.headed, mark: mark.into(), suspect }
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
    left: Left { crashes: 1, duplicates: 1, ..NOTHING },
    mutant: None,
};

/// Nothing goes wrong.
pub(super) const NOTHING: Left = Left { crashes: 0, duplicates: 0, holds: 0, looks: 0 };

fn holds(config: Config, most: usize) {
    let Found { states, broken } = explore(config, most);
    assert!(broken.is_none(), "{config:?}: {broken:?}");
    println!("{config:?}: {states} states");
    proof::note("states", states);
}

#[test]
fn barrier_holds_under_crashes_and_duplicates() {
    for headed in [false, true] {
        for waits in [false, true] {
            holds(Config { headed, waits, ..SMALL }, 0);
        }
    }
    holds(Config { left: Left { duplicates: 2, ..NOTHING }, ..SMALL }, 0);
    holds(Config { left: Left { crashes: 2, ..NOTHING }, ..SMALL }, 0);
}

/// This holds as long as a process that has ended a part of the set lives, because that process checks the set again.
#[test]
fn program_that_holds_records_only_delays_completion() {
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
fn larger_barrier_holds_under_crashes_and_duplicates() {
    for waits in [false, true] {
        holds(Config { parts: 3, waits, ..SMALL }, 500_000);
        holds(Config { parts: 2, workers: 3, waits, ..SMALL }, 500_000);
        holds(Config { waits, left: Left { crashes: 1, duplicates: 1, holds: 2, looks: 2 }, ..SMALL }, 500_000);
        holds(Config { left: Left { crashes: 2, duplicates: 2, ..NOTHING }, waits, ..SMALL }, 500_000);
    }
}
