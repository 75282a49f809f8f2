//! A submission: awaited, it is a handle; with `and_wait`, a result.

use std::future::IntoFuture;

use serde::de::DeserializeOwned;

use super::hooks::Following;
use super::{Client, ClientError, Handle, JobOutcome, encode};
use crate::hook::When;
use crate::task::TaskMessage;
use crate::task::def::BoxFuture;
use crate::task::message::Answer;

/// A job about to be submitted: await it, or ask for its result.
#[derive(Debug)]
#[must_use = "a submission does nothing until it is awaited"]
pub struct Submission<M> {
    client: Client,
    message: M,
    following: Following,
}

impl<M: TaskMessage> Submission<M> {
    pub(super) fn new(client: Client, message: M) -> Self {
        Self { client, message, following: Following::default() }
    }

    /// Has this submitted when the job has ended, well or not: once, in the order in which it was asked for. It is kept
    /// with the job, whose parts know nothing of it.
    pub fn on_complete<N: TaskMessage>(mut self, next: N) -> Self {
        self.following.add(next, When::Always);
        self
    }

    /// The same only if the job succeeds.
    pub fn on_success<N: TaskMessage>(mut self, next: N) -> Self {
        self.following.add(next, When::Success);
        self
    }

    /// The same only if the job does not succeed.
    pub fn on_failure<N: TaskMessage>(mut self, next: N) -> Self {
        self.following.add(next, When::Failure);
        self
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
        let Self { client, message, following } = self;
        let (body, hooks) = (encode(&message)?, following.into_kept(&client)?);
        drop(message);
        client.send_and_wait((M::TASK, M::KIND), body, hooks).await
    }
}

impl<M: TaskMessage> IntoFuture for Submission<M> {
    type Output = Result<Handle<M>, ClientError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, message, following } = self;
        let (body, hooks) = (encode(&message), following.into_kept(&client));
        Box::pin(async move {
            let id = client.send(M::TASK, M::KIND, body?, (None, hooks?)).await?;
            Ok(Handle::new(client, id))
        })
    }
}
