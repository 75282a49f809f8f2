//! A job about to be submitted: awaited, it yields a handle, and with `result` the result.

use std::future::IntoFuture;

use serde::de::DeserializeOwned;

use super::hooks::Following;
use super::unique::Unique;
use super::{Client, ClientError, Handle, Input, JobOutcome, encode};
use crate::engine::submit::{self, SubmitOptions};
use crate::hook::When;
use crate::id::JobId;
use crate::task::TaskMessage;
use crate::task::call::BoxFuture;
use crate::task::message::Answer;

/// A job about to be submitted, with its options. Made by [`Client::submit`].
///
/// Nothing is sent before it is awaited. Awaiting the submission itself submits the job and yields a [`Handle`];
/// [`result`](Submission::result) and [`wait`](Submission::wait) also wait for the end of the job.
///
/// ```
/// # #[ork::task] fn import(file: String) -> u64 { file.len() as u64 }
/// # #[ork::task] fn report(file: String) {}
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ork = ork::builder().store("memory:").build().await?;
/// # ork.spawn_worker();
/// let file = "sales.csv".to_owned();
/// let job = ork
///     .submit(import { file: file.clone() })
///     .unique("import sales.csv")
///     .on_success(report { file })
///     .await?;
/// assert_eq!(job.result().await?, 9);
/// # ork.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a submission does nothing until it is awaited"]
pub struct Submission<M> {
    client: Client,
    message: M,
    after: Vec<JobId>,
    unique: Option<Unique>,
    following: Following,
}

impl<M: TaskMessage> Submission<M> {
    pub(super) fn new(client: Client, message: M) -> Self {
        Self { client, message, after: Vec::new(), unique: None, following: Following::default() }
    }

    /// Returns the client, the input, the options, and whether the submission may join another job.
    fn prepare(self) -> Result<(Client, Input, SubmitOptions, bool), ClientError> {
        let Self { client, message, after, unique, following } = self;
        let joins = unique.as_ref().is_some_and(|unique| unique.joins);
        let unique = match unique {
            Some(unique) => Some(unique.resolve(&client, M::TASK)?),
            None => submit::unique_of(&client.engine, M::TASK),
        };
        let hooks = following.into_kept(&client)?;
        let options = SubmitOptions { after, unique, hooks, ..SubmitOptions::default() };
        Ok((client, Input::Typed(encode(&message)?), options, joins))
    }

    /// Starts the job only after `job` and all jobs below it have ended, however they ended. Requires a store.
    ///
    /// If this is called several times, at most 1,000, the job starts after all of these jobs have ended.
    pub fn after(mut self, job: JobId) -> Self {
        self.after.push(job);
        self
    }

    /// Holds a unique key until the job and all jobs below it have ended: a text of 1 to 512 bytes, or a [`Unique`],
    /// which also says what happens if another job holds the key. Requires a store.
    ///
    /// By default, the submission then fails with [`ClientError::KeyTaken`], which names the other job. A retry of a job
    /// that has ended takes its key again, and fails while another job holds it.
    pub fn unique(mut self, unique: impl Into<Unique>) -> Self {
        self.unique = Some(unique.into());
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
    pub async fn wait(self) -> Result<JobOutcome, ClientError> {
        let handle = self.await?;
        handle.wait().await
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
    pub async fn result(self) -> Result<<M::Answer as Answer>::Output, ClientError> {
        let (client, input, options, joins) = self.prepare()?;
        match client.send_and_wait(M::TASK, M::KIND, input, options).await {
            Err(ClientError::KeyTaken { by, .. }) if joins => client.wait(by).await?.into_output(),
            result => result,
        }
    }
}

impl<M: TaskMessage> IntoFuture for Submission<M> {
    type Output = Result<Handle<M>, ClientError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let prepared = self.prepare();
        Box::pin(async move {
            let (client, input, options, joins) = prepared?;
            let id = match client.send(M::TASK, M::KIND, input, options, None).await {
                Err(ClientError::KeyTaken { by, .. }) if joins => by,
                sent => sent?,
            };
            Ok(Handle::new(client, id))
        })
    }
}
