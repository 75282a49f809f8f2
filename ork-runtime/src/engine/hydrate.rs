//! Hydration: reads what a message inherits. A part of a dynamic split inherits the input of its job, and a task of a
//! workflow inherits its step, which has the input. The body of such a message is only its own data.

use std::sync::Arc;

use bytes::Bytes;

use super::inputs::Hydrated;
use super::outcome::rejected;
use super::step::{self, Step};
use super::{Engine, ProcessError};
use crate::broker::DeadLetterReason;
use crate::job::JobKind;
use crate::message::{Message, WorkKind};
use crate::registry::Task;

/// Returns whether a message inherits its input, so that its body is only its own data.
pub(super) fn inherits(task: &Task, message: &Message) -> bool {
    let counted = message.has_part_hook();
    let is_part = matches!(message.kind, WorkKind::Part { .. }) && !counted && task.split.is_none();
    is_part || message.kind == WorkKind::Step
}

/// Returns the input that such a message inherits, and its step, if it has one.
pub(super) async fn inherit(
    engine: &Engine,
    task: &Task,
    message: &Message,
) -> Result<(Bytes, Option<Arc<Step>>), ProcessError> {
    let place = engine.inputs.entry((message.job, task.name()));
    let inherited = tokio::select! {
        biased;
        () = engine.force.cancelled() => return Err(ProcessError::Interrupted),
        inherited = place.get_or_try_init(|| inherited(engine, message)) => inherited?.clone(),
    };
    Ok(match (inherited, message.kind) {
        (Hydrated::Input(input), _) => (input, None),
        (Hydrated::Step(step), WorkKind::Part { .. }) => (step.input_of(&message.body), Some(step)),
        (Hydrated::Step(step), _) => (step.input(), Some(step)),
    })
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
