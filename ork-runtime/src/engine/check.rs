//! Checks of a message that need no store.

use std::sync::Arc;

use super::outcome::rejected;
use super::{Engine, ProcessError};
use crate::broker::DeadLetterReason;
use crate::message::{BodyError, Message};
use crate::registry::Task;

/// Checks the body of a message against the limits, and returns the task of the message.
pub(super) fn task_of(engine: &Engine, message: &Message) -> Result<Arc<Task>, ProcessError> {
    engine.settings.limits.check(&message.body).map_err(|error| {
        let reason = match error {
            BodyError::TooLarge { .. } | BodyError::TooDeep { .. } => DeadLetterReason::Oversized,
        };
        rejected(message, reason, error.to_string())
    })?;
    let task = engine.registry.get(&message.task);
    task.cloned().map_err(|unknown| rejected(message, DeadLetterReason::UnknownTask, unknown.to_string()))
}

/// Checks that a task has a join, for a message that requests it.
pub(super) fn has_join(task: &Task, message: &Message) -> Result<(), ProcessError> {
    if task.join.is_some() {
        return Ok(());
    }
    let name = task.name();
    let detail = format!("the task `{name}` of this program has no join, but the job was split for a task with one");
    Err(rejected(message, DeadLetterReason::UnknownTask, detail))
}
