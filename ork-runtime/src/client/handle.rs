//! Handles to submitted jobs.

use std::fmt;
use std::marker::PhantomData;

use futures_util::stream::Stream;
use serde::de::DeserializeOwned;

use super::status::{JobOutcome, Status, watch};
use super::{Client, ClientError};
use crate::id::JobId;
use crate::task::TaskMessage;
use crate::task::message::Answer;
use crate::tree::CancelMode;

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
/// ork.spawn_worker();
/// let job = ork.submit(hello { name: "Ada".into() }).await?;
/// println!("submitted as job {}", job.id());
/// assert_eq!(job.result().await?, "hello Ada");
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
    pub async fn wait(&self) -> Result<JobOutcome, ClientError> {
        self.client.wait(self.id).await
    }

    /// Cancels the job and all jobs below it. The mode says what happens to running calls.
    ///
    /// # Errors
    /// As for [`Client::cancel`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been cancelled.
    pub async fn cancel(&self, mode: CancelMode) -> Result<(), ClientError> {
        self.client.cancel(self.id, mode).await
    }

    /// Returns a stream of the status of the job: the current one, then a new one after each change. The stream ends
    /// after the status in which the job has ended, or after an error.
    ///
    /// ```
    /// use futures_util::StreamExt as _;
    /// # use ork::{ClientError, Handle};
    /// # async fn example<M>(job: Handle<M>) -> Result<(), ClientError> {
    /// let mut changes = std::pin::pin!(job.watch());
    /// while let Some(status) = changes.next().await {
    ///     let status = status?;
    ///     println!("{} {:?}", status.state, status.percent());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn watch(&self) -> impl Stream<Item = Result<Status, ClientError>> + Send + use<M> {
        watch(self.client.clone(), self.id)
    }
}

impl<M: TaskMessage<Answer: Answer<Output: DeserializeOwned>>> Handle<M> {
    /// Waits until the job has ended, and returns its result.
    ///
    /// # Errors
    /// [`Failed`](ClientError::Failed) or [`Cancelled`](ClientError::Cancelled) if the job ended in that state,
    /// [`Output`](ClientError::Output) if the result cannot be deserialized, otherwise as for [`Handle::wait`].
    ///
    /// # Cancel safety
    /// This method is cancel safe: the job continues if the future is dropped.
    pub async fn result(&self) -> Result<<M::Answer as Answer>::Output, ClientError> {
        self.wait().await?.into_output()
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.id).finish()
    }
}
