//! Handles of jobs, how they stand, and how they ended.

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

/// A job that was submitted, typed by its message.
pub struct Handle<M> {
    client: Client,
    id: JobId,
    message: PhantomData<fn() -> M>,
}

impl<M> Handle<M> {
    pub(super) fn new(client: Client, id: JobId) -> Self {
        Self { client, id, message: PhantomData }
    }

    /// The job's id.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// How the job stands.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.client.status(self.id).await
    }

    /// Waits for the job to end and says how, whether it has a result or not.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read.
    ///
    /// # Cancel safety
    /// The job goes on if the future is dropped.
    pub async fn outcome(&self) -> Result<JobOutcome, ClientError> {
        self.client.wait(self.id).await
    }

    /// Cancels the job.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    ///
    /// # Cancel safety
    /// The job may or may not have been cancelled if the future is dropped.
    pub async fn cancel(&self) -> Result<(), ClientError> {
        self.client.cancel(self.id).await
    }

    /// How the job stands, now and whenever that changes, until it has ended.
    pub fn progress(&self) -> impl Stream<Item = Result<Status, ClientError>> + Send + use<M> {
        follow(self.client.clone(), self.id)
    }
}

impl<M: TaskMessage<Answer: Answer<Output: DeserializeOwned>>> Handle<M> {
    /// Waits for the job's result.
    ///
    /// # Errors
    /// `Failed` or `Cancelled` if it ended so; else as [`Handle::outcome`].
    ///
    /// # Cancel safety
    /// The job goes on if the future is dropped.
    pub async fn wait(&self) -> Result<<M::Answer as Answer>::Output, ClientError> {
        self.outcome().await?.into_output()
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.id).finish()
    }
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Which job.
    pub id: JobId,
    /// The job a client submitted, from which this one comes.
    pub root: JobId,
    /// The job that created this one.
    pub parent: Option<JobId>,
    /// The task's name.
    pub task: String,
    /// The name that its workflow has for it, if it is a task of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The tasks of a run that has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// Why a hook was not sent, nor those after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks_failed: Option<String>,
    /// Its state.
    pub state: State,
    /// The current attempt, from 1.
    pub attempt: u32,
    /// Who runs it, or ran it last.
    pub worker: Option<String>,
    /// How many jobs there are below it, on every level.
    pub below: u64,
    /// How many of these have ended.
    pub below_ended: u64,
    /// Whether it was interrupted, so that nothing below it begins any more.
    pub interrupted: bool,
    /// How many parts it has; `None` while its split still yields.
    pub total: Option<u64>,
    /// How many parts its split has yielded.
    pub yielded: u64,
    /// How its parts stand.
    pub parts: Counts,
    /// How far the task says it is.
    pub progress: Option<Progress>,
    /// Why it failed, or why its last attempt did.
    pub failure: Option<Failure>,
    /// When it was submitted.
    pub created: Timestamp,
    /// When its first attempt began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When its next attempt is due.
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

    /// How far it is, from 0 to 100: the share of the jobs below it that have ended, that of its settled parts, or what
    /// the task says.
    pub fn percent(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "counts stay far below 2^52")]
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

/// How a job ended.
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

    /// How the job stands, for good.
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// The JSON of its result, if it ended well.
    pub fn output(&self) -> Option<&Bytes> {
        self.output.as_ref().filter(|_| super::is_success(self.status.state))
    }

    /// Its result.
    ///
    /// # Errors
    /// `Failed` or `Cancelled` if it ended so, `Output` if its result is of another type.
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

/// At most so often a job is looked at while its parts move.
const LOOK: Duration = Duration::from_millis(50);

/// How a job stands, now and whenever that changes, until it has ended.
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
