//! A shard: compressed sets of 65,536 neighboring parts, and their stored form.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::{Counts, PartResult};

/// The number of neighboring parts in a shard.
pub const SHARD_SIZE: u64 = 65_536;

/// The maximum length of a stored shard: six sets of 8 KiB and a few bytes, and eight bytes for each part with
/// retries or losses.
const LONGEST: usize = 1 << 20;

/// The bit in a position that marks the number after it as losses instead of an attempt.
const LOSS: u32 = 1 << 31;

/// The version of the stored form. A program that reads a later version refuses it.
const VERSION: u8 = 1;

/// The state of the parts in a shard, as sets of positions within it: how each part ended, which parts are running or
/// had to wait, and which are being retried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shard {
    succeeded: RoaringBitmap,
    failed: RoaringBitmap,
    skipped: RoaringBitmap,
    cancelled: RoaringBitmap,
    running: RoaringBitmap,
    /// The parts whose current attempt had to wait for a permit. Only the message of the row in which such a part has
    /// waited starts it.
    waited: RoaringBitmap,
    /// The current attempt of each unsettled part that is past its first attempt.
    attempts: BTreeMap<u32, u32>,
    /// The number of times that workers died while they ran the current attempt, for each unsettled part with such
    /// losses.
    losses: BTreeMap<u32, u32>,
}

/// The reason why stored bytes cannot be read as a shard.
#[derive(Debug, thiserror::Error)]
pub enum DecodeShardError {
    /// The bytes were written by a newer version of ork.
    #[error("the ledger has form {found}, this program knows form {VERSION} only")]
    Version {
        /// The version that was found.
        found: u8,
    },
    /// The bytes are truncated or damaged.
    #[error("the ledger is damaged")]
    Damaged(#[source] std::io::Error),
}

impl Shard {
    /// The counts of the parts in this shard.
    pub fn counts(&self) -> Counts {
        Counts {
            succeeded: self.succeeded.len(),
            failed: self.failed.len(),
            skipped: self.skipped.len(),
            cancelled: self.cancelled.len(),
            running: self.running.len(),
        }
    }

    /// Returns how the part at position `low` ended, or `None` if it has not.
    pub fn outcome(&self, low: u32) -> Option<PartResult> {
        let sets = [
            (&self.succeeded, PartResult::Succeeded),
            (&self.failed, PartResult::Failed),
            (&self.skipped, PartResult::Skipped),
            (&self.cancelled, PartResult::Cancelled),
        ];
        sets.into_iter().find(|(set, _)| set.contains(low)).map(|(_, result)| result)
    }

    pub(super) fn is_settled(&self, low: u32) -> bool {
        self.outcome(low).is_some()
    }

    /// The indices below `below` of the parts that have not ended, in order. `number` is the number of this shard.
    pub fn open(&self, number: u64, below: u64) -> impl Iterator<Item = u64> {
        let first = number * SHARD_SIZE;
        let within = u32::try_from(below.saturating_sub(first).min(SHARD_SIZE)).unwrap_or(0);
        (0..within).filter(|low| self.outcome(*low).is_none()).map(move |low| first + u64::from(low))
    }

    /// The current attempt of a part, starting at 1.
    pub fn attempt(&self, low: u32) -> u32 {
        self.attempts.get(&low).copied().unwrap_or(1)
    }

    /// Whether a worker has started the part and not settled it.
    pub fn is_running(&self, low: u32) -> bool {
        self.running.contains(low)
    }

    /// Records that the current attempt of a part waits for a permit.
    pub(super) fn wait(&mut self, low: u32) {
        self.waited.insert(low);
    }

    /// Whether the current attempt of a part had to wait for a permit.
    pub(super) fn has_waited(&self, low: u32) -> bool {
        self.waited.contains(low)
    }

    /// Whether some part had to wait.
    pub(super) fn has_waits(&self) -> bool {
        !self.waited.is_empty()
    }

    /// Forgets which parts had to wait: they are sent again.
    pub(super) fn forget_waits(&mut self) {
        self.waited.clear();
    }

    /// Marks an attempt as running. Returns whether it was running already.
    pub(super) fn start(&mut self, low: u32, attempt: u32) -> bool {
        let was_running = attempt == self.attempt(low) && !self.running.insert(low);
        if attempt > 1 {
            self.attempts.insert(low, attempt);
        }
        was_running
    }

    /// Returns the number of times that workers died while they ran the current attempt.
    pub(super) fn losses(&self, low: u32) -> u32 {
        self.losses.get(&low).copied().unwrap_or(0)
    }

    /// Counts another worker that died while it ran the current attempt.
    pub(super) fn lose(&mut self, low: u32) {
        let losses = self.losses.entry(low).or_default();
        *losses = losses.saturating_add(1);
    }

    pub(super) fn stop(&mut self, low: u32) {
        self.running.remove(low);
    }

    pub(super) fn stop_all(&mut self) {
        self.running.clear();
    }

    pub(super) fn retry_later(&mut self, low: u32, next: u32) {
        self.running.remove(low);
        self.waited.remove(low);
        self.losses.remove(&low);
        self.attempts.insert(low, next);
    }

    pub(super) fn settle(&mut self, low: u32, result: PartResult) {
        self.running.remove(low);
        self.waited.remove(low);
        self.attempts.remove(&low);
        self.losses.remove(&low);
        self.set(result).insert(low);
    }

    /// Settles every part below position `below` that has not ended. Running parts are included only with
    /// `running_too`.
    pub(super) fn settle_rest(&mut self, below: u32, result: PartResult, running_too: bool) {
        let mut rest = RoaringBitmap::new();
        rest.insert_range(0..below);
        rest -= &self.succeeded;
        rest -= &self.failed;
        rest -= &self.skipped;
        rest -= &self.cancelled;
        if running_too {
            self.running.clear();
        } else {
            rest -= &self.running;
        }
        self.waited -= &rest;
        self.attempts.retain(|low, _| !rest.contains(*low));
        self.losses.retain(|low, _| !rest.contains(*low));
        *self.set(result) |= rest;
    }

    /// Forgets every part that did not succeed.
    pub(super) fn keep_succeeded(&mut self) {
        *self = Self { succeeded: std::mem::take(&mut self.succeeded), ..Self::default() };
    }

    /// Forgets how one part ended.
    pub(super) fn unsettle(&mut self, low: u32) {
        let Self { succeeded: ok, failed, skipped, cancelled, running, waited, .. } = self;
        for set in [ok, failed, skipped, cancelled, running, waited] {
            set.remove(low);
        }
        self.attempts.remove(&low);
        self.losses.remove(&low);
    }

    fn set(&mut self, result: PartResult) -> &mut RoaringBitmap {
        match result {
            PartResult::Succeeded => &mut self.succeeded,
            PartResult::Failed => &mut self.failed,
            PartResult::Skipped => &mut self.skipped,
            PartResult::Cancelled => &mut self.cancelled,
        }
    }

    /// Returns the stored form: the version, the six sets in the portable roaring format, and then pairs of `u32`. A
    /// pair is the position of a part and its attempt or, if the highest bit of the position is set, its losses.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for set in [&self.succeeded, &self.failed, &self.skipped, &self.cancelled, &self.running, &self.waited] {
            let mut set = set.clone();
            set.optimize();
            let written = set.serialize_into(&mut bytes);
            debug_assert!(written.is_ok(), "writing to memory cannot fail");
        }
        let losses = self.losses.iter().map(|(low, losses)| (low | LOSS, losses));
        for (place, number) in self.attempts.iter().map(|(low, attempt)| (*low, attempt)).chain(losses) {
            bytes.extend(place.to_le_bytes());
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    /// Decodes what [`Shard::encode`] has written.
    ///
    /// # Errors
    /// [`DecodeShardError::Version`] if a newer version of ork wrote the bytes, [`DecodeShardError::Damaged`] if they
    /// are not a shard.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeShardError> {
        let (&found, mut rest) = bytes.split_first().ok_or_else(|| damaged("it is empty"))?;
        if found != VERSION {
            return Err(DecodeShardError::Version { found });
        }
        if bytes.len() > LONGEST {
            return Err(damaged("it is too long"));
        }
        let mut next = || {
            let set = RoaringBitmap::deserialize_from(&mut rest).map_err(DecodeShardError::Damaged)?;
            let fits = set.max().is_none_or(|last| u64::from(last) < SHARD_SIZE);
            if fits { Ok(set) } else { Err(damaged("it has parts of another shard")) }
        };
        let (ok, failed, skipped, cancelled) = (next()?, next()?, next()?, next()?);
        let (running, waited) = (next()?, next()?);
        let (pairs, []) = rest.as_chunks::<8>() else {
            return Err(damaged("its end is torn"));
        };
        let pairs = pairs
            .iter()
            .map(|&[a, b, c, d, e, f, g, h]| (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])));
        let (losses, attempts): (BTreeMap<_, _>, BTreeMap<_, _>) = pairs.partition(|(place, _)| place & LOSS != 0);
        let losses = losses.into_iter().map(|(place, losses)| (place & !LOSS, losses)).collect();
        Ok(Self { succeeded: ok, failed, skipped, cancelled, running, waited, attempts, losses })
    }
}

fn damaged(what: &str) -> DecodeShardError {
    DecodeShardError::Damaged(std::io::Error::new(std::io::ErrorKind::InvalidData, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_shard_decodes_to_the_same_shard() {
        let mut shard = Shard::default();
        (0..1_000).for_each(|low| shard.settle(low, PartResult::Succeeded));
        shard.settle(40_000, PartResult::Failed);
        shard.start(50_000, 1);
        shard.retry_later(50_001, 3);
        shard.lose(50_001);
        shard.lose(50_000);
        shard.wait(50_002);
        assert_eq!(Shard::decode(&shard.encode()).unwrap(), shard);
        assert!(shard.encode().len() < 200, "runs are compressed");
    }

    #[test]
    fn open_returns_job_indices_of_unsettled_parts() {
        let mut shard = Shard::default();
        for low in [0, 1, 3] {
            shard.settle(low, PartResult::Succeeded);
        }
        assert_eq!(shard.open(2, 2 * SHARD_SIZE + 5).collect::<Vec<_>>(), [2, 4].map(|low| 2 * SHARD_SIZE + low));
        assert_eq!(shard.open(2, 9).count(), 0);
        assert_eq!(shard.open(0, 70_000).count(), 65_533);
    }

    #[test]
    fn invalid_bytes_are_rejected() {
        for bytes in [&[][..], &[9], &[1], &[1, 2, 3], &[0xff; 64]] {
            assert!(Shard::decode(bytes).is_err());
        }
        let mut torn = Shard::default().encode();
        torn.extend([1, 2, 3]);
        assert!(Shard::decode(&torn).is_err());
    }
}
