//! Cancels a job with all jobs below it; and runs `ork.cancel`, by which a program without the store requests that.

use serde::Deserialize;

use super::Engine;
use super::outcome::CallOutcome;
use crate::id::JobId;
use crate::job::State;
use crate::message::Message;
use crate::store::{Filter, JobView, StoreError};
use crate::task::{CallError, Error};
use crate::tree::CancelMode;
use crate::tx::{Cancel, ControlResult};

/// The number of jobs that are read at once.
const PAGE: usize = 500;

/// Cancels a job and all jobs below it. When this returns, the outbox rows of that have been passed to the relay.
///
/// # Cancel safety
/// If the future is dropped, the job may or may not have been cancelled. If it has, nothing starts below it any more.
pub(crate) async fn cancel(engine: &Engine, id: JobId, mode: CancelMode) -> Result<ControlResult, StoreError> {
    let request = Cancel { job: id, mode, from_ancestor: false, actor: engine.actor() };
    match engine.commit(request).await? {
        ControlResult::Done => {}
        other => return Ok(other),
    }
    // From here on nothing starts below the job. The rest only makes the cancel known sooner, and stops running
    // calls.
    let mut parents = vec![id];
    while let Some(parent) = parents.pop() {
        let mut before = None;
        loop {
            let states = State::ALL.into_iter().filter(|state| !state.is_final()).collect();
            let filter = Filter { states, parent: Some(parent), before, limit: PAGE, ..Filter::default() };
            let children = engine.store.jobs(filter).await?;
            let request =
                |child: &JobView| Cancel { job: child.job.id, mode, from_ancestor: true, actor: engine.actor() };
            engine.commit_all(children.iter().map(request).collect()).await?;
            parents.extend(children.iter().filter(|child| child.job.tree.open_children > 0).map(|child| child.job.id));
            match children.last() {
                Some(last) => before = Some(last.job.id),
                None => break,
            }
        }
    }
    Ok(ControlResult::Done)
}

/// The input of `ork.cancel`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelInput {
    /// The id of the job, or the `message_id` that its sender gave it.
    job: String,
}

/// Runs a job of `ork.cancel`. It needs no slot, as the jobs that it cancels may hold them all.
pub(super) async fn run(engine: &Engine, message: &Message) -> Result<CallOutcome, StoreError> {
    let no = |detail: String| Ok(CallOutcome::Failed(CallError::Task(Error::permanent(detail))));
    let input: CancelInput = match serde_json::from_slice(&message.body) {
        Ok(input) => input,
        Err(error) => return no(format!("expected {{\"job\": ID}}: {error}")),
    };
    if !engine.store.records_jobs() {
        return no("cancelling a job requires a store: set ORK_STORE".into());
    }
    let id = JobId::from_foreign(&input.job);
    match cancel(engine, id, CancelMode::Immediate).await? {
        ControlResult::InvalidState(state) => {
            no(format!("job {id} is {state}: only a job that has not ended can be cancelled"))
        }
        ControlResult::NotFound => no(format!("there is no job {id} in the store of this worker")),
        ControlResult::AncestorCancelled(above) => {
            no(format!("its ancestor {above} was cancelled, which cancels this job too"))
        }
        ControlResult::Done
        | ControlResult::OnlyBelow
        | ControlResult::Superseded(_)
        | ControlResult::KeyTaken(_)
        | ControlResult::PartNotRetryable(_) => Ok(CallOutcome::Returned("null".into())),
    }
}
