//! Hydration: adds to a message what it inherits. A part of a dynamic split inherits the input of its job, and a task
//! of a workflow inherits its step.
//!
//! Such a message carries only its own data. The rest is read here, before the body is used, so that limits, rules
//! and the function see the same as in any other job.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::step::{self, Step};
use super::{Engine, ProcessError, reject};
use crate::broker::{DeadLetterReason, Disposition};
use crate::id::JobId;
use crate::job::JobKind;
use crate::message::{Message, WorkKind};
use crate::registry::Task;

/// The cache holds the data of at most this many jobs, and at most this many bytes.
const CACHE_LIMITS: (usize, usize) = (8, 32 * 1024 * 1024);

/// A cache of what messages inherit from jobs, the most recently used last. The data never changes, so each is read
/// once.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Mutex<VecDeque<Entry>>);

/// An entry of the cache: what messages of this task inherit from one job.
type Entry = ((JobId, &'static str), Arc<OnceCell<Hydrated>>);

/// What the messages of a job have in common.
#[derive(Debug, Clone)]
pub(crate) enum Hydrated {
    /// The input of their job.
    Input(Bytes),
    /// The step that their job is in its workflow run.
    Step(Arc<Step>),
}

impl Hydrated {
    fn len(&self) -> usize {
        match self {
            Self::Input(input) => input.len(),
            Self::Step(step) => step.input().len(),
        }
    }
}

impl Inputs {
    /// Returns the entry of a job and task. Entries that were not used lately are evicted.
    fn entry(&self, key: (JobId, &'static str)) -> Arc<OnceCell<Hydrated>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(known, _)| *known == key).and_then(|at| kept.remove(at));
        let place = known.map(|(_, place)| place).unwrap_or_default();
        let bytes =
            |kept: &VecDeque<Entry>| kept.iter().filter_map(|(_, place)| place.get()).map(Hydrated::len).sum::<usize>();
        while kept.len() >= CACHE_LIMITS.0 || bytes(&kept) > CACHE_LIMITS.1 {
            kept.pop_front();
        }
        kept.push_back((key, Arc::clone(&place)));
        place
    }
}

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
    Err(reject::rejected(message, DeadLetterReason::UnknownJob, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_keeps_recent_inputs_within_its_limits() {
        let (inputs, jobs) = (Inputs::default(), [(); 9].map(|()| (JobId::new(), "a")));
        let first = inputs.entry(jobs[0]);
        first.set(Hydrated::Input(Bytes::from_static(b"first"))).unwrap();
        for job in &jobs[1..8] {
            inputs.entry(*job);
        }
        assert!(Arc::ptr_eq(&first, &inputs.entry(jobs[0])));
        assert!(inputs.entry((jobs[0].0, "b")).get().is_none(), "another task has no part in it");
        // The first was used lately, so that others were evicted.
        assert!(Arc::ptr_eq(&first, &inputs.entry(jobs[0])));
        for job in &jobs[1..] {
            inputs.entry(*job);
        }
        assert!(inputs.entry(jobs[0]).get().is_none());
        assert_eq!(inputs.0.lock().unwrap().len(), CACHE_LIMITS.0);
        inputs.entry(jobs[1]).set(Hydrated::Input(vec![0; CACHE_LIMITS.1 + 1].into())).unwrap();
        inputs.entry(jobs[2]);
        assert_eq!(inputs.0.lock().unwrap().len(), 1);
    }
}
