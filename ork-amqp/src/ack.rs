//! Decides which delivery tags can be acknowledged together. Pure: it uses neither a channel nor a clock.
//!
//! One *multiple* acknowledgement covers every delivery up to its tag, so its tag must be below the oldest delivery
//! that is still open. Deliveries that are done behind a slow one are acknowledged one by one, after they have waited
//! for a tick, or once there are many of them.

use std::collections::BTreeSet;

/// The delivery tags of one channel.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// The tags that were delivered and are not settled yet.
    open: BTreeSet<u64>,
    /// The tags that are settled and not acknowledged to the broker yet.
    done: BTreeSet<u64>,
    /// The newest tag.
    last: u64,
    /// Done tags up to this one have already waited for a tick to become part of a run.
    aged: u64,
}

/// The acknowledgements to send to the broker now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The tag up to which everything is acknowledged. `None` if there is no such tag.
    pub(super) upto: Option<u64>,
    /// The tags to acknowledge individually afterwards.
    pub(super) singles: Vec<u64>,
}

impl Acks {
    /// Records a new delivery. Returns whether its tag is the next one in sequence.
    ///
    /// A channel numbers its deliveries without gaps. If one were missing, a multiple acknowledgement would cover it
    /// although it was never seen, so the caller must end the channel on a gap.
    pub(super) fn delivered(&mut self, tag: u64) -> bool {
        let next = tag == self.last + 1;
        if next {
            self.last = tag;
            self.open.insert(tag);
        }
        next
    }

    /// Marks a delivery as done. Returns whether it was open.
    pub(super) fn done(&mut self, tag: u64) -> bool {
        let open = self.open.remove(&tag);
        if open {
            self.done.insert(tag);
        }
        open
    }

    /// Removes a delivery that is requeued individually. Returns whether it was open.
    pub(super) fn released(&mut self, tag: u64) -> bool {
        self.open.remove(&tag)
    }

    /// Returns how many deliveries wait to be acknowledged.
    pub(super) fn n_done(&self) -> usize {
        self.done.len()
    }

    /// Returns whether no delivery is open and none waits to be acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.done.is_empty()
    }

    /// Takes the run of done tags before the oldest open one, and also those behind it if there are at least `many`;
    /// with 0, all of them.
    pub(super) fn take(&mut self, many: usize) -> Plan {
        let upto = self.take_run();
        let singles = if self.done.len() >= many { std::mem::take(&mut self.done) } else { BTreeSet::new() };
        Plan { upto, singles: singles.into_iter().collect() }
    }

    /// Takes the run of done tags before the oldest open one, and of those behind it the tags that were already done
    /// at the previous tick.
    pub(super) fn tick(&mut self) -> Plan {
        let upto = self.take_run();
        let newer = self.done.split_off(&self.aged.saturating_add(1));
        let singles = std::mem::replace(&mut self.done, newer);
        self.aged = self.done.last().copied().unwrap_or(self.aged);
        Plan { upto, singles: singles.into_iter().collect() }
    }

    fn take_run(&mut self) -> Option<u64> {
        let behind = match self.open.first() {
            Some(oldest) => self.done.split_off(oldest),
            None => BTreeSet::new(),
        };
        std::mem::replace(&mut self.done, behind).last().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_open(tags: std::ops::RangeInclusive<u64>) -> Acks {
        let mut acks = Acks::default();
        assert!(tags.into_iter().all(|tag| acks.delivered(tag)));
        acks
    }

    #[test]
    fn consecutive_done_tags_are_acknowledged_together() {
        let mut acks = with_open(1..=5);
        assert!([2, 1, 3].into_iter().all(|tag| acks.done(tag)));
        assert_eq!(acks.take(100), Plan { upto: Some(3), singles: vec![] });
        assert_eq!(acks.take(100), Plan::default());
    }

    #[test]
    fn tags_behind_a_slow_delivery_are_acknowledged_singly_when_many_or_old() {
        let mut acks = with_open(1..=9);
        assert!([2, 3].into_iter().all(|tag| acks.done(tag)));
        assert_eq!(acks.take(3), Plan::default());
        assert!(acks.done(4));
        assert_eq!(acks.take(3), Plan { upto: None, singles: vec![2, 3, 4] });
        assert!(acks.done(5));
        assert_eq!(acks.tick(), Plan::default());
        assert!(acks.done(6));
        assert_eq!(acks.tick(), Plan { upto: None, singles: vec![5] });
        assert!(acks.done(1));
        assert_eq!(acks.tick(), Plan { upto: Some(6), singles: vec![] });
    }

    #[test]
    fn multiple_ack_never_ends_at_a_released_tag() {
        let mut acks = with_open(1..=4);
        assert!(acks.done(1) && acks.released(2) && acks.released(3) && !acks.done(3));
        assert_eq!(acks.take(100), Plan { upto: Some(1), singles: vec![] });
        assert!(!acks.is_empty());
    }

    #[test]
    fn gap_between_tags_is_noticed() {
        let mut acks = with_open(1..=2);
        assert!(!acks.delivered(4) && !acks.delivered(2) && acks.delivered(3));
    }

    proptest! {
        /// In any order of settlement, each done tag is acknowledged exactly once, and never one that is open or
        /// released.
        #[test]
        fn every_done_tag_is_acknowledged_once(
            settled in Just((1..=60_u64).collect::<Vec<_>>()).prop_shuffle(),
            steps in prop::collection::vec(0..5_u8, 60),
        ) {
            let mut acks = with_open(1..=60);
            let (mut unacked, mut acked) = ((1..=60).collect::<BTreeSet<u64>>(), BTreeSet::new());
            let mut done = BTreeSet::new();
            for (tag, step) in settled.into_iter().zip(steps) {
                let plan = match step {
                    0 => { acks.released(tag); unacked.remove(&tag); Plan::default() }
                    1 => { acks.done(tag); done.insert(tag); acks.take(4) }
                    2 => { acks.done(tag); done.insert(tag); acks.tick() }
                    _ => { acks.done(tag); done.insert(tag); Plan::default() }
                };
                for tag in plan.upto.map(|upto| unacked.range(..=upto).copied().collect::<Vec<_>>()).into_iter().flatten().chain(plan.singles) {
                    prop_assert!(done.contains(&tag) && unacked.remove(&tag) && acked.insert(tag));
                }
                // RabbitMQ closes the channel if a tag is acknowledged that it does not know.
                prop_assert!(plan.upto.is_none_or(|upto| acked.contains(&upto)));
            }
            let plan = acks.take(0);
            acked.extend(plan.upto.map(|upto| unacked.range(..=upto).copied().collect::<Vec<_>>()).into_iter().flatten());
            acked.extend(plan.singles);
            prop_assert_eq!(acked, done);
            prop_assert!(acks.is_empty());
        }
    }
}
