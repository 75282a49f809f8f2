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
use ork_workflow::{Count, Form, Plan, Reference, Runs, Source};

pub(super) use self::begin::begin;
pub(super) use self::fan::fan_out;
use self::output::{NoOutput, Outputs, Run};
use super::{Engine, ProcessError, reject};
use crate::broker::DeadLetterReason;
use crate::context::{External, StepInfo};
use crate::job::Job;
use crate::message::Message;
use crate::registry::Task;
use crate::store::JobView;
use crate::task::def::{Param, TaskDef};
use crate::task::schema::{self, WHOLE};
use crate::task::{CallError, Error};
use crate::tx::Limit;

/// What all instances of a step have in common.
#[derive(Debug)]
pub(super) struct Step {
    /// Its task, with the options that the workflow gives it.
    pub(super) task: Arc<Task>,
    /// What it is called.
    pub(super) name: Arc<StepInfo>,
    /// The limit that its calls are under, if the workflow gives it one.
    pub(super) limit: Option<Limit>,
    /// Whether it is made many.
    fans_out: bool,
    /// Whether its task has an input for an item.
    takes_item: bool,
    /// What is made of what other steps returned; why it cannot be made, if so.
    made: Result<Made, String>,
}

/// What a step is given.
#[derive(Debug)]
struct Made {
    /// Its input, without the `item`.
    input: Bytes,
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
    /// Whose outputs the list is in.
    run: Run,
}

impl Step {
    /// Whether it is made many.
    pub(super) const fn fans_out(&self) -> bool {
        self.fans_out
    }

    /// Whether it is one call of its task.
    pub(super) const fn is_call(&self) -> bool {
        !self.fans_out && self.made.is_ok()
    }

    /// Why it cannot run.
    pub(super) fn trouble(&self) -> Option<CallError> {
        self.made.as_ref().err().map(|why| CallError::Task(Error::permanent(why.clone())))
    }

    /// Its input, without the item; empty if it cannot run.
    pub(super) fn input(&self) -> Bytes {
        self.made.as_ref().map(|made| made.input.clone()).unwrap_or_default()
    }

    /// The input of the instance with this data, which is its item.
    pub(super) fn input_of(&self, data: &Bytes) -> Bytes {
        match self.many().and_then(|many| many.foreach.as_ref()) {
            Some(_) if self.takes_item => with_item(&self.input(), data),
            Some(_) | None => self.input(),
        }
    }

    /// Which instance a part is, and of how many: of those of its item, if each has more than one.
    pub(super) fn place(&self, index: u64) -> (u64, Option<u64>) {
        match self.many() {
            None => (0, Some(1)),
            Some(Many { each: Some(each), .. }) => (index % each.max(&1), Some(*each)),
            Some(Many { items, .. }) => (index, Some(items.unwrap_or(1))),
        }
    }

    fn many(&self) -> Option<&Many> {
        self.made.as_ref().ok()?.many.as_ref()
    }
}

/// The input that gets the item of a fan-out.
const ITEM: &str = "item";

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
        return Err(reject::rejected(message, DeadLetterReason::UnknownJob, words));
    };
    let run = Run::read(engine, message, run).await?;
    let Some(step) = run.plan.tasks.get(at) else {
        let words = format!("the plan of its run {} has no task {at}", run.id);
        return Err(reject::rejected(message, DeadLetterReason::UnknownJob, words));
    };
    let task = Arc::new(with_options(engine, &view.job, step)?);
    Ok(Step {
        takes_item: !takes_field_alone(&task, step) && takes(&task.work, ITEM),
        task: Arc::clone(&task),
        name: Arc::new(StepInfo {
            workflow: run.plan.name.clone(),
            step: step.name.clone(),
            external: external(&run.plan, step),
        }),
        limit: step.concurrency.map(|permits| Limit { name: limit_name(&view.job).into(), permits }),
        fans_out: step.fan.is_some(),
        made: match make(&Outputs { engine, run: &run }, &task, step).await {
            Ok(made) => Ok(made),
            Err(NoOutput::Wrong(why)) => Err(why),
            Err(NoOutput::Process(error)) => return Err(error),
        },
    })
}

/// Makes what a step is given of what other steps returned.
async fn make(outputs: &Outputs<'_>, task: &Task, step: &ork_workflow::Step) -> Result<Made, NoOutput> {
    let input = match step.input.get(WHOLE) {
        Some(source) if takes_field_alone(task, step) => value(outputs, WHOLE, source).await?,
        Some(_) | None => input(outputs, step).await?,
    };
    let Some(fan) = &step.fan else { return Ok(Made { input, many: None }) };
    let each = match &fan.parallel {
        None => None,
        Some(Count::Fixed(count)) => Some(*count),
        Some(Count::Of(reference)) => Some(outputs.count(reference).await?),
    };
    let items = match &fan.foreach {
        None => None,
        Some(reference) => u64::try_from(outputs.items(reference).await?.len()).ok(),
    };
    Ok(Made { input, many: Some(Many { foreach: fan.foreach.clone(), items, each, run: outputs.run.clone() }) })
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
            form: step.form,
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
        reject::rejected(&message, DeadLetterReason::UnknownTask, unknown.to_string())
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

/// Whether a function has an input of this name. What takes its whole input as one value takes any.
fn takes(def: &TaskDef, input: &str) -> bool {
    def.params.iter().any(|param| match param {
        Param::Field { name, .. } => *name == input,
        Param::Body { .. } => true,
        Param::State { .. } | Param::Context | Param::Parts => false,
    })
}

/// Whether the body of a function of this program is one field of the step's input, and not the object around it. Other
/// programs are told so and take the field themselves.
fn takes_field_alone(task: &Task, step: &ork_workflow::Step) -> bool {
    step.form == Form::Field && matches!(step.runs, Runs::Rust { .. }) && schema::takes_whole(task.entry())
}

/// The input of a step, without its item.
async fn input(outputs: &Outputs<'_>, step: &ork_workflow::Step) -> Result<Bytes, NoOutput> {
    let mut object = b"{".to_vec();
    for (name, source) in &step.input {
        if object.len() > 1 {
            object.push(b',');
        }
        object.extend(serde_json::to_vec(name).unwrap_or_default());
        object.push(b':');
        object.extend_from_slice(&value(outputs, name, source).await?);
    }
    object.push(b'}');
    Ok(object.into())
}

/// The value of one input.
async fn value(outputs: &Outputs<'_>, name: &str, source: &Source) -> Result<Bytes, NoOutput> {
    match source {
        Source::Value(value) => Ok(serde_json::to_vec(value).unwrap_or_default().into()),
        Source::Output(reference) => outputs.value(reference).await,
        Source::Time | Source::Date => {
            Err(NoOutput::Wrong(format!("`{name}` is the time of a schedule, and none has started this run")))
        }
    }
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
