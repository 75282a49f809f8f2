//! The ledger compared with plain sets, with indices up to the largest possible one and beyond.

use std::collections::{BTreeMap, BTreeSet};

use ork::Policy;
use ork_core::ledger::{AppendResult, Halt, Ledger, MOST_PARTS, PartResult, RecordResult, SealResult, StartResult};
use proptest::prelude::*;

/// Indices near the borders of shards and at both ends.
fn index() -> impl Strategy<Value = u64> {
    let near = |middle: u64| (0..4_u64).prop_map(move |more| middle.saturating_sub(2) + more);
    prop_oneof![near(2), near(65_536), near(131_072), near(MOST_PARTS - 2), 0..MOST_PARTS]
}

#[derive(Debug, Clone)]
enum Step {
    Start(u64),
    Settle(u64, PartResult),
    Again(u64),
    GiveBack(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop::sample::select(&[PartResult::Succeeded, PartResult::Failed, PartResult::Skipped][..]);
    prop_oneof![
        index().prop_map(Step::Start),
        (index(), how).prop_map(|(index, how)| Step::Settle(index, how)),
        index().prop_map(Step::Again),
        index().prop_map(Step::GiveBack),
    ]
}

/// The state of a ledger, as plain sets.
#[derive(Debug, Default)]
struct Plain {
    settled: BTreeMap<u64, PartResult>,
    running: BTreeSet<u64>,
    attempts: BTreeMap<u64, u32>,
}

impl Plain {
    fn attempt(&self, index: u64) -> u32 {
        self.attempts.get(&index).copied().unwrap_or(1)
    }
}

proptest! {
    #[test]
    fn ledger_agrees_with_plain_sets(steps in prop::collection::vec(step(), 0..80)) {
        let (mut ledger, mut plain) = (Ledger::default(), Plain::default());
        let epoch = ledger.open(Policy::default(), true);
        prop_assert_eq!(ledger.append(epoch, 0, MOST_PARTS), AppendResult::Added);
        for step in steps {
            match step {
                Step::Start(index) => {
                    let expected = match plain.settled.get(&index) {
                        Some(_) => StartResult::Ended,
                        None => StartResult::Run { restarted: !plain.running.insert(index) },
                    };
                    prop_assert_eq!(ledger.start(epoch, index, plain.attempt(index), false), expected);
                }
                Step::Settle(index, how) => {
                    let expected = if plain.settled.contains_key(&index) { RecordResult::Already } else { RecordResult::Recorded };
                    prop_assert_eq!(ledger.settle(epoch, index, plain.attempt(index), how), expected);
                    plain.settled.entry(index).or_insert(how);
                    plain.running.remove(&index);
                }
                Step::Again(index) => {
                    let expected = if plain.settled.contains_key(&index) { RecordResult::Already } else { RecordResult::Recorded };
                    let attempt = plain.attempt(index);
                    prop_assert_eq!(ledger.retry_later(epoch, index, attempt), expected);
                    if expected == RecordResult::Recorded {
                        prop_assert_eq!(ledger.settle(epoch, index, attempt, PartResult::Succeeded), RecordResult::Stale);
                        plain.attempts.insert(index, attempt + 1);
                        plain.running.remove(&index);
                    }
                }
                Step::GiveBack(index) => {
                    ledger.release(epoch, index, plain.attempt(index));
                    plain.running.remove(&index);
                }
            }
            let of = |how| u64::try_from(plain.settled.values().filter(|settled| **settled == how).count()).unwrap();
            let counts = ledger.counts();
            prop_assert_eq!((counts.succeeded, counts.failed), (of(PartResult::Succeeded), of(PartResult::Failed)));
            prop_assert_eq!(counts.skipped, of(PartResult::Skipped));
            prop_assert_eq!(counts.running, u64::try_from(plain.running.len()).unwrap());
            prop_assert!(ledger.complete().is_none());
        }
        for (index, how) in &plain.settled {
            prop_assert_eq!(ledger.outcome(*index), Some(*how));
        }
    }

    #[test]
    fn no_page_exceeds_the_largest_index(first: u64, len: u64, near in 0..20_u64) {
        let mut ledger = Ledger::default();
        let epoch = ledger.open(Policy::default(), false);
        let result = ledger.append(epoch, first, len);
        let beyond = first.checked_add(len).is_none_or(|end| end > MOST_PARTS);
        prop_assert_eq!(result == AppendResult::TooMany, beyond);
        prop_assert!(ledger.head().appended <= MOST_PARTS);
        let mut ledger = Ledger::default();
        let epoch = ledger.open(Policy::default(), false);
        prop_assert_eq!(ledger.append(epoch, 0, MOST_PARTS - 10), AppendResult::Added);
        let result = ledger.append(epoch, MOST_PARTS - 10, near + 1);
        prop_assert_eq!(result, if near < 10 { AppendResult::Added } else { AppendResult::TooMany });
    }
}

#[test]
fn job_with_the_maximum_number_of_parts_is_cancelled_completely() {
    let mut ledger = Ledger::default();
    let epoch = ledger.open(Policy::default(), false);
    assert_eq!(ledger.append(epoch, 0, MOST_PARTS), AppendResult::Added);
    assert_eq!(ledger.append(epoch, MOST_PARTS, 1), AppendResult::TooMany);
    assert_eq!(ledger.seal(epoch, MOST_PARTS), SealResult::Sealed);
    ledger.start(epoch, MOST_PARTS - 1, 1, false);
    assert_eq!(ledger.settle(epoch, MOST_PARTS - 1, 1, PartResult::Succeeded), RecordResult::Recorded);
    assert_eq!(ledger.start(epoch, MOST_PARTS, 1, false), StartResult::NotFound);
    ledger.halt(Halt::Cancelled);
    let counts = ledger.complete().unwrap();
    assert_eq!((counts.succeeded, counts.cancelled), (1, MOST_PARTS - 1));
}
