//! A submission: awaited, it is a handle; with `and_wait`, a result.

use std::future::IntoFuture;

use serde::de::DeserializeOwned;

use super::{Client, ClientError, Handle, JobOutcome, encode};
use crate::id::JobId;
use crate::task::TaskMessage;
use crate::task::def::BoxFuture;
use crate::task::message::Answer;

/// A job about to be submitted: await it, or ask for its result.
#[derive(Debug)]
#[must_use = "a submission does nothing until it is awaited"]
pub struct Submission<M> {
    client: Client,
    message: M,
    after: Option<JobId>,
}

impl<M: TaskMessage> Submission<M> {
    pub(super) const fn new(client: Client, message: M) -> Self {
        Self { client, message, after: None }
    }

    /// The job begins when this one has ended, with all jobs below it and however it has; this needs a store.
    pub fn after(self, job: JobId) -> Self {
        Self { after: Some(job), ..self }
    }

    /// Submits the job and waits for it to end, whether it has a result or not.
    ///
    /// # Errors
    /// When it cannot be submitted, or its outcome cannot be read.
    ///
    /// # Cancel safety
    /// The job goes on if the future is dropped.
    pub async fn and_outcome(self) -> Result<JobOutcome, ClientError> {
        let handle = self.await?;
        handle.outcome().await
    }
}

impl<M: TaskMessage<Answer: Answer<Output: DeserializeOwned>>> Submission<M> {
    /// Submits the job and waits for its result.
    ///
    /// # Errors
    /// When it cannot be submitted; `Failed` or `Cancelled` if it ended so.
    ///
    /// # Cancel safety
    /// The job goes on if the future is dropped.
    pub async fn and_wait(self) -> Result<<M::Answer as Answer>::Output, ClientError> {
        let Self { client, message, after } = self;
        let body = encode(&message)?;
        drop(message);
        client.send_and_wait(M::TASK, M::KIND, body, after).await
    }
}

impl<M: TaskMessage> IntoFuture for Submission<M> {
    type Output = Result<Handle<M>, ClientError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, message, after } = self;
        let body = encode(&message);
        Box::pin(async move {
            let id = client.send(M::TASK, M::KIND, body?, after, None).await?;
            Ok(Handle::new(client, id))
        })
    }
}
