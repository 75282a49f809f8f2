//! The records that a reader has read so far, grouped by the run of the split they belong to. Each part counts once.

use std::collections::{BTreeMap, BTreeSet};

/// The content of a message in a part queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Starts a set made by ork: one run of a split.
    Head {
        /// The epoch of the run.
        epoch: u32,
    },
    /// Records that a part has ended.
    Part {
        /// The epoch of the split run that made the part; 0 for sets made by other programs.
        epoch: u32,
        /// The id of the part.
        id: u64,
        /// The number of parts in the set according to the message of the part; 0 if the record does not contain it.
        total: u64,
        /// Whether the part succeeded.
        ok: bool,
    },
    /// A mark that a reader has published.
    Mark(u128),
    /// A message that is none of these, with the reason.
    Unknown(String),
}

/// The treatment of a record that was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Keep it until the set is complete or the records are put back.
    Keep,
    /// Acknowledge it: it is a duplicate, or not needed.
    Drop,
    /// Move it to the dead letters, with this reason.
    DeadLetter(String),
}

/// The parts of one run of a split.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Run {
    headed: bool,
    total: u64,
    ok: BTreeSet<u64>,
    failed: BTreeSet<u64>,
}

impl Run {
    fn len(&self) -> u64 {
        u64::try_from(self.ok.len() + self.failed.len()).unwrap_or(u64::MAX)
    }
}

/// The records that a reader has read and not settled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Set {
    runs: BTreeMap<u32, Run>,
    /// The epoch of the run that is complete.
    complete: Option<u32>,
    read: bool,
}

impl Set {
    /// Returns whether nothing has been read yet.
    pub(super) const fn is_fresh(&self) -> bool {
        !self.read
    }

    /// Handles a record that was read. `stated_total` is the number of parts according to the part of the reading
    /// worker.
    pub(super) fn read(&mut self, entry: &Entry, stated_total: u64) -> Fate {
        self.read = true;
        match entry {
            // The mark of a reader that has died. A live reader that shares the queue with this one, which a queue of
            // another program may allow, never receives its mark and starts again after a while.
            Entry::Mark(_) => Fate::Drop,
            Entry::Unknown(why) => Fate::DeadLetter(why.clone()),
            Entry::Head { epoch } => {
                let run = self.runs.entry(*epoch).or_default();
                if std::mem::replace(&mut run.headed, true) { Fate::Drop } else { Fate::Keep }
            }
            Entry::Part { epoch, id, total, ok } => {
                let run = self.runs.entry(*epoch).or_default();
                if run.total == 0 {
                    run.total = if *total == 0 { stated_total } else { *total };
                }
                if ![0, run.total].contains(total) {
                    let first = run.total;
                    return Fate::DeadLetter(format!(
                        "part {id} has `total_parts` {total}, but earlier parts have {first}"
                    ));
                }
                if run.ok.contains(id) || run.failed.contains(id) {
                    return Fate::Drop;
                }
                let ids = if *ok { &mut run.ok } else { &mut run.failed };
                ids.insert(*id);
                if run.len() == run.total {
                    self.complete = Some(*epoch);
                }
                Fate::Keep
            }
        }
    }

    /// Returns whether every part has been read, and also the head if `headed`.
    pub(super) fn is_complete(&self, headed: bool) -> bool {
        let run = self.complete.and_then(|epoch| self.runs.get(&epoch));
        run.is_some_and(|run| run.headed || !headed)
    }

    /// Returns the epoch of the run that is complete.
    pub const fn epoch(&self) -> Option<u32> {
        self.complete
    }

    /// Returns how many parts of the complete run have failed.
    pub fn n_failed(&self) -> usize {
        self.complete.and_then(|epoch| self.runs.get(&epoch)).map_or(0, |run| run.failed.len())
    }

    /// Returns whether a record belongs to an abandoned run: its head is gone, and another run has one.
    pub fn is_stale(&self, entry: &Entry) -> bool {
        let Entry::Part { epoch, .. } = entry else { return false };
        let headed = |epoch: &u32| self.runs.get(epoch).is_some_and(|run| run.headed);
        !headed(epoch) && self.runs.keys().any(headed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(epoch: u32, id: u64, total: u64) -> Entry {
        Entry::Part { epoch, id, total, ok: id != 7 }
    }

    #[test]
    fn parts_are_counted_by_their_ids() {
        let mut set = Set::default();
        assert_eq!([3, 9, 3].map(|id| set.read(&part(0, id, 3), 3)), [Fate::Keep, Fate::Keep, Fate::Drop]);
        assert!(!set.is_complete(false));
        assert_eq!(
            (set.read(&part(0, 7, 3), 3), set.is_complete(false), set.is_complete(true)),
            (Fate::Keep, true, false)
        );
        assert_eq!((set.n_failed(), set.epoch()), (1, Some(0)));
    }

    #[test]
    fn records_that_disagree_on_the_total_become_dead_letters() {
        let mut set = Set::default();
        assert_eq!(set.read(&part(0, 0, 0), 2), Fate::Keep);
        let Fate::DeadLetter(why) = set.read(&part(0, 1, 3), 2) else { panic!("counted") };
        assert!(why.contains("`total_parts` 3, but earlier parts have 2"), "{why}");
        assert_eq!(set.read(&part(0, 1, 0), 2), Fate::Keep, "a record without a total does not disagree");
        assert!(set.is_complete(false));
    }

    #[test]
    fn split_runs_are_counted_separately_and_need_their_head() {
        let mut set = Set::default();
        for entry in [part(1, 0, 2), Entry::Head { epoch: 2 }, part(2, 1, 2)] {
            assert_eq!(set.read(&entry, 2), Fate::Keep);
        }
        assert!(!set.is_complete(true));
        assert!(set.is_stale(&part(1, 0, 2)) && !set.is_stale(&part(2, 1, 2)));
        set.read(&part(2, 0, 2), 2);
        assert!(set.is_complete(true));
        assert_eq!(set.read(&Entry::Head { epoch: 2 }, 2), Fate::Drop);
    }
}
