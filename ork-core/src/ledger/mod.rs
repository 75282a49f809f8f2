//! The ledger, which records which parts of a job have ended and how. It consists of sets instead of counters, so
//! that nothing is counted twice. Pure code, without I/O or a clock.
//!
//! A ledger is *open* while the split yields parts. Parts are *appended* in pages, and `seal(n)` fixes their number.
//! Only a sealed ledger can be complete, and it is complete when every index below `n` is settled. Every change
//! returns an enum, so that its caller has to handle late, repeated and unknown messages. Stores keep the [`Head`]
//! with the job and each [`Shard`] in a separate row. The model checker runs this same code.

pub(crate) mod counts;
mod head;
mod part;
mod shard;

use std::cmp::Ordering;
use std::collections::BTreeMap;

pub use counts::Counts;
pub use head::{Halt, Head};
pub use part::{PartProgress, PartState};
pub use shard::{DecodeShardError, SHARD_SIZE, Shard};

use crate::mutant::{self, Mutant};
use crate::policy::{OnError, Policy};

/// The maximum number of parts of a job: an index has 32 bits in every store.
pub const MOST_PARTS: u64 = 1 << 32;

/// The state in which a part ended. It is final, unless the job is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartResult {
    /// The function returned an output.
    Succeeded,
    /// The function failed, and so did its last retry.
    Failed,
    /// The part never started, because its job had stopped.
    Skipped,
    /// The job was cancelled.
    Cancelled,
}

impl PartResult {
    /// The name of the result in stores and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The result of [`Ledger::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendResult {
    /// The page is new. Its parts have been added to the job.
    Added,
    /// The page had been added before.
    Already,
    /// The page belongs to an older epoch, or leaves a gap: the split must stop.
    Stale,
    /// The job has stopped and takes no more parts: the split must stop.
    Halted,
    /// The job would have more than [`MOST_PARTS`] parts: it cannot run.
    TooMany,
}

/// The result of [`Ledger::seal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealResult {
    /// The number of parts is now fixed.
    Sealed,
    /// The number of parts had been fixed before.
    Already,
    /// The seal belongs to an older epoch, or its number is not that of the parts appended.
    Stale,
}

/// The result of [`Ledger::start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartResult {
    /// The part is marked as running: run it.
    Run {
        /// Whether this attempt was started before, and neither ended nor was released. Its worker may have died.
        restarted: bool,
    },
    /// The part has ended: run nothing.
    Ended,
    /// The message belongs to an older epoch or attempt: run nothing.
    Stale,
    /// There is no such part: run nothing.
    NotFound,
    /// The job has stopped, and this part is now settled as well: run nothing.
    Halted,
}

/// The result of [`Ledger::settle`] and [`Ledger::retry_later`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordResult {
    /// The change was recorded.
    Recorded,
    /// The part had ended before: nothing changed.
    Already,
    /// The change belongs to an older epoch or attempt: nothing changed.
    Stale,
}

/// The entry of one shard. Its counts are always known, its sets only once it is loaded.
#[derive(Debug, Clone, Default, PartialEq)]
struct Slot {
    stored: Counts,
    shard: Option<Shard>,
    dirty: bool,
}

/// The parts of one job: which of them have ended, and how.
///
/// A shard must be loaded before a part in it is read or changed; [`Ledger::needs`] returns whether it still has to
/// be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ledger {
    head: Head,
    slots: BTreeMap<u64, Slot>,
}

/// A range of neighboring parts that have not ended and are at the same attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRange {
    /// The index of the first part.
    pub first: u64,
    /// The number of parts.
    pub len: u64,
    /// The current attempt of these parts.
    pub attempt: u32,
}

/// Returns the number of the shard that holds `index`, and the position of the part within it.
pub fn place(index: u64) -> (u64, u32) {
    (index / SHARD_SIZE, u32::try_from(index % SHARD_SIZE).unwrap_or(0))
}

impl Ledger {
    /// Creates a ledger from its head and the counts of its stored shards, none of which is loaded yet.
    pub fn new(head: Head, stored: impl IntoIterator<Item = (u64, Counts)>) -> Self {
        let slots = stored.into_iter().map(|(number, stored)| (number, Slot { stored, ..Slot::default() }));
        Self { head, slots: slots.collect() }
    }

    /// The head, which is stored with the job.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the shard with this number is stored and has to be given to [`Ledger::load`] before it is used.
    pub fn needs(&self, number: u64) -> bool {
        self.slots.get(&number).is_some_and(|slot| slot.shard.is_none())
    }

    /// Returns the numbers of the stored shards that are not loaded. [`Ledger::halt`] needs all of them.
    pub fn unloaded(&self) -> Vec<u64> {
        self.slots.iter().filter(|(_, slot)| slot.shard.is_none()).map(|(number, _)| *number).collect()
    }

    /// Adds a shard that was read from the store.
    pub fn load(&mut self, number: u64, shard: Shard) {
        self.slots.entry(number).or_default().shard = Some(shard);
    }

    /// Returns the shard with this number, if it is loaded.
    pub fn shard(&self, number: u64) -> Option<&Shard> {
        self.slots.get(&number)?.shard.as_ref()
    }

    /// Returns the shards that have changed since the last call, to be written. They count as unchanged afterwards.
    pub fn take_dirty(&mut self) -> Vec<(u64, &Shard)> {
        let slots = self.slots.iter_mut();
        let dirty =
            slots.filter_map(|(number, slot)| std::mem::take(&mut slot.dirty).then_some((*number, &slot.shard)));
        dirty.filter_map(|(number, shard)| Some((number, shard.as_ref()?))).collect()
    }

    /// The counts of all parts.
    pub fn counts(&self) -> Counts {
        self.slots.values().map(|slot| slot.shard.as_ref().map_or(slot.stored, Shard::counts)).sum()
    }

    /// Starts a new run of the split, with a new epoch and no parts. Returns the epoch.
    pub fn open(&mut self, policy: Policy, has_join: bool) -> u32 {
        let epoch = self.head.epoch + 1;
        *self = Self { head: Head { epoch, policy, has_join, ..Head::default() }, slots: BTreeMap::new() };
        epoch
    }

    /// Removes every part, because the job ended without any. Late messages about them change nothing, as the epoch
    /// is new.
    pub fn forget(&mut self) {
        self.open(Policy::default(), false);
    }

    /// Ends the current run of the split, if there is one, before the next one starts. Messages from it no longer
    /// change anything, and its parts no longer count as running.
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

    /// Records that an attempt of a part waits for a permit, in a separate row. Only the message of that row starts
    /// it.
    pub fn wait(&mut self, index: u64) {
        let (shard, low) = self.shard_mut(index);
        shard.wait(low);
    }

    /// Forgets which parts had to wait, because they are sent again. All shards must be loaded.
    pub fn forget_waits(&mut self) {
        for slot in self.slots.values_mut() {
            if let Some(shard) = slot.shard.as_mut().filter(|shard| shard.has_waits()) {
                shard.forget_waits();
                slot.dirty = true;
            }
        }
    }

    /// Marks an attempt of a part as running, before a worker runs it. `waited` says whether its message is that of the
    /// row in which it has waited for a permit.
    pub fn start(&mut self, epoch: u32, index: u64, attempt: u32, waited: bool) -> StartResult {
        match epoch.cmp(&self.head.epoch) {
            Ordering::Less if mutant::is_on(Mutant::RunsOldParts) => {}
            Ordering::Less => return StartResult::Stale,
            Ordering::Equal if index < self.head.appended => {}
            Ordering::Equal | Ordering::Greater => return StartResult::NotFound,
        }
        let halted = self.head.halted;
        let (shard, low) = self.shard_mut(index);
        let is_replaced = shard.has_waited(low) && !waited && !mutant::is_on(Mutant::StartsWaitedParts);
        if shard.is_settled(low) && !mutant::is_on(Mutant::StartsEndedPart) {
            StartResult::Ended
        } else if attempt < shard.attempt(low) || is_replaced {
            StartResult::Stale
        } else if let Some(halt) = halted {
            shard.settle(low, halt.outcome());
            StartResult::Halted
        } else {
            StartResult::Run { restarted: shard.start(low, attempt) }
        }
    }

    /// Returns how often workers died while they ran the current attempt of a part. With `once_more`, counts another
    /// loss first.
    pub fn losses(&mut self, index: u64, once_more: bool) -> u32 {
        let (shard, low) = self.shard_mut(index);
        if once_more {
            shard.lose(low);
        }
        shard.losses(low)
    }

    /// Marks a part as no longer running, because a worker gave it back without completing it. The attempt does not
    /// count.
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

    /// Records that an attempt failed and that the next one follows.
    pub fn retry_later(&mut self, epoch: u32, index: u64, attempt: u32) -> RecordResult {
        match self.head.halted {
            Some(halt) => self.settle(epoch, index, attempt, halt.outcome()),
            None => self.with_attempt(epoch, index, attempt, |shard, low| shard.retry_later(low, attempt + 1)),
        }
    }

    /// Whether so many parts have failed that the policy requires the job to stop.
    pub fn must_stop(&self) -> bool {
        self.head.halted.is_none()
            && self.head.policy.on_error == OnError::Stop
            && self.head.policy.is_broken(self.counts(), self.head.appended, self.head.sealed.is_some())
    }

    /// Stops the job's parts: no further part starts, those that have not started are settled, and their number is
    /// fixed.
    ///
    /// Running parts complete if the job was stopped. If it was cancelled they are settled at once.
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

    /// Prepares a resume: all parts that did not succeed are unsettled again, under a new epoch. Outputs are kept.
    ///
    /// Returns the ranges of parts to run again, in order.
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

    /// Returns the parts that have not ended, in order, as ranges of the same attempt. Every shard must be loaded.
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

    /// Prepares a resume of one part that ended without success; the other parts stay unchanged. Its shard must be
    /// loaded. Returns whether the part is reopened.
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

    /// Returns the final counts, once the number of parts is fixed and every part has ended.
    pub fn complete(&self) -> Option<Counts> {
        let sealed = self.head.sealed?;
        let counts = self.counts();
        let missing = u64::from(mutant::is_on(Mutant::JoinsEarly) && sealed > 1);
        (sealed == counts.settled() + missing).then_some(counts)
    }

    /// The indices in `from..to` of the parts that have not ended, in order. Their shards must be loaded.
    fn unsettled(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        (from..to.min(self.head.appended)).filter(|index| self.outcome(*index).is_none())
    }

    /// Whether this attempt of a part is the current one and has not ended. Its shard must be loaded.
    pub fn is_current(&self, epoch: u32, index: u64, attempt: u32) -> bool {
        let (number, low) = place(index);
        let shard = self.slots.get(&number).and_then(|slot| slot.shard.as_ref());
        let open = shard.is_none_or(|shard| !shard.is_settled(low) && shard.attempt(low) == attempt);
        epoch == self.head.epoch && index < self.head.appended && open
    }

    /// Whether the current attempt of a part had to wait for a permit.
    pub fn has_waited(&self, index: u64) -> bool {
        let (number, low) = place(index);
        self.shard(number).is_some_and(|shard| shard.has_waited(low))
    }

    /// Returns how a part ended, or `None` if it has not. Its shard must be loaded.
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
    /// The result of a part that may no longer start.
    pub const fn outcome(self) -> PartResult {
        match self {
            Self::Stopped => PartResult::Skipped,
            Self::Cancelled => PartResult::Cancelled,
        }
    }

    /// The name of the halt in stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        }
    }
}
