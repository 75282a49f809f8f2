//! Handles to submitted jobs, their status, and their outcome.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::runs::RunStatus;
use super::{Client, ClientError};
use crate::clock::Timestamp;
use crate::context::Progress;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::State;
use crate::ledger::Counts;
use crate::store::{JobView, JobWatcher};
use crate::task::TaskMessage;
use crate::task::message::Answer;

/// A handle to a submitted job.
///
/// The type parameter is the message that was submitted, so the result has the type that the task returns. The job
/// does not depend on the handle: it continues if the handle is dropped, and [`Client`] has the same methods by
/// [`JobId`], for any process with the same store.
///
/// ```
/// # #[ork::task] fn hello(name: String) -> String { format!("hello {name}") }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ork = ork::builder().store("memory:").build().await?;
/// ork.start_worker();
/// let job = ork.submit(hello { name: "Ada".into() }).await?;
/// println!("submitted as job {}", job.id());
/// assert_eq!(job.wait().await?, "hello Ada");
/// assert!(job.status().await?.ended.is_some());
/// # ork.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Handle<M> {
    client: Client,
    id: JobId,
    message: PhantomData<fn() -> M>,
}

impl<M> Handle<M> {
    pub(super) fn new(client: Client, id: JobId) -> Self {
        Self { client, id, message: PhantomData }
    }

    /// Returns the id of the job.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// Returns the current status of the job.
    ///
    /// # Errors
    /// Returns an error if the job was removed, there is no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.client.status(self.id).await
    }

    /// Waits until the job has ended, and returns its outcome, whether it succeeded or not.
    ///
    /// # Errors
    /// Returns an error if the job was removed, there is no store, or the store or a large output cannot be read. A
    /// job that failed or was cancelled is not an error here.
    ///
    /// # Cancel safety
    /// This method is cancel safe: the job continues if the future is dropped.
    pub async fn outcome(&self) -> Result<JobOutcome, ClientError> {
        self.client.wait(self.id).await
    }

    /// Cancels the job and all jobs below it, and stops what runs.
    ///
    /// # Errors
    /// As for [`Client::cancel`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been cancelled.
    pub async fn cancel(&self) -> Result<(), ClientError> {
        self.client.cancel(self.id).await
    }

    /// Returns a stream of the status of the job: the current one, then a new one after each change. The stream ends
    /// after the status in which the job has ended, or after an error.
    ///
    /// ```
    /// use futures_util::StreamExt as _;
    /// # use ork::{ClientError, Handle};
    /// # async fn example<M>(job: Handle<M>) -> Result<(), ClientError> {
    /// let mut changes = std::pin::pin!(job.progress());
    /// while let Some(status) = changes.next().await {
    ///     let status = status?;
    ///     println!("{} {:?}", status.state, status.percent());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn progress(&self) -> impl Stream<Item = Result<Status, ClientError>> + Send + use<M> {
        follow(self.client.clone(), self.id)
    }
}

impl<M: TaskMessage<Answer: Answer<Output: DeserializeOwned>>> Handle<M> {
    /// Waits until the job has ended, and returns its result.
    ///
    /// # Errors
    /// [`Failed`](ClientError::Failed) or [`Cancelled`](ClientError::Cancelled) if the job ended in that state,
    /// [`Output`](ClientError::Output) if the result cannot be deserialized, otherwise as for [`Handle::outcome`].
    ///
    /// # Cancel safety
    /// This method is cancel safe: the job continues if the future is dropped.
    pub async fn wait(&self) -> Result<<M::Answer as Answer>::Output, ClientError> {
        self.outcome().await?.into_output()
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.id).finish()
    }
}

/// The status of a job: its state, its place in the tree of jobs, its progress, and its times.
///
/// This is a snapshot. It does not change after it was read; [`Handle::progress`] and [`Client::follow`] return a new
/// one after each change.
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
    /// Why one of the job's hooks could not be sent; the hooks after it were not sent either. `None` if no hook has
    /// failed.
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
    /// How many of the jobs below this one have ended.
    pub below_ended: u64,
    /// Whether the job was cancelled, gracefully or immediately, so that nothing below it starts any more. With a
    /// graceful cancel this is set while running calls still finish.
    pub interrupted: bool,
    /// The number of parts of the job, once it is fixed: when the split has yielded its last part, or was cut short.
    /// `None` before that, as for a job that does not split.
    pub total: Option<u64>,
    /// How many parts the split has yielded so far; 0 for a job without parts.
    pub yielded: u64,
    /// How many parts have succeeded, failed, were skipped or cancelled, and how many run now.
    pub parts: Counts,
    /// The last progress that the task itself reported, if any.
    pub progress: Option<Progress>,
    /// Why the job failed or, while it is retried, why its last attempt failed.
    pub failure: Option<Failure>,
    /// When the job was submitted.
    pub created: Timestamp,
    /// When the first attempt began; `None` before it.
    pub started: Option<Timestamp>,
    /// When the job ended, together with all jobs below it; `None` before that.
    pub ended: Option<Timestamp>,
    /// When the next attempt is due, if the job waits for a retry; for a schedule, when it fires next.
    pub due: Option<Timestamp>,
}

impl Status {
    pub(super) fn new(view: JobView) -> Self {
        let JobView { job, counts, head, progress, .. } = view;
        Self {
            step: job.step().map(|(_, name)| name.to_owned()),
            run: job.workflow_run().map(|flow| RunStatus::of(job.id, flow)),
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
            interrupted: job.tree.cancel_mode.is_some(),
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

/// The shortest time between two reads of a job whose parts are changing.
const LOOK: Duration = Duration::from_millis(50);

/// Streams the status of a job: the current one, then each new one, until the job has ended.
pub(super) fn follow(client: Client, id: JobId) -> impl Stream<Item = Result<Status, ClientError>> + Send {
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
