//! The rules by which deliveries are put into batches, and the number of deliveries in a batch.

use super::Engine;
use super::action::Action;
use super::batch_sizer::Pace;
use super::limit::is_scarcer;
use super::slots::{Slot, SlotKind};
use crate::broker::Delivery;
use crate::id::JobId;
use crate::message::WorkKind;
use crate::registry::Task;

/// The key by which deliveries are grouped into batches: all deliveries of one batch have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// Parts of one job: its id, the epoch, the attempt, and whether they have waited for a permit.
    Parts(JobId, u32, u32, bool),
    /// Jobs of one task, without parts.
    Jobs(String),
}

/// Returns the key of a delivery; `None` if it cannot share a claim with others: it was delivered before, or is not a
/// single call that the store records.
pub(crate) fn key(engine: &Engine, delivery: &Delivery) -> Option<Key> {
    let is_plain = delivery.is_first() && !delivery.anonymous;
    let message = delivery.message.as_ref().ok().filter(|_| is_plain)?;
    if message.has_part_hook() {
        return None;
    }
    let task = engine.registry.get(&message.task).ok()?;
    match (Action::of(task, message, None), message.kind) {
        (Action::Part, WorkKind::Part { epoch, .. }) => {
            Some(Key::Parts(message.job, epoch, message.attempt, message.waited))
        }
        (Action::Call, WorkKind::Job | WorkKind::Single) => Some(Key::Jobs(message.task.clone())),
        _ => None,
    }
}

/// Returns how many deliveries like this one make a batch under this slot, which is widened for them. The batch is
/// never larger than the number of calls that can start.
pub(crate) fn size(engine: &Engine, delivery: &Delivery, slot: &mut Slot, kind: SlotKind) -> usize {
    let Ok(message) = &delivery.message else { return 1 };
    let Pace { size, mut by_slot } = engine.batch_sizer.pace(&message.task);
    let is_scarce =
        |task: &Task| is_scarcer(&engine.slots, task, task.work.options.concurrency.map(|limit| limit.calls));
    if engine.registry.get(&message.task).is_ok_and(|task| is_scarce(task)) {
        by_slot = 1;
    }
    slot.widen(&engine.slots, kind, size.div_ceil(by_slot));
    size.min(slot.count() * by_slot)
}
