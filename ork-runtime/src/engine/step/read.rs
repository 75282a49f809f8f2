//! Reads the step that a job runs: its task, its options, and its input, which is built from the outputs of other
//! steps.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ork_workflow::{Count, Form, Plan, Runs, Source};

use super::super::outcome::rejected;
use super::super::{Engine, ProcessError};
use super::output::{NoOutput, Outputs};
use super::{Instances, RunSnapshot, Step, StepInput};
use crate::broker::DeadLetterReason;
use crate::context::{External, StepInfo};
use crate::job::Job;
use crate::message::Message;
use crate::registry::Task;
use crate::store::JobView;
use crate::task::def::{Param, TaskDef};
use crate::task::schema::{self, WHOLE};
use crate::tx::Limit;

/// The name of the input that receives the item of a fan-out.
const ITEM: &str = "item";

/// Reads the step that a job runs, and builds its input.
///
/// # Errors
/// Returns an error if the job is no step of a run, or the store does not work. Unsuitable outputs of other steps are
/// no error here: the step itself fails because of them.
pub(in super::super) async fn of(engine: &Engine, message: &Message, view: &JobView) -> Result<Step, ProcessError> {
    let (Some((at, _)), Some(run)) = (view.job.step(), view.job.parent) else {
        let detail = format!("job {} is not a step of a workflow run", view.job.id);
        return Err(rejected(message, DeadLetterReason::UnknownJob, detail));
    };
    let run = RunSnapshot::read(engine, message, run).await?;
    let Some(step) = run.plan.steps.get(at) else {
        let detail = format!("the plan of its run {} has no step {at}", run.id);
        return Err(rejected(message, DeadLetterReason::UnknownJob, detail));
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
        fans_out: step.fan_out.is_some(),
        built: match make(&Outputs { engine, run: &run }, &task, step).await {
            Ok(built) => Ok(built),
            Err(NoOutput::Wrong(why)) => Err(why),
            Err(NoOutput::Process(error)) => return Err(error),
        },
    })
}

/// Builds the input and the fan-out of a step from the outputs of other steps.
async fn make(outputs: &Outputs<'_>, task: &Task, step: &ork_workflow::Step) -> Result<StepInput, NoOutput> {
    let input = match step.input.get(WHOLE) {
        Some(source) if takes_field_alone(task, step) => value(outputs, WHOLE, source).await?,
        Some(_) | None => input(outputs, step).await?,
    };
    let Some(fan_out) = &step.fan_out else { return Ok(StepInput { input, many: None }) };
    let each = match &fan_out.parallel {
        None => None,
        Some(Count::Fixed(count)) => Some(*count),
        Some(Count::Of(reference)) => Some(outputs.count(reference).await?),
    };
    let items = match &fan_out.foreach {
        None => None,
        Some(reference) => u64::try_from(outputs.items(reference).await?.len()).ok(),
    };
    Ok(StepInput {
        input,
        many: Some(Instances { foreach: fan_out.foreach.clone(), items, each, run: outputs.run.clone() }),
    })
}

/// Returns the name of the limit that all instances of a step share within its run.
fn limit_name(job: &Job) -> String {
    format!("{} of {}", job.task, job.id)
}

/// Returns what runs a step that is no function of this program.
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

/// Returns the task with the options of the step in place of its defaults.
fn with_options(engine: &Engine, job: &Job, step: &ork_workflow::Step) -> Result<Task, ProcessError> {
    let known = engine.registry.get(&job.task).map_err(|unknown| {
        let message = Message::about(job.id, &job.task);
        rejected(&message, DeadLetterReason::UnknownTask, unknown.to_string())
    })?;
    let mut task = Task::clone(known);
    for def in [Some(&mut task.work), task.split.as_mut(), task.join.as_mut()].into_iter().flatten() {
        let options = &mut def.options;
        options.retries = step.retries.unwrap_or(options.retries);
        options.backoff = step.retry_delay.map(Duration::from_millis).or(options.backoff);
        // The executor enforces the timeout of an external step, because a call that waits for a process is not
        // running yet.
        let timeout = step.timeout.filter(|_| matches!(step.runs, Runs::Rust { .. }));
        options.timeout = timeout.map(Duration::from_millis).or(options.timeout);
    }
    Ok(task)
}

/// Returns whether a function has an input of this name. A function that takes its whole input as one value accepts
/// any name.
fn takes(def: &TaskDef, input: &str) -> bool {
    def.params.iter().any(|param| match param {
        Param::Field { name, .. } => *name == input,
        Param::Body { .. } => true,
        Param::State { .. } | Param::Context | Param::Parts => false,
    })
}

/// Returns whether the body of a function of this program is one field of the step's input, and not the object around
/// it. External programs receive the form and extract the field themselves.
fn takes_field_alone(task: &Task, step: &ork_workflow::Step) -> bool {
    step.form == Form::Field && matches!(step.runs, Runs::Rust { .. }) && schema::takes_whole(task.entry())
}

/// Returns the input of a step, without its item.
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

/// Returns the value of one input.
async fn value(outputs: &Outputs<'_>, name: &str, source: &Source) -> Result<Bytes, NoOutput> {
    match source {
        Source::Value(value) => Ok(serde_json::to_vec(value).unwrap_or_default().into()),
        Source::Output(reference) => outputs.value(reference).await,
        Source::Time | Source::Date => {
            Err(NoOutput::Wrong(format!("`{name}` is set by the schedule, and this run was not started by a schedule")))
        }
    }
}
