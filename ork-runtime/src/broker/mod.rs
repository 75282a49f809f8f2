//! The broker port: how messages travel. Small, `dyn`, plain data; `tests/contract` says what every adapter does.
//!
//! A broker delivers at least once. It may deliver twice, late and in another order; it never loses what it confirmed,
//! and what is not settled comes again. Who must do what exactly once is the store's business, not the broker's.

pub mod embedded;
mod parts;

use std::fmt;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::event::Event;
use crate::message::{Message, Outgoing};
pub use parts::{Opened, PartQueues, PartReader, PartRecord, ReadRecord};

#[cfg(feature = "amqp")]
pub mod amqp;

/// The URLs of one RabbitMQ's nodes, which have commas between them. A comma within a URL is none of these.
pub(crate) fn urls(text: &str) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for piece in text.split(',') {
        let begins = ["amqp://", "amqps://"].iter().any(|scheme| piece.trim_start().starts_with(scheme));
        match urls.last_mut() {
            Some(url) if !begins => url.extend([",", piece]),
            _ => urls.push(piece.trim_start().to_owned()),
        }
    }
    urls
}

/// What an adapter could not do, and which kind of trouble that is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BrokerError {
    kind: BrokerErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of trouble with a broker; every adapter means the same by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BrokerErrorKind {
    /// It cannot be reached just now; the adapter goes on trying.
    Disconnected,
    /// It does not let us in, or forbids what was asked.
    Refused,
    /// This message cannot be delivered: no queue takes it.
    Undeliverable,
    /// This message is larger than the broker, or this program, lets one be.
    TooLarge,
    /// It did not answer in time.
    TimedOut,
    /// The adapter was closed.
    Closed,
    /// The configuration cannot work: a malformed URL, an unreadable certificate.
    Config,
    /// It answered something the adapter does not understand.
    Protocol,
}

impl BrokerError {
    /// An error of this kind; `message` names the broker, never its password.
    pub fn new(kind: BrokerErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Which kind of trouble it is.
    pub const fn kind(&self) -> BrokerErrorKind {
        self.kind
    }
}

/// Why a message goes to the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// It is not the message of a task: wrong content type, headers or body.
    Undecodable,
    /// Larger or deeper than accepted.
    Oversized,
    /// No worker knows its task.
    UnknownTask,
    /// It is about a job, or a part of one, that the store does not have.
    UnknownJob,
    /// Its input is not what the task takes.
    WrongInput,
    /// Every worker that took it died.
    Exhausted,
    /// It is a part or a join, and the workers of its queue have no store.
    NeedsStore,
    /// Its input was made for another version of the task, and fits no worker that took it.
    OtherSchema,
    /// It is one of a set of parts, and the queue is not there in which they are counted.
    NoPartQueue,
    /// It follows a job that has ended, and no queue takes it.
    NoRoute,
    /// The store cannot hold its job.
    Unstorable,
}

impl DeadLetterReason {
    /// The word in the headers of a dead letter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Oversized => "oversized",
            Self::UnknownTask => "unknown-task",
            Self::UnknownJob => "unknown-job",
            Self::WrongInput => "wrong-input",
            Self::Exhausted => "exhausted",
            Self::NeedsStore => "needs-store",
            Self::OtherSchema => "other-schema",
            Self::NoPartQueue => "no-part-queue",
            Self::NoRoute => "no-route",
            Self::Unstorable => "unstorable",
        }
    }
}

/// What becomes of a delivery. The adapter carries it out in its own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Done with: it is not delivered again.
    Ack,
    /// Given back, as the worker has to stop: somebody else may have it at once. However often that happens, the
    /// broker does not give up on it.
    Requeue,
    /// Given back, as this worker cannot run it and somebody else perhaps can. If it was declined too often, as far as
    /// the broker counts, it is put aside with the reason in words.
    RequeueElsewhere(DeadLetterReason, String),
    /// Put aside, with the reason in words, and not delivered again.
    DeadLetter(DeadLetterReason, String),
}

/// The right to settle one delivery, once. Dropped without, the delivery counts as released.
pub trait Acker: Send + fmt::Debug {
    /// Says what becomes of the delivery; never waits.
    fn settle(self: Box<Self>, settlement: Disposition);

    /// Whether the channel of this delivery is closed: the broker delivers the message again, to this process or to
    /// another one, and a settlement of this delivery has no effect.
    fn is_channel_closed(&self) -> bool {
        false
    }
}

/// A message handed to this process.
#[derive(Debug)]
pub struct Delivery {
    /// The message, or why it is none.
    pub message: Result<Message, Rejected>,
    /// How often it was delivered before, as far as the broker counts.
    pub redelivered: u32,
    /// Whether its sender gave it no id, so that it would get another one if it were delivered again.
    pub anonymous: bool,
    /// The right to settle it.
    pub acker: Box<dyn Acker>,
}

/// A delivery that is no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// What is wrong, for the headers of the dead letter.
    pub reason: DeadLetterReason,
    /// The same in words.
    pub detail: String,
    /// Who waits for an answer, if that much could be read.
    pub reply: Option<crate::job::ReplyTo>,
    /// The job's id, if that much could be read.
    pub job: Option<crate::id::JobId>,
    /// The task, if that much could be read.
    pub task: Option<String>,
    /// What follows its end, if that much could be read.
    pub hooks: Option<Box<crate::hook::Hooks>>,
}

/// One queue to consume and how much of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The queue's short name: a task's own name, or its `queue` option.
    pub queue: String,
    /// The tasks whose messages travel through it.
    pub tasks: Vec<String>,
    /// At most this many unsettled deliveries.
    pub window: u16,
}

/// A stream of deliveries. It outlives lost connections; it ends only when it is stopped.
#[async_trait]
pub trait Subscription: Send + fmt::Debug {
    /// The next delivery; `None` once stopped.
    ///
    /// # Cancel safety
    /// No delivery is lost if the future is dropped.
    async fn next(&mut self) -> Option<Delivery>;

    /// The next delivery if it is here already.
    fn ready(&mut self) -> Option<Delivery>;

    /// Changes how many unsettled deliveries there may be.
    fn resize(&mut self, window: u16);

    /// Asks for no more; what was delivered can still be settled.
    async fn stop(&mut self);
}

/// An outcome that came back to this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyDelivery {
    /// What [`crate::job::ReplyTo::correlation`] said.
    pub correlation: String,
    /// The outcome's JSON.
    pub body: bytes::Bytes,
}

/// Outcomes for this process.
#[derive(Debug)]
pub struct Replies {
    /// The queue to name in [`crate::job::ReplyTo::queue`].
    pub queue: String,
    /// The outcomes, as they come in.
    pub replies: mpsc::Receiver<ReplyDelivery>,
}

/// How messages travel between the store's outbox and workers.
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug {
    /// Whether somebody must carry the store's outbox to it. If not, it takes the outbox itself.
    fn needs_relay(&self) -> bool;

    /// What the broker calls this queue.
    fn queue(&self, queue: &str) -> String {
        queue.to_owned()
    }

    /// Makes sure that messages of these queues find their place; called before the first publish to them.
    ///
    /// # Errors
    /// When the broker cannot be reached in time, or refuses.
    async fn prepare(&self, queues: &[Subscribe]) -> Result<(), BrokerError>;

    /// Publishes, and answers for each message when the broker has confirmed it.
    ///
    /// # Cancel safety
    /// Messages may or may not have been published if the future is dropped.
    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>>;

    /// Starts to consume a queue.
    ///
    /// # Errors
    /// When the broker refuses, or cannot be reached in time.
    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError>;

    /// A private queue for outcomes; `None` for a broker whose outcomes are in the store alone.
    ///
    /// # Errors
    /// When the broker refuses, or cannot be reached in time.
    async fn replies(&self) -> Result<Option<Replies>, BrokerError>;

    /// Events of all processes, from now on; `None` for a broker that carries none.
    ///
    /// # Errors
    /// When the broker refuses, or cannot be reached in time.
    async fn events(&self) -> Result<Option<mpsc::Receiver<Event>>, BrokerError> {
        Ok(None)
    }

    /// Its part queues, if it has any.
    fn parts(&self) -> Option<&dyn PartQueues> {
        None
    }

    /// How many messages wait in this queue for a consumer; `None` for a broker that has none of its own.
    ///
    /// # Errors
    /// When the broker cannot be reached in time, or refuses.
    async fn waiting(&self, _queue: &str) -> Result<Option<u64>, BrokerError> {
        Ok(None)
    }

    /// Asks whether the broker can be reached, and says in words what was found.
    ///
    /// # Errors
    /// What is wrong.
    async fn check(&self) -> Result<String, BrokerError>;

    /// How the broker is set up to lose messages, a sentence each; `None` for a broker that cannot be.
    ///
    /// # Errors
    /// Why that cannot be said.
    async fn hazards(&self) -> Result<Option<Vec<String>>, String> {
        Ok(None)
    }

    /// Settles what was said and lets go of the broker, within a deadline of its own.
    async fn close(&self);
}
