//! Sets of parts that were not complete when this process ended one of their parts: they are checked again later.
//!
//! The worker that ends the last part of a set sees all of its records, unless a program other than ork holds one at
//! that moment: RabbitMQ counts only messages that no consumer holds, and does not signal when one is returned. So
//! each process that has ended a part of an open set checks it again after a pause. Each part of the set that ends in
//! this process restarts the pauses, so that sets with short parts are never checked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::barrier::{Arrival, End};
use crate::broker::PartRecord;
use crate::clock::Timestamp;
use crate::hook::OnComplete;
use crate::message::Message;
use crate::mutant::{self, Mutant};

/// Returns the pause before the next check, after so many checks.
const fn pause_after(n_checks: u32) -> Duration {
    match n_checks {
        0 => Duration::from_secs(1),
        1 => Duration::from_secs(10),
        _ => Duration::from_mins(1),
    }
}

/// The data that a process needs to check a set again.
#[derive(Debug)]
pub(crate) struct SetCheck {
    /// The set, as its barrier needs it.
    pub(super) arrival: Arrival,
    /// The record that this process put into the queue last, of a part or of the head. It is published again behind
    /// all records that are put back.
    pub(super) record: PartRecord,
    /// The work that follows the set.
    pub(super) follows: Follows,
}

/// The work that follows a complete set.
#[derive(Debug, Clone)]
pub(super) enum Follows {
    /// The end of the job that was split into the set, which this message of a part identifies.
    Join(Box<Message>),
    /// The hooks of an external set.
    Hooks { task: String, hooks: Vec<OnComplete> },
}

/// The result of a worker's pass through the barrier of a set.
#[derive(Debug)]
pub(super) enum Passed {
    /// The worker has left the barrier.
    Done(End),
    /// The worker has to stop: the part is redelivered.
    Interrupted,
    /// The broker has no part queues.
    NoParts,
}

/// A set that is not complete.
#[derive(Debug)]
struct Open {
    check: Arc<SetCheck>,
    n_checks: u32,
    due: Timestamp,
}

/// The open sets of a process, by their queues.
#[derive(Debug, Default)]
pub(crate) struct PartSets {
    open: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    sets: BTreeMap<String, Open>,
    /// The time at which the service that checks the sets will wake up.
    waits_until: Option<Timestamp>,
}

impl PartSets {
    /// Records how a part of this process has passed the barrier of its set.
    pub(super) fn record(&self, queue: &str, passed: &Passed, now: Timestamp, check: impl FnOnce() -> SetCheck) {
        match passed {
            Passed::Done(End::Waits) if mutant::is_on(Mutant::ForgetsOpenSets) => {}
            Passed::Done(End::Waits) => self.opened(check(), now),
            Passed::Done(End::Fired | End::NoQueue | End::Gone) => self.forget(queue),
            Passed::Interrupted | Passed::NoParts => {}
        }
    }

    /// Records that a set is open.
    pub(super) fn opened(&self, check: SetCheck, now: Timestamp) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now + pause_after(0);
        open.sets.insert(check.record.queue.clone(), Open { check: Arc::new(check), n_checks: 0, due });
        if open.waits_until.is_none_or(|until| due < until) {
            self.news.notify_one();
        }
    }

    /// Records that a set is complete, or has no queue any more.
    pub(super) fn forget(&self, queue: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).sets.remove(queue);
    }

    /// Returns when the next check is due, if any is. The caller asks again after [`PartSets::news`].
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.waits_until = open.sets.values().map(|set| set.due).min();
        open.waits_until
    }

    /// Waits until a check is due earlier than [`PartSets::next`] returned.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Returns the checks that are due. Each is repeated later, unless its set is removed before.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<Arc<SetCheck>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let due = open.sets.values_mut().filter(|set| set.due <= now);
        due.map(|set| {
            set.n_checks = set.n_checks.saturating_add(1);
            set.due = now + pause_after(set.n_checks);
            Arc::clone(&set.check)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::barrier::Entry;

    fn check(queue: &str) -> SetCheck {
        let entry = Entry::Part { epoch: 0, id: 0, total: 2, ok: true };
        SetCheck {
            arrival: Arrival { total: 2, headed: false, mark: 0, suspect: false },
            record: PartRecord { queue: queue.to_owned(), id: String::new(), entry, body: Bytes::new() },
            follows: Follows::Hooks { task: String::new(), hooks: Vec::new() },
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn open_set_is_checked_after_1_10_and_every_60_seconds_until_done() {
        let sets = PartSets::default();
        assert_eq!(sets.next(), None);
        sets.record("q", &Passed::Done(End::Waits), at(0), || check("q"));
        for seconds in [1, 11, 71, 131, 191] {
            assert_eq!(sets.next(), Some(at(seconds)));
            assert!(sets.due(at(seconds - 1)).is_empty());
            assert_eq!(sets.due(at(seconds)).len(), 1);
        }
        sets.record("q", &Passed::Interrupted, at(191), || check("q"));
        assert_eq!(sets.next(), Some(at(251)));
        sets.record("q", &Passed::Done(End::Gone), at(192), || check("q"));
        assert_eq!(sets.next(), None, "nothing is looked at while no set is open");
    }

    #[test]
    fn ended_part_postpones_the_next_check() {
        let sets = PartSets::default();
        for part in 0..9 {
            sets.record("q", &Passed::Done(End::Waits), at(part), || check("q"));
            assert!(sets.due(at(part)).is_empty());
            assert_eq!(sets.next(), Some(at(part + 1)));
        }
    }
}
