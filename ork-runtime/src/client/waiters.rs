//! Callers of this process that wait for outcomes: a reply of the broker comes sooner, the store is the reliable
//! source.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Client, ClientError};
use crate::broker::Replies;
use crate::engine::large_outputs::OutputKey;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{ReplyTo, State};
use crate::output::OutputRef;

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Bytes>>>>;

/// The callers in this process that wait for outcomes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiters {
    queue: Option<Arc<str>>,
    waiting: Waiting,
}

impl Waiters {
    /// Creates the waiters for a reply queue, and the service that passes each reply to its waiter.
    pub(crate) fn new(replies: Replies, stop: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let Replies { queue, mut replies } = replies;
        let waiting = Waiting::default();
        let hand_out = Arc::clone(&waiting);
        let service = async move {
            loop {
                let reply = tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    reply = replies.recv() => reply,
                };
                let Some(reply) = reply else { break };
                let waiter = lock(&hand_out).remove(&reply.correlation);
                if let Some(waiter) = waiter {
                    // The caller may have stopped waiting.
                    drop(waiter.send(reply.body));
                }
            }
            lock(&hand_out).clear();
        };
        (Self { queue: Some(queue.into()), waiting }, service)
    }

    /// Returns a new waiter; `None` if this process has no reply queue.
    pub(super) fn waiter(&self) -> Option<Waiter> {
        let queue = Arc::clone(self.queue.as_ref()?);
        let (sender, reply) = oneshot::channel();
        Some(Waiter { queue, waiting: Arc::clone(&self.waiting), sender: Mutex::new(Some(sender)), reply })
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Bytes>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A caller that waits for the outcome of one job.
#[derive(Debug)]
pub(crate) struct Waiter {
    queue: Arc<str>,
    waiting: Waiting,
    sender: Mutex<Option<oneshot::Sender<Bytes>>>,
    reply: oneshot::Receiver<Bytes>,
}

/// The outcome of a job in the JSON of a reply.
#[derive(Debug, Deserialize)]
struct Outcome<'a> {
    state: State,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    output_at: Option<OutputRef>,
    error: Option<Failure>,
}

impl Waiter {
    /// Registers this waiter for the outcome of a job, and returns the address for the reply.
    pub(super) fn expect(&self, id: JobId) -> ReplyTo {
        let correlation = id.to_string();
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            lock(&self.waiting).insert(correlation.clone(), sender);
        }
        ReplyTo { queue: self.queue.to_string(), correlation }
    }

    /// Waits for the result of the job, which comes from the reply or from the store, whichever is first.
    pub(super) async fn outcome<T: DeserializeOwned>(self, client: &Client, id: JobId) -> Result<T, ClientError> {
        let guard = WaiterGuard { waiting: Arc::clone(&self.waiting), id };
        let reply = self.reply;
        let reply = if client.engine.store.records_jobs() {
            tokio::select! {
                biased;
                reply = reply => reply.ok(),
                ended = client.wait(id) => return ended?.into_output(),
            }
        } else {
            reply.await.ok()
        };
        drop(guard);
        let keeps = client.engine.store.records_jobs();
        match reply.map(|body| read(id, &body)) {
            Some(ReplyBody::Outcome(outcome)) => outcome,
            Some(ReplyBody::OutputRef(reference)) if !keeps => {
                let output = client.engine.large.fetch(OutputKey { job: id, part: None }, reference).await?;
                serde_json::from_slice(&output).map_err(|source| ClientError::Output { id, source })
            }
            Some(ReplyBody::OutputRef(_)) => client.wait(id).await?.into_output(),
            None if keeps => client.wait(id).await?.into_output(),
            None => Err(ClientError::Lost { id }),
        }
    }
}

/// The content of a reply.
enum ReplyBody<T> {
    Outcome(Result<T, ClientError>),
    /// The job has succeeded, and its output is stored outside of the reply.
    OutputRef(OutputRef),
}

fn read<T: DeserializeOwned>(id: JobId, body: &[u8]) -> ReplyBody<T> {
    let wrong = |source| ClientError::Output { id, source };
    let Outcome { state, output, output_at, error } = match serde_json::from_slice(body) {
        Ok(outcome) => outcome,
        Err(error) => return ReplyBody::Outcome(Err(wrong(error))),
    };
    ReplyBody::Outcome(match (state, error, output_at) {
        (State::Cancelled, _, _) => Err(ClientError::Cancelled { id }),
        (_, Some(failure), _) => Err(ClientError::Failed { id, failure: Box::new(failure) }),
        (_, None, Some(reference)) => return ReplyBody::OutputRef(reference),
        (_, None, None) => serde_json::from_str(output.map_or("null", RawValue::get)).map_err(wrong),
    })
}

/// Removes a waiter when it is dropped.
struct WaiterGuard {
    waiting: Waiting,
    id: JobId,
}

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.id.to_string());
    }
}
