//! The status of a job, and its outcome once it has ended.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError};
use crate::clock::Timestamp;
use crate::context::Progress;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::State;
use crate::ledger::Counts;
use crate::store::{JobView, JobWatcher};
use crate::tree::CancelMode;
use crate::workflow_run::{RunStep, StepState, WorkflowRun};

/// The status of a job: its state, its place in the tree of jobs, its progress, and its times.
///
/// This is a snapshot. It does not change after it was read; [`Handle::watch`](crate::client::Handle::watch) and
/// [`Client::watch`] return a new one after each change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The id of the job.
    pub id: JobId,
    /// The root of the tree of jobs that this one belongs to. It is the job's own id if the job has no parent.
    pub root: JobId,
    /// The parent: the job that submitted this one while it ran, or the workflow run of which this is a step.
    pub parent: Option<JobId>,
    /// The name of the task that the job runs.
    pub task: String,
    /// The name of the step that the job runs, if it belongs to a workflow run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The workflow run with its steps, if the job is a run that has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// The reason why one of the job's hooks could not be sent; the hooks after it were not sent either. `None` if no
    /// hook has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks_failed: Option<String>,
    /// The state of the job.
    pub state: State,
    /// The number of the current attempt, from 1. It never decreases. Besides retries after a failure it counts the
    /// join, retries by request, and messages that were lost and sent again.
    pub attempt: u32,
    /// The worker that runs the job, or ran it last; `None` before the first attempt.
    pub worker: Option<String>,
    /// The number of jobs below this one, on all levels.
    pub below: u64,
    /// The number of jobs below this one that have ended.
    pub below_ended: u64,
    /// The mode in which the job was cancelled; `None` if it was not. Nothing below a cancelled job starts any more.
    /// The job itself may still be open: its running calls and the jobs below it end first.
    pub cancel_mode: Option<CancelMode>,
    /// The number of parts of the job, once it is fixed: when the split has yielded its last part, or was cut short.
    /// `None` before that, as for a job that does not split.
    pub total: Option<u64>,
    /// The number of parts that the split has yielded so far; 0 for a job without parts.
    pub yielded: u64,
    /// The numbers of parts that have succeeded, failed, were skipped or cancelled, and that run now.
    pub parts: Counts,
    /// The last progress that the task itself reported, if any.
    pub progress: Option<Progress>,
    /// The failure of the job or, while it is retried, of its last attempt.
    pub failure: Option<Failure>,
    /// The time at which the job was submitted.
    pub created: Timestamp,
    /// The time at which the first attempt began; `None` before it.
    pub started: Option<Timestamp>,
    /// The time at which the job ended, together with all jobs below it; `None` before that.
    pub ended: Option<Timestamp>,
    /// The time at which the next attempt is due, if the job waits for a retry, or at which a schedule fires next.
    pub due: Option<Timestamp>,
}

impl Status {
    pub(super) fn new(view: JobView) -> Self {
        let JobView { job, counts, head, progress, .. } = view;
        Self {
            step: job.step().map(|(_, name)| name.to_owned()),
            run: job.workflow_run().map(|run| RunStatus::of(job.id, run)),
            id: job.id,
            root: job.root,
            parent: job.parent,
            task: job.task,
            hooks_failed: job.hooks.and_then(|hooks| hooks.failure),
            state: job.state,
            attempt: job.attempt,
            worker: job.worker,
            below: job.tree.descendants,
            below_ended: job.tree.descendants_ended,
            cancel_mode: job.tree.cancel_mode,
            total: head.sealed,
            yielded: head.appended,
            parts: counts,
            progress,
            failure: job.failure,
            created: job.created,
            started: job.started,
            ended: job.ended,
            due: job.due,
        }
    }

    /// Returns how far the job is, from 0 to 100, or `None` if that is not known.
    ///
    /// A job that has succeeded is at 100. Otherwise this is, in this order, the share of the steps of a workflow run
    /// that have ended, the share of the jobs below it that have ended, the share of its parts that have ended, or
    /// what the task has reported.
    pub fn percent(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "counts are far below 2^52")]
        let share = |done: u64, total: u64| done as f64 * 100.0 / total as f64;
        match (self.state, self.total, &self.progress) {
            (State::Succeeded, _, _) => Some(100.0),
            _ if self.run.is_some() => self.run.as_ref().map(RunStatus::percent),
            _ if self.below > 0 => Some(share(self.below_ended, self.below)),
            (_, Some(total), _) if total > 0 => Some(share(self.parts.settled(), total)),
            (_, _, Some(progress)) => Some(progress.percent),
            (_, _, None) => None,
        }
    }
}

/// The outcome of a job that has ended: its final status, and its output if it has succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct JobOutcome {
    status: Status,
    output: Option<Bytes>,
}

impl JobOutcome {
    pub(super) fn new(mut view: JobView) -> Self {
        let output = view.output.take();
        Self { status: Status::new(view), output }
    }

    /// Returns the final status of the job.
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Returns the output of the job as JSON. `None` if the job has not succeeded, or has parts but no join.
    pub fn output(&self) -> Option<&Bytes> {
        self.output.as_ref().filter(|_| super::is_success(self.status.state))
    }

    /// Deserializes the output of the job. A job that has succeeded without an output counts as `null`.
    ///
    /// # Errors
    /// [`Failed`](ClientError::Failed) or [`Cancelled`](ClientError::Cancelled) if the job ended in that state,
    /// [`Output`](ClientError::Output) if its output is not a `T`.
    pub fn into_output<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let Status { id, state, failure, .. } = self.status;
        match (state, failure) {
            (State::Cancelled, _) => Err(ClientError::Cancelled { id }),
            (State::Failed, Some(failure)) => Err(ClientError::Failed { id, failure: Box::new(failure) }),
            _ => {
                let output = self.output.unwrap_or_else(|| Bytes::from_static(b"null"));
                serde_json::from_slice(&output).map_err(|source| ClientError::Output { id, source })
            }
        }
    }
}

/// The minimum time between two reads of a job while its parts change.
const LOOK: Duration = Duration::from_millis(50);

/// Streams the status of a job: the current one, then each new one, until the job has ended.
pub(super) fn watch(client: Client, id: JobId) -> impl Stream<Item = Result<Status, ClientError>> + Send {
    let changes = client.engine.store.notifier();
    let (ended, moved) = (changes.of(id, false), changes.of(id, true));
    unfold(Some((client, ended, moved, None)), move |state| async move {
        let (client, mut ended, mut moved, last): (Client, JobWatcher, JobWatcher, Option<Status>) = state?;
        loop {
            match client.status(id).await {
                Err(error) => return Some((Err(error), None)),
                Ok(status) if status.state.is_final() => return Some((Ok(status), None)),
                Ok(status) if last.as_ref() != Some(&status) => {
                    let next = (client, ended, moved, Some(status.clone()));
                    return Some((Ok(status), Some(next)));
                }
                Ok(_) => {
                    let slowly = async {
                        moved.changed().await;
                        client.engine.clock.pause(LOOK).await;
                    };
                    tokio::select! {
                        biased;
                        () = ended.changed() => {}
                        () = slowly => {}
                    }
                }
            }
        }
    })
}

/// The status of a workflow run, as part of [`Status`](crate::client::Status).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunStatus {
    /// The name of the workflow.
    pub workflow: String,
    /// The steps of the run, each after the steps that it needs.
    pub steps: Vec<StepStatus>,
}

/// The status of one step of a workflow run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StepStatus {
    /// The name of the step in the workflow.
    pub name: String,
    /// The state of the step.
    pub state: StepState,
    /// The id of the job that runs the step. The job exists once the step has started.
    pub job: JobId,
}

impl RunStatus {
    /// The share of the steps that have ended, from 0 to 100.
    pub(super) fn percent(&self) -> f64 {
        let ended = self.steps.iter().filter(|step| step.state.is_final()).count();
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a workflow has at most 1,000 tasks")]
        let share = ended as f64 * 100.0 / self.steps.len().max(1) as f64;
        share
    }

    pub(super) fn of(id: JobId, run: &WorkflowRun) -> Self {
        let status = |step: &RunStep| StepStatus { name: step.name.clone(), state: step.state, job: step.job(id) };
        Self { workflow: run.workflow.clone(), steps: run.steps.iter().map(status).collect() }
    }
}
