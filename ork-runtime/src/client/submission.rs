//! A job about to be submitted: awaited, it yields a handle, and with `and_wait` the result.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::hooks::Following;
use super::{Client, ClientError, Handle, Input, JobOutcome, encode};
use crate::engine::submit::{self, SubmitOptions};
use crate::hook::When;
use crate::id::JobId;
use crate::job::UniqueKey;
use crate::task::TaskMessage;
use crate::task::call::BoxFuture;
use crate::task::message::Answer;

/// A job about to be submitted, with its options. Made by [`Client::submit`].
///
/// Nothing is sent before it is awaited. Awaiting the submission itself submits the job and yields a [`Handle`];
/// [`and_wait`](Submission::and_wait) and [`and_outcome`](Submission::and_outcome) also wait for the end of the job.
///
/// ```
/// # #[ork::task] fn import(file: String) -> u64 { file.len() as u64 }
/// # #[ork::task] fn report(file: String) {}
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ork = ork::builder().store("memory:").build().await?;
/// # ork.start_worker();
/// let file = "sales.csv".to_owned();
/// let job = ork
///     .submit(import { file: file.clone() })
///     .unique("import sales.csv")
///     .on_success(report { file })
///     .await?;
/// assert_eq!(job.wait().await?, 9);
/// # ork.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a submission does nothing until it is awaited"]
pub struct Submission<M> {
    client: Client,
    message: M,
    requested: RequestedOptions,
    following: Following,
}

/// The options given so far. They may be given in any order, so they are checked together when the job is submitted.
#[derive(Debug, Default)]
struct RequestedOptions {
    after: Vec<JobId>,
    unique: Option<Arc<str>>,
    stale_after: Option<Duration>,
    joins: bool,
}

impl RequestedOptions {
    /// Checks the options, and returns those of a submission of this task.
    fn resolve(&mut self, client: &Client, task: &str) -> Result<SubmitOptions, ClientError> {
        let after = std::mem::take(&mut self.after);
        let key = self.unique.take().map(|key| UniqueKey { key, stale_after: None });
        let mut unique = key.or_else(|| submit::unique_of(&client.engine, task));
        match &mut unique {
            Some(unique) => unique.stale_after = self.stale_after,
            None if self.stale_after.is_some() || self.joins => {
                let word = if self.joins { "or_join" } else { "stale_after" };
                return Err(ClientError::NotTaken(format!(
                    "`{word}` requires a unique key, and this job of `{task}` has none: call `unique` too"
                )));
            }
            None => {}
        }
        Ok(SubmitOptions { after, unique, ..SubmitOptions::default() })
    }
}

impl<M: TaskMessage> Submission<M> {
    pub(super) fn new(client: Client, message: M) -> Self {
        Self { client, message, requested: RequestedOptions::default(), following: Following::default() }
    }

    /// Starts the job only after `job` and all jobs below it have ended, however they ended. Requires a store.
    ///
    /// If this is called several times, at most 1,000, the job starts after all of these jobs have ended.
    pub fn after(mut self, job: JobId) -> Self {
        self.requested.after.push(job);
        self
    }

    /// Holds the unique key `key`, of 1 to 512 bytes, until the job and all jobs below it have ended. Requires a
    /// store.
    ///
    /// If another job holds the key, the submission fails with [`ClientError::Taken`], which names that job. A retry
    /// of a job that has ended takes its key again, and fails while another job holds it.
    pub fn unique(mut self, key: impl Into<Arc<str>>) -> Self {
        self.requested.unique = Some(key.into());
        self
    }

    /// Takes over the [unique key](Submission::unique) if the job that holds it has been inactive for this long: that
    /// job is cancelled with all jobs below it, and then this one is submitted.
    ///
    /// A job is active when it acquires its key, when it starts, and every few seconds while a process works on it or
    /// on a job below it, so a value below 15 s counts as 15 s. A job that waits is not active, whether it waits in a
    /// queue, for a retry, or for another job: choose a value longer than a job may have to wait.
    pub fn stale_after(mut self, stale_after: Duration) -> Self {
        self.requested.stale_after = Some(stale_after);
        self
    }

    /// Joins the job that holds the [unique key](Submission::unique), if there is one, instead of failing: the
    /// handle, or the result, is that of the other job.
    pub fn or_join(mut self) -> Self {
        self.requested.joins = true;
        self
    }

    /// Submits `next` once after the job has ended, whether it succeeded or not.
    ///
    /// Several follow-up messages are submitted in the order in which they were added. They are recorded with the job
    /// as a whole; its parts do not have them.
    pub fn on_complete<N: TaskMessage>(mut self, next: N) -> Self {
        self.following.add(next, When::Always);
        self
    }

    /// Submits `next` once after the job has succeeded, as [`on_complete`](Submission::on_complete) does.
    pub fn on_success<N: TaskMessage>(mut self, next: N) -> Self {
        self.following.add(next, When::Success);
        self
    }

    /// Submits `next` once after the job has failed or was cancelled, as [`on_complete`](Submission::on_complete)
    /// does.
    pub fn on_failure<N: TaskMessage>(mut self, next: N) -> Self {
        self.following.add(next, When::Failure);
        self
    }

    /// Submits the job, waits until it has ended, and returns its outcome, whether it succeeded or not. Requires a
    /// store.
    ///
    /// # Errors
    /// Returns an error if the job cannot be submitted, or its outcome cannot be read.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been submitted; a submitted job continues.
    pub async fn and_outcome(self) -> Result<JobOutcome, ClientError> {
        let handle = self.await?;
        handle.outcome().await
    }
}

impl<M: TaskMessage<Answer: Answer<Output: DeserializeOwned>>> Submission<M> {
    /// Submits the job, waits until it has ended, and returns its result. This works without a store, too, over a
    /// broker that has replies.
    ///
    /// # Errors
    /// Returns an error if the job cannot be submitted; [`Failed`](ClientError::Failed) or
    /// [`Cancelled`](ClientError::Cancelled) if it ended in that state; [`Lost`](ClientError::Lost) if there is no
    /// store and the outcome did not arrive.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been submitted; a submitted job continues.
    pub async fn and_wait(self) -> Result<<M::Answer as Answer>::Output, ClientError> {
        let Self { client, message, mut requested, following } = self;
        let input = Input::Typed(encode(&message)?);
        let mut options = requested.resolve(&client, M::TASK)?;
        options.hooks = following.into_kept(&client)?;
        drop(message);
        match client.send_and_wait(M::TASK, M::KIND, input, options).await {
            Err(ClientError::Taken { by, .. }) if requested.joins => client.wait(by).await?.into_output(),
            result => result,
        }
    }
}

impl<M: TaskMessage> IntoFuture for Submission<M> {
    type Output = Result<Handle<M>, ClientError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, message, mut requested, following } = self;
        let (body, hooks) = (encode(&message), following.into_kept(&client));
        Box::pin(async move {
            let mut options = requested.resolve(&client, M::TASK)?;
            options.hooks = hooks?;
            let id = match client.send(M::TASK, M::KIND, Input::Typed(body?), options, None).await {
                Err(ClientError::Taken { by, .. }) if requested.joins => by,
                sent => sent?,
            };
            Ok(Handle::new(client, id))
        })
    }
}
