//! The barrier that joins the parts of a set without a store, as a pure state machine: what a worker does after it
//! has ended one part of the set.
//!
//! For each part that ends, its worker publishes a record to the part queue of the set, and acknowledges the part
//! only when it has passed the barrier. Once the queue may be full, the worker becomes its only reader and checks
//! whether every part is there. It counts part ids, never messages, because any record may be delivered twice. If the
//! set is complete, the worker runs what follows the set (a join, or hooks) and then removes the queue. If not, it
//! puts all records back and counts again: a record that arrived while it was reading has not been counted by any
//! other worker.
//!
//! A reader that dies has acknowledged nothing, so the broker redelivers its records and its part, though not at the
//! same moment. A worker with a redelivered part therefore does not trust a low count until it has been admitted as
//! the only reader, because only then does no other reader, alive or dead, hold records. A reader that has lost its
//! channel does the same. A reader that dies between firing and removing the queue fires again, under the same
//! message ids.
//!
//! `tests/model` explores this code; `engine::barrier` performs the actions that it returns.

mod set;

pub use set::{Entry, Fate, Set};

/// What a worker knows about a set when its own part arrives at the barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arrival {
    /// The number of parts in the set.
    pub total: u64,
    /// Whether the set begins with a head record, as the sets made by ork do.
    pub headed: bool,
    /// The id of the marks that this reader publishes.
    pub mark: u128,
    /// Whether the part was redelivered. If so, its previous worker may have died as the reader of the queue.
    pub suspect: bool,
}

impl Arrival {
    /// Returns the smallest number of records that a full queue holds.
    pub const fn full(&self) -> u64 {
        if self.headed { self.total.saturating_add(1) } else { self.total }
    }
}

/// The next action of a worker at the barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarrierAction {
    /// Publish the record of the part to the queue, and wait for the confirm.
    Record,
    /// Count the records in the queue.
    Count,
    /// Become the only reader of the queue.
    Open,
    /// Become the only reader, read one record and put it back. Retry while another worker is the reader.
    Probe,
    /// Read one record.
    Read,
    /// Put all kept records back, and make sure that the next count includes them.
    PutBack,
    /// Run what follows the set: a join, or hooks.
    Fire,
    /// Remove the queue.
    Remove,
    /// Acknowledge the part.
    End(End),
}

/// How a worker left the barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Other parts have not ended yet, or another worker is the reader.
    Waits,
    /// This worker has done what follows the set.
    Fired,
    /// The queue for the record does not exist: it was removed, or never declared.
    NoQueue,
    /// The queue was removed while this worker was counting: another worker has done what follows the set.
    Gone,
}

/// The result of an action, reported to [`Barrier::happened`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarrierEvent {
    /// The broker has confirmed the record.
    Recorded,
    /// The queue holds this many records.
    Counted(u64),
    /// This worker is the reader, or becomes it when the current one stops.
    Opened,
    /// Another worker is the reader.
    Busy,
    /// All records were put back.
    PutBack,
    /// The mark has not arrived in time: another reader shares the queue.
    Impatient,
    /// The reader has lost its channel; the broker redelivers what it had read, at some later time.
    Lost,
    /// What follows the set was done.
    Fired,
    /// The queue was removed.
    Removed,
    /// The queue does not exist.
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
    target: Arrival,
    stage: Stage,
}

impl Barrier {
    /// Creates the barrier for a worker that has just ended a part of the set.
    pub const fn new(target: Arrival) -> Self {
        Self { target, stage: Stage::Recording }
    }

    /// Creates the barrier for a worker without a part in the set that only checks whether the set is complete.
    pub const fn look(target: Arrival) -> Self {
        Self { target, stage: Stage::Counting }
    }

    /// Returns the number of parts in the set.
    pub const fn total(&self) -> u64 {
        self.target.total
    }

    /// Returns the next action.
    pub const fn next(&self) -> BarrierAction {
        match self.stage {
            Stage::Recording => BarrierAction::Record,
            Stage::Counting => BarrierAction::Count,
            Stage::Opening => BarrierAction::Open,
            Stage::Probing => BarrierAction::Probe,
            Stage::Touching | Stage::Reading(_) => BarrierAction::Read,
            Stage::PuttingBack(_) => BarrierAction::PutBack,
            Stage::Firing(_) => BarrierAction::Fire,
            Stage::Removing => BarrierAction::Remove,
            Stage::Ended(end) => BarrierAction::End(end),
        }
    }

    /// Returns the mark that the reader must publish now, before its first record is handled. The mark is delivered
    /// after everything that was in the queue.
    pub fn marks_now(&self) -> Option<u128> {
        matches!(&self.stage, Stage::Reading(set) if set.is_fresh()).then_some(self.target.mark)
    }

    /// Returns whether the mark was published and has not been read yet.
    pub fn waits_for_mark(&self) -> bool {
        matches!(&self.stage, Stage::Reading(set) if !set.is_fresh())
    }

    /// Returns the complete set while what follows it is being done.
    pub const fn complete(&self) -> Option<&Set> {
        match &self.stage {
            Stage::Firing(set) => Some(set),
            _ => None,
        }
    }

    /// Returns whether a kept record must be acknowledged instead of put back, because it belongs to an abandoned run
    /// of the split.
    pub fn is_stale(&self, entry: &Entry) -> bool {
        matches!(&self.stage, Stage::PuttingBack(set) if set.is_stale(entry))
    }

    /// Handles a record that was read, and returns what happens to it.
    pub fn read(&mut self, entry: &Entry) -> Fate {
        let set = match &mut self.stage {
            Stage::Reading(set) => set,
            Stage::Touching => {
                self.stage = Stage::PuttingBack(Set::default());
                return Fate::Keep;
            }
            _ => return Fate::Keep,
        };
        if *entry == Entry::Mark(self.target.mark) {
            self.stage = Stage::PuttingBack(std::mem::take(set));
            return Fate::Drop;
        }
        let fate = set.read(entry, self.target.total);
        if set.is_complete(self.target.headed) {
            self.stage = Stage::Firing(std::mem::take(set));
        }
        fate
    }

    /// Handles every other event.
    pub fn happened(&mut self, event: BarrierEvent) {
        let stage = std::mem::replace(&mut self.stage, Stage::Removing);
        self.stage = match (stage, event) {
            (Stage::Recording, BarrierEvent::NoQueue) => Stage::Ended(End::NoQueue),
            (Stage::Counting | Stage::Opening | Stage::Probing, BarrierEvent::NoQueue) => Stage::Ended(End::Gone),
            (Stage::Recording, BarrierEvent::Recorded) if self.target.suspect => Stage::Probing,
            (Stage::Recording, BarrierEvent::Recorded) | (Stage::PuttingBack(_), BarrierEvent::PutBack) => {
                Stage::Counting
            }
            (Stage::Opening | Stage::Touching | Stage::Reading(_) | Stage::PuttingBack(_), BarrierEvent::Lost)
            | (Stage::Probing, BarrierEvent::Busy) => Stage::Probing,
            (Stage::Probing, BarrierEvent::Opened) => Stage::Touching,
            (Stage::Reading(set), BarrierEvent::Impatient) => Stage::PuttingBack(set),
            (Stage::Counting, BarrierEvent::Counted(n)) if n >= self.target.full() => Stage::Opening,
            // The current reader counts again after reading, and the record of this part is in the queue already.
            (Stage::Counting, BarrierEvent::Counted(_)) | (Stage::Opening, BarrierEvent::Busy) => {
                Stage::Ended(End::Waits)
            }
            (Stage::Opening, BarrierEvent::Opened) => Stage::Reading(Set::default()),
            (Stage::Firing(_), BarrierEvent::Fired) => Stage::Removing,
            (Stage::Removing, BarrierEvent::Removed | BarrierEvent::NoQueue) => Stage::Ended(End::Fired),
            (stage, _) => stage,
        };
    }
}
