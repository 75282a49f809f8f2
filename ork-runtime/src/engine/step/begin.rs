//! Starts a workflow run: its first tasks are created. A run that was retried retries those of its tasks that did not
//! succeed.

use ork_workflow::{Plan, Runs};

use super::super::outcome::{CallOutcome, WorkOutcome};
use super::super::{Done, Engine, ProcessError};
use crate::id::JobId;
use crate::job::{Job, State};
use crate::message::Message;
use crate::role::JobRole;
use crate::store::Filter;
use crate::task::{CallError, Error};
use crate::tx::{ControlResult, Retry, StartWorkflow};
use crate::workflow_run::WorkflowRun;

/// Starts a claimed run.
pub(in super::super) async fn begin(
    engine: &Engine,
    job: &Job,
    message: &Message,
) -> Result<WorkOutcome, ProcessError> {
    let run = match run_of(job, message) {
        Ok(run) => run,
        Err(error) => return Ok(WorkOutcome::called(CallOutcome::Failed(error))),
    };
    for task in job.workflow_run().map(|run| run.unsuccessful_jobs(job.id)).unwrap_or_default() {
        retry(engine, task).await?;
    }
    let begin = StartWorkflow { job: job.id, attempt: job.attempt, run, actor: engine.actor() };
    engine.commit(begin).await?;
    Ok(WorkOutcome::Recorded(Done::Settled))
}

/// Retries a job that did not succeed, or those jobs below it that did not.
async fn retry(engine: &Engine, job: JobId) -> Result<(), ProcessError> {
    let mut jobs = vec![job];
    while let Some(job) = jobs.pop() {
        match engine.commit(Retry::new(job, engine.actor())).await? {
            ControlResult::OnlyBelow => {
                let states = vec![State::Failed, State::Cancelled];
                let below = Filter { states, parent: Some(job), limit: usize::from(u16::MAX), ..Filter::default() };
                jobs.extend(engine.store.jobs(below).await?.into_iter().map(|view| view.job.id));
            }
            // A job that others have retried in the meantime goes on, and the run restarts steps that depend on a
            // retried one as new jobs.
            ControlResult::Done
            | ControlResult::InvalidState(_)
            | ControlResult::AncestorCancelled(_)
            | ControlResult::Superseded(_)
            | ControlResult::PartNotRetryable(_)
            | ControlResult::KeyTaken(_)
            | ControlResult::NotFound => {}
        }
    }
    Ok(())
}

fn run_of(job: &Job, message: &Message) -> Result<WorkflowRun, CallError> {
    let plan: Plan = serde_json::from_slice(&message.body)
        .map_err(|error| CallError::Task(Error::permanent(format!("invalid plan of a workflow: {error}"))))?;
    let program = |step: &&ork_workflow::Step| !matches!(step.runs, Runs::Rust { .. });
    if let (Some(JobRole::Untrusted), Some(step)) = (job.role.as_deref(), plan.steps.iter().find(program)) {
        let detail = format!(
            "the step `{}` is not a task of this program, and a workflow run that is sent over a broker can run no \
             others: submit the run through the store, with `submit`",
            step.name
        );
        return Err(CallError::Task(Error::permanent(detail)));
    }
    WorkflowRun::of(&plan).map_err(|error| CallError::Task(Error::permanent(error.to_string())))
}
