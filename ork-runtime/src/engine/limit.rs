//! The concurrency limit that a call is under.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::canonical_json;
use super::step::Step;
use crate::message::{Message, WorkKind};
use crate::registry::Task;
use crate::tx::Limit;

/// The most bytes that the value of a key takes in the name of a limit; a digest stands for the rest of a longer one.
const LONGEST_KEY: usize = 500;

/// The limit of the call that a message asks for: that of its step, if the workflow sets one, or else that of its task. A
/// split and a join are under no limit.
pub(super) fn limit_of(task: &Task, step: Option<&Step>, message: &Message) -> Option<Limit> {
    if step.is_some_and(|step| step.fans_out() && message.kind == WorkKind::Step) {
        return None;
    }
    if let Some(limit) = step.and_then(|step| step.limit.as_ref()) {
        return Some(limit.clone());
    }
    let concurrency = task.work.options.concurrency?;
    let is_call = match message.kind {
        WorkKind::Join | WorkKind::Hooks(_) => false,
        WorkKind::Job | WorkKind::Step => task.split.is_none(),
        WorkKind::Single | WorkKind::Part { .. } => true,
    };
    if !is_call {
        return None;
    }
    let mut name = task.name().to_owned();
    if let Some(key) = concurrency.key {
        // The call itself fails if its input is no object.
        let body: HashMap<String, &RawValue> = serde_json::from_slice(&message.body).unwrap_or_default();
        let value = canonical_json::canonical(body.get(key).map_or("null", |value| value.get()));
        let _infallible = write!(name, "[{key} = {}]", canonical_json::shortened(&value, LONGEST_KEY));
    }
    Some(Limit { name: name.into(), permits: concurrency.calls })
}
