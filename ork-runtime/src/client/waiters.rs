//! Who waits for which outcome: the broker's replies are the fast way, the store is the sure one.

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
use crate::engine::large_outputs::Whose;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{ReplyTo, State};
use crate::output::OutputRef;

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Bytes>>>>;

/// Those who wait in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiters {
    queue: Option<Arc<str>>,
    waiting: Waiting,
}

impl Waiters {
    /// Waiters for the outcomes that come to this queue, and the service that hands them out.
    pub(crate) fn new(replies: Replies, stop: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let Replies { queue, replies: mut answers } = replies;
        let waiting = Waiting::default();
        let hand_out = Arc::clone(&waiting);
        let service = async move {
            loop {
                let answer = tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    answer = answers.recv() => answer,
                };
                let Some(answer) = answer else { break };
                let waiter = lock(&hand_out).remove(&answer.correlation);
                if let Some(waiter) = waiter {
                    // Whoever waited may have given up.
                    drop(waiter.send(answer.body));
                }
            }
            lock(&hand_out).clear();
        };
        (Self { queue: Some(queue.into()), waiting }, service)
    }

    /// Somebody who waits, if outcomes come to this process at all.
    pub(super) fn waiter(&self) -> Option<Waiter> {
        let queue = Arc::clone(self.queue.as_ref()?);
        let (sender, answer) = oneshot::channel();
        Some(Waiter { queue, waiting: Arc::clone(&self.waiting), sender: Mutex::new(Some(sender)), answer })
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Bytes>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody who waits for one outcome.
#[derive(Debug)]
pub(crate) struct Waiter {
    queue: Arc<str>,
    waiting: Waiting,
    sender: Mutex<Option<oneshot::Sender<Bytes>>>,
    answer: oneshot::Receiver<Bytes>,
}

/// An outcome, as it stands in a reply.
#[derive(Debug, Deserialize)]
struct Outcome<'a> {
    state: State,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    output_at: Option<OutputRef>,
    error: Option<Failure>,
}

impl Waiter {
    /// Waits for the outcome of this job from now on; answers where it must go.
    pub(super) fn expect(&self, id: JobId) -> ReplyTo {
        let correlation = id.to_string();
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            lock(&self.waiting).insert(correlation.clone(), sender);
        }
        ReplyTo { queue: self.queue.to_string(), correlation }
    }

    /// The result of the job, from whichever side it comes first.
    pub(super) async fn outcome<T: DeserializeOwned>(self, client: &Client, id: JobId) -> Result<T, ClientError> {
        let forget = Forget { waiting: Arc::clone(&self.waiting), id };
        let told = self.answer;
        let answer = if client.engine.store.is_durable() {
            tokio::select! {
                biased;
                told = told => told.ok(),
                ended = client.wait(id) => return ended?.into_output(),
            }
        } else {
            told.await.ok()
        };
        drop(forget);
        let keeps = client.engine.store.is_durable();
        match answer.map(|body| read(id, &body)) {
            Some(Told::Outcome(outcome)) => outcome,
            Some(Told::OutputRef(note)) if !keeps => {
                let output = client.engine.large.fetch(Whose { job: id, part: None }, note).await?;
                serde_json::from_slice(&output).map_err(|source| ClientError::Output { id, source })
            }
            Some(Told::OutputRef(_)) => client.wait(id).await?.into_output(),
            None if keeps => client.wait(id).await?.into_output(),
            None => Err(ClientError::Lost { id }),
        }
    }
}

/// What a reply tells.
enum Told<T> {
    Outcome(Result<T, ClientError>),
    /// The job went well, and its output is elsewhere.
    OutputRef(OutputRef),
}

fn read<T: DeserializeOwned>(id: JobId, body: &[u8]) -> Told<T> {
    let wrong = |source| ClientError::Output { id, source };
    let Outcome { state, output, output_at, error } = match serde_json::from_slice(body) {
        Ok(outcome) => outcome,
        Err(error) => return Told::Outcome(Err(wrong(error))),
    };
    Told::Outcome(match (state, error, output_at) {
        (State::Cancelled, _, _) => Err(ClientError::Cancelled { id }),
        (_, Some(failure), _) => Err(ClientError::Failed { id, failure: Box::new(failure) }),
        (_, None, Some(note)) => return Told::OutputRef(note),
        (_, None, None) => serde_json::from_str(output.map_or("null", RawValue::get)).map_err(wrong),
    })
}

/// Forgets somebody who no longer waits.
struct Forget {
    waiting: Waiting,
    id: JobId,
}

impl Drop for Forget {
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.id.to_string());
    }
}
