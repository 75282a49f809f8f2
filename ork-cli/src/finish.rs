//! Prints how a job ended for commands that waited for it: its result on stdout, or an error.

use std::process::ExitCode;

use ork_workflow::Plan;
use serde_json::{Map, Value, json};

use super::format::{name, printable};
use super::{Failure, Output};
use ork_core::id::JobId;
use ork_core::job::State;
use ork_runtime::app::Ork;
use ork_runtime::client::{JobOutcome, Status};

/// Prints the outcome of a job.
pub(super) fn job(outcome: &JobOutcome, output: &Output) -> Result<ExitCode, Failure> {
    let status = outcome.status();
    match (status.state, outcome.output()) {
        (State::Succeeded, Some(json)) => output.result(json),
        // A job with parts but no join has no output, so the counts of its parts are printed.
        (State::Succeeded, None) => {
            let (succeeded, all) = (status.parts.succeeded, status.parts.settled());
            output.print_result(status.parts, format_args!("{succeeded} of {all} parts succeeded"));
        }
        _ => return Err(job_failure(status)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the outcome of a workflow run.
pub(super) async fn run(ork: &Ork, status: &Status, output: &Output) -> Result<ExitCode, Failure> {
    let result = result(ork, status.id, &ork.workflows().plan_of(status.id).await?).await?;
    if output.is_json() {
        output.json(&report(status, &result));
    }
    if status.state != State::Succeeded {
        return Err(job_failure(status));
    }
    if !output.is_json() {
        output.result(&serde_json::to_vec(&result).unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

fn job_failure(status: &Status) -> Failure {
    let id = status.id;
    let why = status.failure.as_ref().map_or_else(|| "it was cancelled".into(), |why| printable(&why.to_string()));
    Failure::job(format!("job {id} ({}) {}: {why}", name(status), status.state))
        .hint(format!("`jobs show {id}` shows details; `jobs retry {id}` retries what did not succeed"))
}

/// Returns the result of a workflow run: the outputs of the steps that no other step needs, by their names; if there
/// is only one, its output alone.
pub(super) async fn result(ork: &Ork, run: JobId, plan: &Plan) -> Result<Value, Failure> {
    let needed = |at: usize| plan.steps.iter().any(|step| step.needs.contains(&at));
    let last = plan.steps.iter().enumerate().filter(|(at, _)| !needed(*at)).map(|(_, step)| &step.name);
    let mut outputs = Map::new();
    for name in last {
        outputs.insert(name.clone(), ork.workflows().step_output(run, name).await?.unwrap_or_default());
    }
    Ok(match outputs.len() {
        1 => outputs.into_iter().next().map(|(_, output)| output).unwrap_or_default(),
        _ => Value::Object(outputs),
    })
}

/// The outcome of a workflow run as JSON, for programs.
fn report(status: &Status, result: &Value) -> Value {
    let steps = status.run.as_ref().map(|run| &run.steps);
    json!({ "run": status.id, "state": status.state, "steps": steps, "result": result })
}
