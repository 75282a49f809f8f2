//! Hydration: adds to a message what it inherits. A part of a dynamic split inherits the input of its job, and a task
//! of a workflow inherits its step.
//!
//! Such a message carries only its own data. The rest is read here, before the body is used, so that limits, rules
//! and the function see the same as in any other job.

use std::sync::Arc;

use super::inputs::Hydrated;
use super::outcome::rejected;
use super::step::{self, Step};
use super::{Engine, ProcessError};
use crate::broker::{DeadLetterReason, Disposition};
use crate::job::JobKind;
use crate::message::{Message, WorkKind};
use crate::registry::Task;

/// Returns whether a message inherits something, and its body is still only its own data.
pub(super) fn inherits(task: &Task, message: &Message) -> bool {
    let counted = message.hooks.as_deref().is_some_and(|hooks| hooks.part.is_some());
    let is_part = matches!(message.kind, WorkKind::Part { .. }) && !counted && task.split.is_none();
    is_part || message.kind == WorkKind::Step
}

/// Sets the body of such a message to the input of its job, and keeps its own data beside it. Returns the step of the
/// message, if it has one.
///
/// # Cancel safety
/// The message is unchanged if the future is dropped.
pub(super) async fn inherit(
    engine: &Engine,
    task: &Task,
    message: &mut Message,
) -> Result<Option<Arc<Step>>, ProcessError> {
    let place = engine.inputs.entry((message.job, task.name()));
    let inherited = tokio::select! {
        biased;
        () = engine.force.cancelled() => return Err(ProcessError::Unsettled(Disposition::Requeue)),
        inherited = place.get_or_try_init(|| inherited(engine, message)) => inherited?.clone(),
    };
    let (input, step) = match (inherited, message.kind) {
        (Hydrated::Input(input), _) => (input, None),
        (Hydrated::Step(step), WorkKind::Part { .. }) => {
            (step.input_of(message.data.as_ref().unwrap_or(&message.body)), Some(step))
        }
        (Hydrated::Step(step), _) => (step.input(), Some(step)),
    };
    // A message that was started in a batch may be processed again alone.
    let own = std::mem::replace(&mut message.body, input);
    message.data.get_or_insert(own);
    Ok(step)
}

async fn inherited(engine: &Engine, message: &Message) -> Result<Hydrated, ProcessError> {
    let Message { job: id, task, .. } = message;
    let detail = match engine.store.job(*id).await? {
        Some(view) if view.job.task == *task && view.job.kind == JobKind::Step => {
            return Ok(Hydrated::Step(Arc::new(step::of(engine, message, &view).await?)));
        }
        Some(view) if view.job.task == *task => return Ok(Hydrated::Input(view.input)),
        Some(view) => format!("job {id} is a job of `{}`, so it has no parts for `{task}`", view.job.task),
        None => format!("there is no job {id} in this store, so it has no parts"),
    };
    Err(rejected(message, DeadLetterReason::UnknownJob, detail))
}
