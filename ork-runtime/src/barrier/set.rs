//! The records that a reader has at hand: which parts of which run of a split they are, each counted once.

use std::collections::{BTreeMap, BTreeSet};

/// What a message in a part queue says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A set begins that ork has made: one run of a split.
    Head {
        /// Which run.
        epoch: u32,
    },
    /// A part has ended.
    Part {
        /// Which run of a split made it; 0 for the sets of others.
        epoch: u32,
        /// Which part.
        id: u64,
        /// How many the set has, as far as the part was told; 0 if its record does not say it.
        total: u64,
        /// Whether it ended well.
        ok: bool,
    },
    /// A reader has set a mark.
    Mark(u128),
    /// It is none of these.
    Unknown(String),
}

/// What becomes of a record that was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is kept until the set is complete, or given back.
    Keep,
    /// It is acknowledged: there is another one of it, or it is of no use.
    Drop,
    /// It goes to the dead letters, for this reason.
    Bury(String),
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

/// What a reader has at hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Set {
    runs: BTreeMap<u32, Run>,
    /// The run that is complete.
    complete: Option<u32>,
    read: bool,
}

impl Set {
    /// Whether nothing was read yet.
    pub(super) const fn is_fresh(&self) -> bool {
        !self.read
    }

    /// A record was read by a worker that was told so many parts.
    pub(super) fn read(&mut self, entry: &Entry, told: u64) -> Fate {
        self.read = true;
        match entry {
            // That of a reader which has died. One that shares the queue with this one, which a queue of others may allow,
            // waits for it in vain, and then begins anew.
            Entry::Mark(_) => Fate::Drop,
            Entry::Unknown(why) => Fate::Bury(why.clone()),
            Entry::Head { epoch } => {
                let run = self.runs.entry(*epoch).or_default();
                if std::mem::replace(&mut run.headed, true) { Fate::Drop } else { Fate::Keep }
            }
            Entry::Part { epoch, id, total, ok } => {
                let run = self.runs.entry(*epoch).or_default();
                if run.total == 0 {
                    run.total = if *total == 0 { told } else { *total };
                }
                if ![0, run.total].contains(total) {
                    let first = run.total;
                    return Fate::Bury(format!("part {id} says that `total_parts` is {total}, others said {first}"));
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

    /// Whether every part is there, and the head where there is one.
    pub(super) fn is_complete(&self, headed: bool) -> bool {
        let run = self.complete.and_then(|epoch| self.runs.get(&epoch));
        run.is_some_and(|run| run.headed || !headed)
    }

    /// The run of the split that is complete.
    pub const fn epoch(&self) -> Option<u32> {
        self.complete
    }

    /// How many of its parts failed.
    pub fn n_failed(&self) -> usize {
        self.complete.and_then(|epoch| self.runs.get(&epoch)).map_or(0, |run| run.failed.len())
    }

    /// Whether a record is of a run that has been given up: its head is gone, and another run has one.
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
    fn parts_that_disagree_on_their_number_are_put_aside() {
        let mut set = Set::default();
        assert_eq!(set.read(&part(0, 0, 0), 2), Fate::Keep);
        let Fate::Bury(why) = set.read(&part(0, 1, 3), 2) else { panic!("counted") };
        assert!(why.contains("`total_parts` is 3, others said 2"), "{why}");
        assert_eq!(set.read(&part(0, 1, 0), 2), Fate::Keep, "who says nothing does not disagree");
        assert!(set.is_complete(false));
    }

    #[test]
    fn runs_of_a_split_are_counted_apart_and_need_their_head() {
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
