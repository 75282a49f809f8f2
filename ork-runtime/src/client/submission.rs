//! A submission: awaited, it is a handle; with `and_wait`, a result.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::hooks::Following;
use super::{Client, ClientError, Handle, JobOutcome, encode};
use crate::engine::services::{self, Terms};
use crate::hook::When;
use crate::id::JobId;
use crate::job::UniqueKey;
use crate::task::TaskMessage;
use crate::task::def::BoxFuture;
use crate::task::message::Answer;

/// A job about to be submitted: await it, or ask for its result.
#[derive(Debug)]
#[must_use = "a submission does nothing until it is awaited"]
pub struct Submission<M> {
    client: Client,
    message: M,
    asked: Asked,
    following: Following,
}

/// What was asked for, in whatever order.
#[derive(Debug, Default)]
struct Asked {
    after: Vec<JobId>,
    unique: Option<Arc<str>>,
    stale_after: Option<Duration>,
    joins: bool,
}

impl Asked {
    /// The terms that this comes to, for a job of this task.
    fn terms(&mut self, client: &Client, task: &str) -> Result<Terms, ClientError> {
        let after = std::mem::take(&mut self.after);
        let key = self.unique.take().map(|key| UniqueKey { key, stale_after: None });
        let mut unique = key.or_else(|| services::unique_of(&client.engine, task));
        match &mut unique {
            Some(unique) => unique.stale_after = self.stale_after,
            None if self.stale_after.is_some() || self.joins => {
                let word = if self.joins { "or_join" } else { "stale_after" };
                return Err(ClientError::NotTaken(format!(
                    "`{word}` is about a unique key, and this job of `{task}` takes none: call `unique` too"
                )));
            }
            None => {}
        }
        Ok(Terms { after, unique, ..Terms::default() })
    }
}

impl<M: TaskMessage> Submission<M> {
    pub(super) fn new(client: Client, message: M) -> Self {
        Self { client, message, asked: Asked::default(), following: Following::default() }
    }

    /// The job begins when this one has ended, with all jobs below it and however it has; this needs a store. Called
    /// several times, at most 1,000, it has the job begin when all of these have ended.
    pub fn after(mut self, job: JobId) -> Self {
        self.asked.after.push(job);
        self
    }

    /// The job takes this key, of 1 to 512 bytes, until it has ended with all jobs below it. If another job has the key,
    /// this one is refused with [`ClientError::Taken`], which names that one; this needs a store. A retry of
    /// a job that has ended takes its key again, and is refused while another one has it.
    pub fn unique(mut self, key: impl Into<Arc<str>>) -> Self {
        self.asked.unique = Some(key.into());
        self
    }

    /// The [key](Submission::unique) is taken over from a job that has shown no sign of life for so long: that job is
    /// cancelled with all jobs below it, then this one is submitted.
    ///
    /// A job shows life when it takes its key, when it begins, and every few seconds while a process works on it or on a
    /// job below it, so less than 15 s counts as 15 s. Waiting is no sign of life, be it in a queue, for a retry or for
    /// another job: choose more than a job may wait.
    pub fn stale_after(mut self, stale_after: Duration) -> Self {
        self.asked.stale_after = Some(stale_after);
        self
    }

    /// If another job has the [key](Submission::unique), that one is joined: its handle is answered, or its result.
    pub fn or_join(mut self) -> Self {
        self.asked.joins = true;
        self
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
        let Self { client, message, mut asked, following } = self;
        let body = encode(&message)?;
        let mut terms = asked.terms(&client, M::TASK)?;
        terms.hooks = following.into_kept(&client)?;
        drop(message);
        match client.send_and_wait((M::TASK, M::KIND), body, terms).await {
            Err(ClientError::Taken { by, .. }) if asked.joins => client.wait(by).await?.into_output(),
            result => result,
        }
    }
}

impl<M: TaskMessage> IntoFuture for Submission<M> {
    type Output = Result<Handle<M>, ClientError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, message, mut asked, following } = self;
        let (body, hooks) = (encode(&message), following.into_kept(&client));
        Box::pin(async move {
            let mut terms = asked.terms(&client, M::TASK)?;
            terms.hooks = hooks?;
            let id = match client.send(M::TASK, M::KIND, body?, terms, None).await {
                Err(ClientError::Taken { by, .. }) if asked.joins => by,
                sent => sent?,
            };
            Ok(Handle::new(client, id))
        })
    }
}
