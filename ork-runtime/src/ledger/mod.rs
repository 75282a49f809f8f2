//! The ledger: which parts of one multi-part job are settled. Sets, never counters; no I/O, no clock.
//!
//! A job is *open* while its split yields, parts are *appended* in pages, `seal(n)` fixes their number.
//! Only a sealed ledger can be complete, and it is complete when every index below `n` is settled.
//! Every answer is an enum, so that whoever carries it out must handle late, doubled and unknown news.
//! Stores keep the [`Head`] with the job and each [`Shard`] in a row of its own; the model checker runs this very code.

mod head;
mod part;
mod shard;

use std::cmp::Ordering;
use std::collections::BTreeMap;

pub use head::{Halt, Head};
pub use part::{PartProgress, PartState};
pub use shard::{DecodeShardError, SHARD_SIZE, Shard};

use crate::mutant::{self, Mutant};
use crate::policy::{OnError, Policy};

/// No job has more parts: an index has 32 bits in every store.
pub const MOST_PARTS: u64 = 1 << 32;

/// How a part ended. Once, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartResult {
    /// It returned an output.
    Succeeded,
    /// It failed, its last retry included.
    Failed,
    /// It never started, because its job was stopped.
    Skipped,
    /// Its job was cancelled.
    Cancelled,
}

impl PartResult {
    /// The word that stores and documents use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How many parts ended in each way, and how many are under way. Always derived from sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Parts that returned an output.
    pub ok: u64,
    /// Parts that failed for good.
    pub failed: u64,
    /// Parts that never started.
    pub skipped: u64,
    /// Parts of a cancelled job.
    pub cancelled: u64,
    /// Parts that a worker has begun and not settled.
    pub running: u64,
}

impl Counts {
    /// Parts that have ended, in whichever way.
    pub const fn settled(&self) -> u64 {
        self.ok + self.failed + self.skipped + self.cancelled
    }

    /// Parts that ended without an output.
    pub const fn unsuccessful(&self) -> u64 {
        self.failed + self.skipped + self.cancelled
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, more| Self {
            ok: sum.ok + more.ok,
            failed: sum.failed + more.failed,
            skipped: sum.skipped + more.skipped,
            cancelled: sum.cancelled + more.cancelled,
            running: sum.running + more.running,
        })
    }
}

/// The answer to [`Ledger::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendResult {
    /// The page is new and now part of the job.
    Added,
    /// The page was there already.
    Already,
    /// The page belongs to an older run of the split, or leaves a gap: the split must stop.
    Stale,
    /// No further part may be added: the split must stop.
    Halted,
    /// The job would have more than [`MOST_PARTS`]: it cannot be run.
    TooMany,
}

/// The answer to [`Ledger::seal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealResult {
    /// The number of parts is final now.
    Sealed,
    /// It was final already.
    Already,
    /// The seal belongs to an older run of the split, or names another number than was appended.
    Stale,
}

/// The answer to [`Ledger::start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartResult {
    /// Run it.
    Run {
        /// Whether this attempt was begun before, and neither ended nor given back: its worker may have died.
        restarted: bool,
    },
    /// It has ended: run nothing.
    Ended,
    /// The dispatch belongs to an older epoch or attempt: run nothing.
    Stale,
    /// There is no such part: run nothing.
    NotFound,
    /// The job takes no further part; this one is settled now: run nothing.
    Halted,
}

/// The answer to [`Ledger::settle`] and [`Ledger::again`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordResult {
    /// It counted.
    Recorded,
    /// The part had ended before: nothing changed.
    Already,
    /// The news comes from an older epoch or attempt: nothing changed.
    Stale,
}

/// One shard's place: its counts are always known, its sets only once loaded.
#[derive(Debug, Clone, Default, PartialEq)]
struct Slot {
    stored: Counts,
    shard: Option<Shard>,
    dirty: bool,
}

/// The settled parts of one multi-part job.
///
/// Shards are loaded when an index of theirs is touched; [`Ledger::needs`] says which one that is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ledger {
    head: Head,
    slots: BTreeMap<u64, Slot>,
}

/// Parts that follow each other, have not ended, and are at the same attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRange {
    /// The index of the first.
    pub first: u64,
    /// How many.
    pub len: u64,
    /// The attempt.
    pub attempt: u32,
}

/// The shard that holds `index`, and the place inside it.
pub fn place(index: u64) -> (u64, u32) {
    (index / SHARD_SIZE, u32::try_from(index % SHARD_SIZE).unwrap_or(0))
}

impl Ledger {
    /// The ledger with this head, and these shards on disk, whose sets are not loaded yet.
    pub fn new(head: Head, stored: impl IntoIterator<Item = (u64, Counts)>) -> Self {
        let slots = stored.into_iter().map(|(number, stored)| (number, Slot { stored, ..Slot::default() }));
        Self { head, slots: slots.collect() }
    }

    /// The head, to be kept with the job.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the shard of this number is on disk and must be given to [`Ledger::load`] before it is touched.
    pub fn needs(&self, number: u64) -> bool {
        self.slots.get(&number).is_some_and(|slot| slot.shard.is_none())
    }

    /// The shards on disk that are not loaded; [`Ledger::halt`] needs them all.
    pub fn unloaded(&self) -> Vec<u64> {
        self.slots.iter().filter(|(_, slot)| slot.shard.is_none()).map(|(number, _)| *number).collect()
    }

    /// Takes a shard read from disk.
    pub fn load(&mut self, number: u64, shard: Shard) {
        self.slots.entry(number).or_default().shard = Some(shard);
    }

    /// The sets of this number, if they are loaded.
    pub fn shard(&self, number: u64) -> Option<&Shard> {
        self.slots.get(&number)?.shard.as_ref()
    }

    /// The shards changed since they were loaded, to be written; they count as clean from now on.
    pub fn take_dirty(&mut self) -> Vec<(u64, &Shard)> {
        let slots = self.slots.iter_mut();
        let dirty =
            slots.filter_map(|(number, slot)| std::mem::take(&mut slot.dirty).then_some((*number, &slot.shard)));
        dirty.filter_map(|(number, shard)| Some((number, shard.as_ref()?))).collect()
    }

    /// How the parts stand.
    pub fn counts(&self) -> Counts {
        self.slots.values().map(|slot| slot.shard.as_ref().map_or(slot.stored, Shard::counts)).sum()
    }

    /// Starts a run of the split: a new epoch, no parts.
    pub fn open(&mut self, policy: Policy, joined: bool) -> u32 {
        let epoch = self.head.epoch + 1;
        *self = Self { head: Head { epoch, policy, joined, ..Head::default() }, slots: BTreeMap::new() };
        epoch
    }

    /// Forgets every part: the job ended without any. Late news of them change nothing.
    pub fn forget(&mut self) {
        self.open(Policy::default(), false);
    }

    /// Ends the current run of the split, if there is one, before the next one begins: its news change nothing more,
    /// and what is under way of it does not count.
    pub fn fence(&mut self) {
        debug_assert!(self.unloaded().is_empty(), "every shard must be loaded before a fence");
        if self.head.epoch > 0 {
            self.head.epoch += 1;
            for slot in self.slots.values_mut() {
                slot.dirty = true;
                slot.shard.get_or_insert_default().stop_all();
            }
        }
    }

    /// Adds the parts `first..first + len`.
    pub fn append(&mut self, epoch: u32, first: u64, len: u64) -> AppendResult {
        if epoch != self.head.epoch {
            AppendResult::Stale
        } else if self.head.halted.is_some() {
            AppendResult::Halted
        } else if first.checked_add(len).is_none_or(|end| end > MOST_PARTS) {
            AppendResult::TooMany
        } else if first + len <= self.head.appended {
            AppendResult::Already
        } else if first == self.head.appended && self.head.sealed.is_none() {
            self.head.appended = first + len;
            AppendResult::Added
        } else {
            AppendResult::Stale
        }
    }

    /// Fixes the number of parts.
    pub fn seal(&mut self, epoch: u32, n: u64) -> SealResult {
        if epoch != self.head.epoch {
            return SealResult::Stale;
        }
        match self.head.sealed {
            Some(_) => SealResult::Already,
            None if n == self.head.appended => {
                self.head.sealed = Some(n);
                SealResult::Sealed
            }
            None => SealResult::Stale,
        }
    }

    /// A worker is about to run attempt `attempt` of a part.
    pub fn start(&mut self, epoch: u32, index: u64, attempt: u32) -> StartResult {
        match epoch.cmp(&self.head.epoch) {
            Ordering::Less if mutant::is_on(Mutant::RunsOldParts) => {}
            Ordering::Less => return StartResult::Stale,
            Ordering::Equal if index < self.head.appended => {}
            Ordering::Equal | Ordering::Greater => return StartResult::NotFound,
        }
        let halted = self.head.halted;
        let (shard, low) = self.shard_mut(index);
        if shard.is_settled(low) && !mutant::is_on(Mutant::StartsEndedPart) {
            StartResult::Ended
        } else if attempt < shard.attempt(low) {
            StartResult::Stale
        } else if let Some(halt) = halted {
            shard.settle(low, halt.outcome());
            StartResult::Halted
        } else {
            StartResult::Run { restarted: shard.start(low, attempt) }
        }
    }

    /// How often workers died while they ran the current attempt at a part; once more if this is said of it now.
    pub fn losses(&mut self, index: u64, once_more: bool) -> u32 {
        let (shard, low) = self.shard_mut(index);
        if once_more {
            shard.lose(low);
        }
        shard.losses(low)
    }

    /// A worker gave a part back without having run it to its end; it costs no attempt.
    pub fn release(&mut self, epoch: u32, index: u64, attempt: u32) {
        if epoch == self.head.epoch && index < self.head.appended {
            let (shard, low) = self.shard_mut(index);
            if attempt == shard.attempt(low) {
                shard.stop(low);
            }
        }
    }

    /// Records how a part ended.
    pub fn settle(&mut self, epoch: u32, index: u64, attempt: u32, result: PartResult) -> RecordResult {
        self.with_attempt(epoch, index, attempt, |shard, low| shard.settle(low, result))
    }

    /// Records that this attempt failed and that the next one is on its way.
    pub fn retry_later(&mut self, epoch: u32, index: u64, attempt: u32) -> RecordResult {
        match self.head.halted {
            Some(halt) => self.settle(epoch, index, attempt, halt.outcome()),
            None => self.with_attempt(epoch, index, attempt, |shard, low| shard.retry_later(low, attempt + 1)),
        }
    }

    /// Whether failures are now so many that the policy says stop.
    pub fn must_stop(&self) -> bool {
        self.head.halted.is_none()
            && self.head.policy.on_error == OnError::Stop
            && self.head.policy.is_broken(self.counts(), self.head.appended, self.head.sealed.is_some())
    }

    /// Lets no further part start: what has not begun is settled now, and the number of parts is final.
    ///
    /// Parts under way end by themselves when the job was stopped; a cancelled job does not wait for them.
    pub fn halt(&mut self, halt: Halt) {
        debug_assert!(self.unloaded().is_empty(), "every shard must be loaded before a halt");
        self.head.halted = Some(halt);
        self.head.cut |= self.head.sealed.is_none();
        self.head.sealed.get_or_insert(self.head.appended);
        for number in 0..self.head.appended.div_ceil(SHARD_SIZE) {
            let within = (self.head.appended - number * SHARD_SIZE).min(SHARD_SIZE);
            let slot = self.slots.entry(number).or_default();
            slot.dirty = true;
            let shard = slot.shard.get_or_insert_default();
            shard.settle_rest(u32::try_from(within).unwrap_or(u32::MAX), halt.outcome(), halt == Halt::Cancelled);
        }
    }

    /// Prepares a resume: what did not end `ok` is unsettled again, under a new epoch. Outputs stay.
    ///
    /// Returns the ranges to run again, in order.
    pub fn reopen(&mut self) -> Vec<std::ops::Range<u64>> {
        debug_assert!(self.unloaded().is_empty(), "every shard must be loaded before a resume");
        self.head.epoch += 1;
        self.head.halted = None;
        for slot in self.slots.values_mut() {
            slot.dirty = true;
            slot.shard.get_or_insert_default().keep_succeeded();
        }
        let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
        for index in self.unsettled(0, self.head.appended) {
            match ranges.last_mut() {
                Some(range) if range.end == index => range.end += 1,
                Some(_) | None => ranges.push(index..index + 1),
            }
        }
        ranges
    }

    /// The parts that have not ended, in order, in runs of one attempt; every shard must be loaded.
    pub fn open_ranges(&self) -> Vec<OpenRange> {
        debug_assert!(self.unloaded().is_empty(), "every shard must be loaded to know what is open");
        let mut runs: Vec<OpenRange> = Vec::new();
        for index in self.unsettled(0, self.head.appended) {
            let (number, low) = place(index);
            let attempt = self.shard(number).map_or(1, |shard| shard.attempt(low));
            match runs.last_mut() {
                Some(run) if run.first + run.len == index && run.attempt == attempt => run.len += 1,
                Some(_) | None => runs.push(OpenRange { first: index, len: 1, attempt }),
            }
        }
        runs
    }

    /// Prepares a resume of one part that did not end `ok`; the others stay as they are. Its shard must be loaded.
    pub fn reopen_part(&mut self, index: u64) -> bool {
        if self.outcome(index).is_none_or(|result| result == PartResult::Succeeded) {
            return false;
        }
        self.head.epoch += 1;
        self.head.halted = None;
        let (shard, low) = self.shard_mut(index);
        shard.unsettle(low);
        true
    }

    /// The final counts, once the number of parts is fixed and every part has ended.
    pub fn complete(&self) -> Option<Counts> {
        let sealed = self.head.sealed?;
        let counts = self.counts();
        let missing = u64::from(mutant::is_on(Mutant::JoinsEarly) && sealed > 1);
        (sealed == counts.settled() + missing).then_some(counts)
    }

    /// The indices in `from..to` that have not ended, in order; their shards must be loaded.
    fn unsettled(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        (from..to.min(self.head.appended)).filter(|index| self.outcome(*index).is_none())
    }

    /// Whether this attempt at a part is the one that counts, and has not ended; its shard must be loaded.
    pub fn is_current(&self, epoch: u32, index: u64, attempt: u32) -> bool {
        let (number, low) = place(index);
        let shard = self.slots.get(&number).and_then(|slot| slot.shard.as_ref());
        let open = shard.is_none_or(|shard| !shard.is_settled(low) && shard.attempt(low) == attempt);
        epoch == self.head.epoch && index < self.head.appended && open
    }

    /// How a part ended, if it has; its shard must be loaded.
    pub fn outcome(&self, index: u64) -> Option<PartResult> {
        let (number, low) = place(index);
        self.slots.get(&number)?.shard.as_ref()?.outcome(low)
    }

    fn with_attempt(
        &mut self,
        epoch: u32,
        index: u64,
        attempt: u32,
        news: impl FnOnce(&mut Shard, u32),
    ) -> RecordResult {
        if epoch != self.head.epoch || index >= self.head.appended {
            return RecordResult::Stale;
        }
        let (shard, low) = self.shard_mut(index);
        if shard.is_settled(low) {
            RecordResult::Already
        } else if attempt == shard.attempt(low) {
            news(shard, low);
            RecordResult::Recorded
        } else {
            RecordResult::Stale
        }
    }

    fn shard_mut(&mut self, index: u64) -> (&mut Shard, u32) {
        let (number, low) = place(index);
        let slot = self.slots.entry(number).or_default();
        debug_assert!(slot.shard.is_some() || slot.stored == Counts::default(), "shard {number} must be loaded first");
        slot.dirty = true;
        (slot.shard.get_or_insert_default(), low)
    }
}

impl Halt {
    /// How a part that may no longer start ends.
    pub const fn outcome(self) -> PartResult {
        match self {
            Self::Stopped => PartResult::Skipped,
            Self::Cancelled => PartResult::Cancelled,
        }
    }

    /// The word that stores use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        }
    }
}
