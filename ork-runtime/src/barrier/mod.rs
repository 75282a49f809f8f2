//! The barrier without a store: what a worker does that has brought one part of a set to its end. Pure.
//!
//! Each part that ends puts a record into the set's part queue, and is acknowledged only when the worker is done with all
//! of this. Once the queue may be full the worker becomes its only reader and looks whether every part is there: by their
//! ids, never by their number, for anything may come twice. If so, what follows the set is fired, then the queue is
//! removed. If not, all goes back, and the worker counts again: what came while it read was counted by nobody else.
//!
//! A reader that dies has acknowledged nothing: its records come back, and so does its part, though not at the same moment.
//! So whoever has a part that came before does not believe a low count until it was let in as a reader, for then no
//! other one holds anything, be it a dead one; so does a reader that has lost its channel. One that dies between firing and removing fires again, under the same message ids. `tests/model`
//! explores this very code; `engine::barrier` carries out what it says.

mod set;

pub use set::{Entry, Fate, Set};

/// Which records a set is made of, and the part whose worker this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Whose {
    /// How many parts the set has.
    pub total: u64,
    /// Whether it begins with a head, as those do that ork makes.
    pub headed: bool,
    /// What this reader's marks are known by.
    pub mark: u128,
    /// Whether the part came before, so that its worker may have died as the reader.
    pub suspect: bool,
}

impl Whose {
    /// How many records a queue holds at least that is full.
    pub const fn full(&self) -> u64 {
        if self.headed { self.total.saturating_add(1) } else { self.total }
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// Put the part's record into the queue, and wait until it is safe there.
    Record,
    /// Count the records in the queue.
    Count,
    /// Become the queue's only reader.
    Open,
    /// The same, to read one record and give it back; if another one reads, try again.
    Probe,
    /// Read one record.
    Read,
    /// Give all back that was kept, and be sure that whoever counts next counts it.
    PutBack,
    /// Do what follows the set.
    Fire,
    /// Remove the queue.
    Remove,
    /// Acknowledge the part.
    End(End),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Others are still to come, or another worker reads.
    Waits,
    /// This worker has done what follows.
    Fired,
    /// There was no queue for the record: it is gone, or was never there.
    NoQueue,
    /// The queue was removed while this worker looked: another one has done what follows.
    Gone,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The record is safe.
    Recorded,
    /// There are so many records.
    Counted(u64),
    /// This worker is the reader, or will be.
    Opened,
    /// Another one is.
    Busy,
    /// All was given back.
    PutBack,
    /// The mark does not come: somebody shares the queue.
    Impatient,
    /// The channel of the reader is lost, and what it had read comes back some time.
    Lost,
    /// What follows was done.
    Fired,
    /// The queue is removed.
    Removed,
    /// There is no such queue.
    NoQueue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    Recording,
    Counting,
    Opening,
    Probing,
    Touching,
    Reading(Set),
    PuttingBack(Set),
    Firing(Set),
    Removing,
    Ended(End),
}

/// One worker at the barrier of one set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Barrier {
    whose: Whose,
    stage: Stage,
}

impl Barrier {
    /// A worker whose part has just ended.
    pub const fn new(whose: Whose) -> Self {
        Self { whose, stage: Stage::Recording }
    }

    /// A worker that has no part of its own and only looks whether the set is complete.
    pub const fn look(whose: Whose) -> Self {
        Self { whose, stage: Stage::Counting }
    }

    /// How many parts the set has.
    pub const fn total(&self) -> u64 {
        self.whose.total
    }

    /// What it does next.
    pub const fn next(&self) -> Next {
        match self.stage {
            Stage::Recording => Next::Record,
            Stage::Counting => Next::Count,
            Stage::Opening => Next::Open,
            Stage::Probing => Next::Probe,
            Stage::Touching | Stage::Reading(_) => Next::Read,
            Stage::PuttingBack(_) => Next::PutBack,
            Stage::Firing(_) => Next::Fire,
            Stage::Removing => Next::Remove,
            Stage::Ended(end) => Next::End(end),
        }
    }

    /// The mark that its reader is to set now, as nothing was read before. It comes back after all that was in the queue.
    pub fn marks_now(&self) -> Option<u128> {
        matches!(&self.stage, Stage::Reading(set) if set.is_fresh()).then_some(self.whose.mark)
    }

    /// Whether its mark is on its way.
    pub fn waits_for_mark(&self) -> bool {
        matches!(&self.stage, Stage::Reading(set) if !set.is_fresh())
    }

    /// The complete set, while what follows it is done.
    pub const fn complete(&self) -> Option<&Set> {
        match &self.stage {
            Stage::Firing(set) => Some(set),
            _ => None,
        }
    }

    /// Whether a record that was kept is not given back but acknowledged: it belongs to a run that was given up.
    pub fn is_stale(&self, entry: &Entry) -> bool {
        matches!(&self.stage, Stage::PuttingBack(set) if set.is_stale(entry))
    }

    /// A record was read. Answers what becomes of it.
    pub fn read(&mut self, entry: &Entry) -> Fate {
        let set = match &mut self.stage {
            Stage::Reading(set) => set,
            Stage::Touching => {
                self.stage = Stage::PuttingBack(Set::default());
                return Fate::Keep;
            }
            _ => return Fate::Keep,
        };
        if *entry == Entry::Mark(self.whose.mark) {
            self.stage = Stage::PuttingBack(std::mem::take(set));
            return Fate::Drop;
        }
        let fate = set.read(entry, self.whose.total);
        if set.is_complete(self.whose.headed) {
            self.stage = Stage::Firing(std::mem::take(set));
        }
        fate
    }

    /// Something else has happened.
    pub fn happened(&mut self, event: Event) {
        let stage = std::mem::replace(&mut self.stage, Stage::Removing);
        self.stage = match (stage, event) {
            (Stage::Recording, Event::NoQueue) => Stage::Ended(End::NoQueue),
            (Stage::Counting | Stage::Opening | Stage::Probing, Event::NoQueue) => Stage::Ended(End::Gone),
            (Stage::Recording, Event::Recorded) if self.whose.suspect => Stage::Probing,
            (Stage::Recording, Event::Recorded) | (Stage::PuttingBack(_), Event::PutBack) => Stage::Counting,
            (Stage::Opening | Stage::Touching | Stage::Reading(_) | Stage::PuttingBack(_), Event::Lost)
            | (Stage::Probing, Event::Busy) => Stage::Probing,
            (Stage::Probing, Event::Opened) => Stage::Touching,
            (Stage::Reading(set), Event::Impatient) => Stage::PuttingBack(set),
            (Stage::Counting, Event::Counted(n)) if n >= self.whose.full() => Stage::Opening,
            // Whoever reads counts again after it, and this part's record is in the queue by now.
            (Stage::Counting, Event::Counted(_)) | (Stage::Opening, Event::Busy) => Stage::Ended(End::Waits),
            (Stage::Opening, Event::Opened) => Stage::Reading(Set::default()),
            (Stage::Firing(_), Event::Fired) => Stage::Removing,
            (Stage::Removing, Event::Removed | Event::NoQueue) => Stage::Ended(End::Fired),
            (stage, _) => stage,
        };
    }
}
