//! The command `jobs output`: prints the output of a job, a workflow run or a step, as JSON and nothing else.

use std::str::FromStr;

use super::finish;
use super::format::{name, printable};
use super::{Failure, Output};
use ork_core::id::JobId;
use ork_core::job::State;
use ork_core::workflow_run::{RUN, StepState};
use ork_runtime::app::Ork;
use ork_runtime::client::Status;

/// The number of parts read at once.
const PAGE: usize = 1_000;

/// The job, or the step of a workflow run, of which the output is printed.
#[derive(Debug, Clone)]
pub(super) struct OutputTarget {
    job: JobId,
    /// The name of a step, if the job is a workflow run.
    step: Option<String>,
}

impl FromStr for OutputTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, step) = match text.split_once('.') {
            Some((id, step)) => (id, Some(step.to_owned())),
            None => (text, None),
        };
        let job = id.parse::<JobId>().map_err(|error| format!("{error}; expected a job id or RUN.STEP"))?;
        Ok(Self { job, step })
    }
}

/// Prints the output of a job or a step.
pub(super) async fn output(ork: &Ork, target: OutputTarget, output: &Output) -> Result<(), Failure> {
    let OutputTarget { job, step } = target;
    let status = match &step {
        Some(step) => job_of_step(ork, job, step).await?,
        None => ork.status(job).await?,
    };
    check_has_output(&status)?;
    if status.task == RUN {
        output.json(&finish::result(ork, job, &ork.workflows().plan_of(job).await?).await?);
        return Ok(());
    }
    match ork.wait(status.id).await?.output() {
        Some(json) => output.raw(&[json.trim_ascii_end(), b"\n"].concat()),
        None => list(ork, status.id, output).await?,
    }
    Ok(())
}

/// Returns the status of the job of a step, if the step has started.
async fn job_of_step(ork: &Ork, run: JobId, name: &str) -> Result<Status, Failure> {
    let status = ork.status(run).await?;
    let plan = ork.workflows().plan_of(run).await?;
    if !plan.steps.iter().any(|step| step.name == name) {
        let names: Vec<_> = plan.steps.iter().map(|step| &*step.name).collect();
        let message = format!("the workflow `{}` has no step `{name}`", plan.name);
        return Err(Failure::user(message).hint(format!("its steps: {}", names.join(", "))));
    }
    let step = status.run.iter().flat_map(|run| &run.steps).find(|step| step.name == name);
    match step.map(|step| (step.state, step.job)) {
        None | Some((StepState::Waiting, _)) => {
            let message = format!("step `{name}` of run {run} has not started, so it has no output yet");
            Err(Failure::user(message).hint(format!("`jobs why {run}` explains what the run is waiting for")))
        }
        Some((StepState::Skipped, _)) => {
            let message = format!("step `{name}` of run {run} was skipped, so it has no output");
            Err(Failure::job(message).hint(format!("`jobs tree {run}` shows which step failed")))
        }
        Some((StepState::Started | StepState::Succeeded | StepState::Failed | StepState::Cancelled, job)) => {
            Ok(ork.status(job).await?)
        }
    }
}

/// Returns an error unless the job has succeeded, because only then it has an output.
fn check_has_output(status: &Status) -> Result<(), Failure> {
    let (id, name) = (status.id, name(status));
    match status.state {
        State::Succeeded => Ok(()),
        State::Failed => {
            let why = status.failure.as_ref().map(|why| printable(&format!(": {why}"))).unwrap_or_default();
            let hint = match status.run {
                Some(_) => format!("`jobs output {id}.STEP` prints the output of a step that succeeded"),
                None => format!("`jobs show {id}` shows details"),
            };
            Err(Failure::job(format!("job {id} ({name}) failed, so it has no output{why}")).hint(hint))
        }
        State::Cancelled => Err(Failure::job(format!("job {id} ({name}) was cancelled, so it has no output"))),
        State::Ready | State::Running | State::Retrying | State::Waiting => {
            let message = format!("job {id} ({name}) is {}, and has no output yet", status.state);
            Err(Failure::user(message).hint(format!("`jobs watch {id}` waits for it")))
        }
    }
}

/// Prints the outputs of the parts of a job without a join, in order, with `null` for each part that did not succeed.
async fn list(ork: &Ork, id: JobId, output: &Output) -> Result<(), Failure> {
    let (mut next, mut text) = (0, b"[".to_vec());
    loop {
        let page = ork.part_outputs(id, next, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for part in page {
            // A part without a row did not succeed either.
            for index in next..=part.index {
                text.extend_from_slice(if index == 0 { b"" } else { b"," });
                let json = part.output.as_ref().filter(|_| index == part.index);
                text.extend_from_slice(json.map_or(&b"null"[..], |json| json));
            }
            next = part.index + 1;
        }
        output.raw(&text);
        text.clear();
    }
    text.extend_from_slice(b"]\n");
    output.raw(&text);
    Ok(())
}
