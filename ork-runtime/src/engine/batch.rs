//! Which deliveries make a batch, and how many: as many as occupy a thread for a millisecond.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Engine;
use super::action::Action;
use super::admit::is_scarcer;
use super::slots::{Slot, SlotKind};
use crate::broker::Delivery;
use crate::id::JobId;
use crate::message::WorkKind;
use crate::registry::Task;

/// The target time that a batch occupies its thread: short enough to delay nothing else.
pub(super) const THREAD_TIME: Duration = Duration::from_millis(1);

/// The maximum size of a batch: a larger one gains little.
const MOST: usize = 64;

/// The batch sizes of each task, learned from the durations of earlier batches and calls.
#[derive(Debug, Default)]
pub(super) struct BatchSizer(Mutex<HashMap<&'static str, Pace>>);

#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How many deliveries make a batch.
    size: usize,
    /// How many calls one slot admits: as many as it makes in [`THREAD_TIME`].
    by_slot: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { size: 1, by_slot: 1 }
    }
}

impl BatchSizer {
    fn sizes(&self) -> MutexGuard<'_, HashMap<&'static str, Pace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self, task: &str) -> Pace {
        self.sizes().get(task).copied().unwrap_or_default()
    }

    /// Learns from a batch of `len` deliveries that occupied its thread for `took`.
    pub(super) fn measured(&self, task: &'static str, len: usize, took: Duration) {
        let mut sizes = self.sizes();
        let size = &mut sizes.entry(task).or_default().size;
        if took > THREAD_TIME {
            *size = fitting(len, took);
        } else if len >= *size {
            *size = (*size * 2).min(MOST);
        }
    }

    /// Learns from the duration of a call. One long call outweighs many short ones: the calls that were claimed with
    /// it wait for it.
    pub(super) fn called(&self, task: &'static str, took: Duration) {
        let mut sizes = self.sizes();
        let by_slot = &mut sizes.entry(task).or_default().by_slot;
        *by_slot = fitting(1, took).min(*by_slot * 2);
    }
}

/// Returns how many calls fit into [`THREAD_TIME`], given that `len` calls took `took`.
fn fitting(len: usize, took: Duration) -> usize {
    let fits = u128::try_from(len).unwrap_or(1) * THREAD_TIME.as_micros() / took.as_micros().max(1);
    usize::try_from(fits).unwrap_or(MOST).clamp(1, MOST)
}

/// What the deliveries of one batch have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// Parts of one job: its id, the epoch, and the attempt.
    Parts(JobId, u32, u32),
    /// Jobs of one task, without parts.
    Jobs(String),
}

/// Returns the key of a delivery; `None` if it cannot share a claim with others: it was delivered before, or is not a
/// single call that the store records.
pub(crate) fn key(engine: &Engine, delivery: &Delivery) -> Option<Key> {
    let is_plain = delivery.is_first() && !delivery.anonymous;
    let message = delivery.message.as_ref().ok().filter(|_| is_plain)?;
    if message.hooks.as_ref().is_some_and(|hooks| hooks.part.is_some()) {
        return None;
    }
    let task = engine.registry.get(&message.task).ok()?;
    match (Action::of(task, message, None), message.kind) {
        (Action::Part, WorkKind::Part { epoch, .. }) => Some(Key::Parts(message.job, epoch, message.attempt)),
        (Action::Call, WorkKind::Job | WorkKind::Single) => Some(Key::Jobs(message.task.clone())),
        _ => None,
    }
}

/// Returns how many deliveries like this one make a batch under this slot, which is widened for them. The batch is
/// never larger than the number of calls that can start.
pub(crate) fn size(engine: &Engine, delivery: &Delivery, slot: &mut Slot, kind: SlotKind) -> usize {
    let Ok(message) = &delivery.message else { return 1 };
    let Pace { size, mut by_slot } = engine.batch_sizer.pace(&message.task);
    let is_scarce = |task: &Task| is_scarcer(engine, task, task.work.options.concurrency.map(|limit| limit.calls));
    if engine.registry.get(&message.task).is_ok_and(|task| is_scarce(task)) {
        by_slot = 1;
    }
    slot.widen(&engine.slots, kind, size.div_ceil(by_slot));
    size.min(slot.count() * by_slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_for_short_parts_and_shrink_for_long_ones() {
        let sizer = BatchSizer::default();
        assert_eq!(sizer.pace("a").size, 1);
        for _ in 0..10 {
            sizer.measured("a", sizer.pace("a").size, Duration::ZERO);
        }
        assert_eq!((sizer.pace("a").size, sizer.pace("b").size), (MOST, 1));
        sizer.measured("a", MOST, Duration::from_millis(16));
        assert_eq!(sizer.pace("a").size, 4);
        sizer.measured("a", 4, Duration::from_secs(1));
        assert_eq!(sizer.pace("a").size, 1);
        // Fewer deliveries than a batch were available: that shows nothing about larger batches.
        sizer.measured("a", 1, Duration::ZERO);
        sizer.measured("a", 1, Duration::ZERO);
        assert_eq!(sizer.pace("a").size, 2);
    }

    #[test]
    fn slot_admits_many_short_calls_or_one_long_one() {
        let sizer = BatchSizer::default();
        assert_eq!(sizer.pace("a").by_slot, 1);
        for _ in 0..3 {
            sizer.called("a", Duration::from_micros(10));
        }
        assert_eq!(sizer.pace("a").by_slot, 8);
        for _ in 0..10 {
            sizer.called("a", Duration::from_micros(100));
        }
        assert_eq!(sizer.pace("a").by_slot, 10);
        sizer.called("a", Duration::from_secs(1));
        assert_eq!(sizer.pace("a").by_slot, 1);
    }
}
