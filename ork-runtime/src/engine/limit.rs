//! The concurrency limit that a call is under.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::action::Action;
use super::canonical_json;
use super::slots::{SlotKind, Slots};
use super::step::Step;
use crate::mutant::{self, Mutant};
use crate::registry::Task;
use crate::tx::Limit;

/// The most bytes that the value of a key takes in the name of a limit; a digest stands for the rest of a longer one.
const LONGEST_KEY: usize = 500;

/// Returns the concurrency limit of a call with this input: that of its step, if the workflow sets one, or
/// else that of its task. Only calls of the function itself are limited: a split and a join take no permit.
pub(super) fn limit_of(task: &Task, step: Option<&Step>, action: Action, input: &[u8]) -> Option<Limit> {
    let limit = step.and_then(|step| step.limit.as_ref());
    if action == Action::FanOut {
        // A step whose input cannot be built may have got its permit before.
        return limit.filter(|_| step.is_some_and(|step| !step.fans_out())).cloned();
    }
    if !action.is_call() {
        return None;
    }
    if let Some(limit) = limit {
        return Some(limit.clone());
    }
    let concurrency = task.work.options.concurrency?;
    let mut name = task.name().to_owned();
    if let Some(key) = concurrency.key.filter(|_| !mutant::is_on(Mutant::SharesPermitsOfKeys)) {
        // The call itself fails if its input is no object.
        let body: HashMap<String, &RawValue> = serde_json::from_slice(input).unwrap_or_default();
        let value = canonical_json::canonical(body.get(key).map_or("null", |value| value.get()));
        let _infallible = write!(name, "[{key} = {}]", canonical_json::shortened(&value, LONGEST_KEY));
    }
    Some(Limit { name: name.into(), permits: concurrency.calls })
}

/// Returns whether there are fewer permits than slots for calls of a task.
pub(super) fn is_scarcer(slots: &Slots, task: &Task, permits: Option<u32>) -> bool {
    let slots = slots.size(SlotKind::of(&task.work));
    permits.is_some_and(|permits| usize::try_from(permits).unwrap_or(usize::MAX) < slots)
}
