//! A step of a run: which task it is and with which options, and the input that is made from what the steps before it
//! returned.
//!
//! The message of a step says nothing but its name. Whoever takes it reads the plan from the run and the outputs from the
//! jobs of the other steps, so that the transaction in which those end stays small.

mod begin;
mod fan;
mod output;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ork_workflow::{Count, Plan, Reference, Runs, Source};

pub(super) use self::begin::begin;
pub(super) use self::fan::fan_out;
use self::output::{Outputs, Trouble};
use super::{Engine, ProcessError, refuse};
use crate::accounting::Limit;
use crate::broker::DeadReason;
use crate::context::{External, StepName};
use crate::job::Job;
use crate::message::Message;
use crate::registry::Task;
use crate::store::JobView;
use crate::task::{CallError, Error};

/// What all instances of a step have in common.
#[derive(Debug)]
pub(super) struct Step {
    /// Its task, with the options that the workflow gives it.
    pub(super) task: Arc<Task>,
    /// What it is called.
    pub(super) name: Arc<StepName>,
    /// Its input without the `item`; why it cannot be made, if so.
    pub(super) input: Result<Bytes, String>,
    /// The limit that its calls are under, if the workflow gives it one.
    pub(super) limit: Option<Limit>,
    /// How it is made many.
    many: Option<Many>,
}

/// How a step is made many.
#[derive(Debug)]
struct Many {
    /// A list with an item for each instance, or for each group of them.
    foreach: Option<Reference>,
    /// How many items that list has.
    items: Option<u64>,
    /// How many instances there are, or how many of each item; `None` for one of each.
    each: Option<u64>,
    run: crate::id::JobId,
    plan: Plan,
}

impl Step {
    /// Whether it is made many.
    pub(super) const fn fans_out(&self) -> bool {
        self.many.is_some()
    }

    /// Why it cannot run.
    pub(super) fn trouble(&self) -> Option<CallError> {
        self.input.as_ref().err().map(|why| CallError::Task(Error::permanent(why.clone())))
    }

    /// The input of the instance with this data, which is its item.
    pub(super) fn input_of(&self, data: &Bytes) -> Bytes {
        let common = self.input.clone().unwrap_or_default();
        match self.many.as_ref().and_then(|many| many.foreach.as_ref()) {
            Some(_) => with_item(&common, data),
            None => common,
        }
    }

    /// Which instance a part is, and of how many: of those of its item, if each has more than one.
    pub(super) fn place(&self, index: u64) -> (u64, u64) {
        match &self.many {
            None => (0, 1),
            Some(Many { each: Some(each), .. }) => (index % each.max(&1), *each),
            Some(Many { items, .. }) => (index, items.unwrap_or(1)),
        }
    }
}

/// Adds the item to an object.
fn with_item(common: &Bytes, item: &Bytes) -> Bytes {
    let fields = common.strip_suffix(b"}").unwrap_or_default();
    let comma: &[u8] = if fields == b"{" { b"" } else { b"," };
    [fields, comma, b"\"item\":", item, b"}"].concat().into()
}

/// Finds out what a job is to do that is a step of a run.
///
/// # Errors
/// When it is none, or the store does not work. What is wrong with what other steps returned is no error here: the step
/// fails with it.
pub(super) async fn of(engine: &Engine, message: &Message, view: &JobView) -> Result<Step, ProcessError> {
    let (Some((at, _)), Some(run)) = (view.job.step(), view.job.parent) else {
        let words = format!("job {} is no step of a run", view.job.id);
        return Err(refuse::refused(message, DeadReason::UnknownJob, words));
    };
    let no_plan = |why: String| refuse::refused(message, DeadReason::UnknownJob, why);
    let run = engine.store.job(run).await?.ok_or_else(|| no_plan(format!("its run {run} is not in this store")))?;
    let plan: Plan = serde_json::from_slice(&run.input)
        .map_err(|error| no_plan(format!("the plan of its run {} cannot be read: {error}", run.job.id)))?;
    let Some(step) = plan.tasks.get(at) else {
        return Err(no_plan(format!("the plan of its run {} has no task {at}", run.job.id)));
    };
    let outputs = Outputs { engine, run: run.job.id, plan: &plan };
    let mut trouble = None;
    let input = match input(&outputs, at).await? {
        Ok(input) => input,
        Err(why) => {
            trouble = Some(why);
            Bytes::new()
        }
    };
    let each = match step.fan.as_ref().and_then(|fan| fan.parallel.as_ref()) {
        None => None,
        Some(Count::Fixed(count)) => Some(*count),
        Some(Count::Of(reference)) => match outputs.count(reference).await? {
            Ok(count) => Some(count),
            Err(why) => {
                trouble = trouble.or(Some(why));
                None
            }
        },
    };
    let foreach = step.fan.as_ref().and_then(|fan| fan.foreach.clone());
    let items = match &foreach {
        None => None,
        Some(reference) => match outputs.items(reference).await? {
            Ok(items) => u64::try_from(items.len()).ok(),
            Err(why) => {
                trouble = trouble.or(Some(why));
                None
            }
        },
    };
    Ok(Step {
        task: Arc::new(with_options(engine, &view.job, step)?),
        name: Arc::new(StepName {
            workflow: plan.name.clone(),
            step: step.name.clone(),
            external: external(&plan, step),
        }),
        input: trouble.map_or(Ok(input), |Trouble(why)| Err(why)),
        limit: step.concurrency.map(|permits| Limit { name: limit_name(&view.job).into(), permits }),
        many: step.fan.as_ref().map(|_| Many { foreach, items, each, run: run.job.id, plan: plan.clone() }),
    })
}

/// One limit for all instances of a step in its run.
fn limit_name(job: &Job) -> String {
    format!("{} of {}", job.task, job.id)
}

/// What runs for a step that is no function of this program.
fn external(plan: &Plan, step: &ork_workflow::Step) -> Option<External> {
    match &step.runs {
        Runs::Rust { .. } => None,
        runs @ (Runs::Python { .. } | Runs::Process { .. }) => Some(External {
            runs: runs.clone(),
            folder: plan.folder.clone(),
            env: step.env.clone(),
            timeout: step.timeout.map(Duration::from_millis),
        }),
    }
}

/// The task with the options of the step in place of its own.
fn with_options(engine: &Engine, job: &Job, step: &ork_workflow::Step) -> Result<Task, ProcessError> {
    let known = engine.registry.get(&job.task).map_err(|unknown| {
        let message = Message::about(job.id, &job.task);
        refuse::refused(&message, DeadReason::UnknownTask, unknown.to_string())
    })?;
    let mut task = Task::clone(known);
    for def in [Some(&mut task.work), task.split.as_mut(), task.join.as_mut()].into_iter().flatten() {
        let options = &mut def.options;
        options.retries = step.retries.unwrap_or(options.retries);
        options.backoff = step.retry_delay.map(Duration::from_millis).or(options.backoff);
        // What waits for a process does not run yet: whoever runs it keeps its time.
        let timeout = step.timeout.filter(|_| matches!(step.runs, Runs::Rust { .. }));
        options.timeout = timeout.map(Duration::from_millis).or(options.timeout);
    }
    Ok(task)
}

/// The input of a step, without its item.
async fn input(outputs: &Outputs<'_>, at: usize) -> Result<Result<Bytes, Trouble>, ProcessError> {
    let mut object = b"{".to_vec();
    let sources = outputs.plan.tasks.get(at).map(|step| &step.input);
    for (name, source) in sources.into_iter().flatten() {
        if object.len() > 1 {
            object.push(b',');
        }
        object.extend(serde_json::to_vec(name).unwrap_or_default());
        object.push(b':');
        match source {
            Source::Value(value) => object.extend(serde_json::to_vec(value).unwrap_or_default()),
            Source::Output(reference) => match outputs.value(reference).await? {
                Ok(value) => object.extend_from_slice(&value),
                Err(why) => return Ok(Err(why)),
            },
        }
    }
    object.push(b'}');
    Ok(Ok(object.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_added_to_what_is_common() {
        let with = |common: &'static str| with_item(&common.into(), &Bytes::from_static(b"[1]"));
        assert_eq!(with("{}"), r#"{"item":[1]}"#);
        assert_eq!(with(r#"{"a":{}}"#), r#"{"a":{},"item":[1]}"#);
    }
}
