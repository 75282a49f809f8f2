//! The broker port: a small `dyn` trait that exchanges messages as plain data. `tests/contract` checks the behavior
//! that every adapter must show.
//!
//! A broker delivers at least once: possibly twice, late or out of order. It never loses a message that it has
//! confirmed, and it redelivers messages that were not settled. Effects that must happen exactly once are ensured by
//! the store, not by the broker.

mod parts;

use std::fmt;

use async_trait::async_trait;
use tokio::sync::mpsc;

use ork_core::event::Event;
use ork_core::message::{Message, Outgoing};
use ork_core::mutant::{self, Mutant};
pub use parts::{Opened, PartQueues, PartReader, PartRecord, ReadRecord};

/// Splits a comma-separated list of the URLs of a RabbitMQ cluster's nodes. A comma inside a URL does not split it.
pub fn urls(text: &str) -> Vec<String> {
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

/// An error of a broker adapter, with its kind.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BrokerError {
    kind: BrokerErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of broker errors; all adapters use them with the same meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BrokerErrorKind {
    /// The broker cannot be reached at the moment; the adapter keeps trying.
    Disconnected,
    /// The broker refuses the login, or forbids the operation.
    Refused,
    /// The message cannot be delivered: no queue accepts it.
    Undeliverable,
    /// The message is larger than the broker, or this program, allows.
    TooLarge,
    /// The broker did not answer in time.
    TimedOut,
    /// The adapter was closed.
    Closed,
    /// The configuration cannot work: a malformed URL, an unreadable certificate.
    Config,
    /// The broker sent a response that the adapter does not understand.
    Protocol,
}

impl BrokerErrorKind {
    /// Returns whether another try with the same message would fail in the same way.
    pub const fn is_permanent(self) -> bool {
        match self {
            Self::Undeliverable | Self::TooLarge | Self::Config => true,
            Self::Disconnected | Self::Refused | Self::TimedOut | Self::Closed | Self::Protocol => false,
        }
    }
}

impl BrokerError {
    /// Creates an error of this kind. `message` names the broker, never its password.
    pub fn new(kind: BrokerErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Attaches the cause of the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    pub const fn kind(&self) -> BrokerErrorKind {
        self.kind
    }
}

/// The reason why a message is dead-lettered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterReason {
    /// It is not a message for a task: wrong content type, headers or body.
    Undecodable,
    /// It is larger or more deeply nested than allowed.
    Oversized,
    /// No worker has its task.
    UnknownTask,
    /// It refers to a job, or a part of a job, that the store does not have.
    UnknownJob,
    /// Its input does not match the schema of the task.
    WrongInput,
    /// Every worker that took it died.
    Exhausted,
    /// It is a part or a join, and the workers of its queue have no store.
    NeedsStore,
    /// Its input was made for another version of the task, and fits no worker that took it.
    OtherSchema,
    /// It is one part of a set, and the queue in which the set is counted does not exist.
    NoPartQueue,
    /// It is the message of a hook, and no queue accepts it.
    NoRoute,
    /// The store cannot hold its job.
    Unstorable,
}

impl DeadLetterReason {
    /// Returns the reason as it is written to the header of a dead letter.
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

/// The disposition of a delivery, which the adapter carries out asynchronously.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// The work is done: the message is not delivered again.
    Ack,
    /// Requeued because the worker has to stop. Another worker may take the message at once. The broker never gives
    /// up on a message for this reason, however often it happens.
    Requeue,
    /// Requeued because this worker cannot run the message, but another one may be able to. Once a message has been
    /// declined too often, as far as the broker counts, it becomes a dead letter with this reason and description.
    RequeueElsewhere(DeadLetterReason, String),
    /// Moved to the dead letters, with this reason and description, and not delivered again.
    DeadLetter(DeadLetterReason, String),
}

/// The right to settle one delivery, once. If it is dropped without being used, the delivery is requeued.
pub trait Acker: Send + Sync + fmt::Debug {
    /// Settles the delivery; never waits.
    fn settle(self: Box<Self>, disposition: Disposition);

    /// Returns whether the channel of this delivery is closed. If so, the broker delivers the message again, to this
    /// process or to another one, and settling this delivery has no effect.
    fn is_channel_closed(&self) -> bool {
        false
    }
}

/// A message delivered to this process.
#[derive(Debug)]
pub struct Delivery {
    /// The message, or the reason why it could not be read.
    pub message: Result<Message, Rejected>,
    /// The number of times that it was delivered before, as far as the broker counts.
    pub redelivered: u32,
    /// Whether the message is a copy that replaced an earlier delivery. The broker does not count the deliveries of the
    /// original message.
    pub is_copy: bool,
    /// Whether its sender gave it no id. Such a message would get a new id each time it is delivered.
    pub anonymous: bool,
    /// The right to settle the delivery.
    pub acker: Box<dyn Acker>,
}

impl Delivery {
    /// Returns whether no worker can have received the message before, so that it cannot have had any effect yet.
    pub fn is_first(&self) -> bool {
        self.redelivered == 0 && (!self.is_copy || mutant::is_on(Mutant::TakesCopiesForFirst))
    }
}

/// A delivery that could not be read as a message. Fields that could not be read either are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The reason, for the header of the dead letter.
    pub reason: DeadLetterReason,
    /// The reason as a description for people.
    pub detail: String,
    /// The reply queue that expects the outcome.
    pub reply: Option<ork_core::job::ReplyTo>,
    /// The id of the job.
    pub job: Option<ork_core::id::JobId>,
    /// The task.
    pub task: Option<String>,
    /// The hooks to send at the end of the job.
    pub hooks: Option<Box<ork_core::hook::Hooks>>,
}

/// A queue to consume, and how many deliveries to take from it at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The short name of the queue: the name of a task, or its `queue` option.
    pub queue: String,
    /// The tasks whose messages are routed to the queue.
    pub tasks: Vec<String>,
    /// The maximum number of unsettled deliveries.
    pub window: u16,
    /// Whether requeuing a delivery must not count as a delivery. Without a store, the delivery count is the only
    /// record of lost calls, so the first requeue may otherwise count as a loss. If set, a copy replaces each requeued
    /// delivery. If the broker does not confirm a copy in time there may be two of them, so this is used only for work
    /// that may be lost at most once.
    pub is_exact: bool,
}

/// A stream of deliveries. It survives lost connections, and ends only when it is stopped.
#[async_trait]
pub trait Subscription: Send + fmt::Debug {
    /// Waits for the next delivery; returns `None` once stopped.
    ///
    /// # Cancel safety
    /// No delivery is lost if the future is dropped.
    async fn next(&mut self) -> Option<Delivery>;

    /// Returns the next delivery if one has already arrived.
    fn ready(&mut self) -> Option<Delivery>;

    /// Changes the maximum number of unsettled deliveries.
    fn resize(&mut self, window: u16);

    /// Stops consuming; what was delivered can still be settled.
    async fn stop(&mut self);
}

/// An outcome sent back to this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyDelivery {
    /// The value of [`ork_core::job::ReplyTo::correlation`] in the request.
    pub correlation: String,
    /// The outcome as JSON.
    pub body: bytes::Bytes,
}

/// The outcomes sent to this process.
#[derive(Debug)]
pub struct Replies {
    /// The queue to name in [`ork_core::job::ReplyTo::queue`].
    pub queue: String,
    /// Receives the outcomes as they arrive.
    pub replies: mpsc::Receiver<ReplyDelivery>,
}

/// Carries messages from the outbox of the store to workers.
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug {
    /// Returns whether a relay must publish the outbox of the store to this broker. If not, the broker reads the
    /// outbox itself.
    fn needs_relay(&self) -> bool;

    /// Returns the broker's full name of this queue.
    fn queue(&self, queue: &str) -> String {
        queue.to_owned()
    }

    /// Called when this process has received work that only another process can run, and that is delayed now. For a
    /// while a broker that reads the outbox lets others take delayed rows first.
    fn yield_delayed(&self) {}

    /// Makes sure that messages for these queues can be routed; called before the first message is published to them.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached in time, or refuses.
    async fn prepare(&self, queues: &[Subscribe]) -> Result<(), BrokerError>;

    /// Publishes messages, and returns one result for each once the broker has confirmed it.
    ///
    /// # Cancel safety
    /// Messages may or may not have been published if the future is dropped.
    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>>;

    /// Starts to consume a queue.
    ///
    /// # Errors
    /// Returns an error if the broker refuses, or cannot be reached in time.
    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError>;

    /// Opens a private queue for outcomes. Returns `None` for a broker whose outcomes are only in the store.
    ///
    /// # Errors
    /// Returns an error if the broker refuses, or cannot be reached in time.
    async fn replies(&self) -> Result<Option<Replies>, BrokerError>;

    /// Subscribes to the events of all processes, from now on. Returns `None` for a broker that carries no events.
    ///
    /// # Errors
    /// Returns an error if the broker refuses, or cannot be reached in time.
    async fn events(&self) -> Result<Option<mpsc::Receiver<Event>>, BrokerError> {
        Ok(None)
    }

    /// Returns the part queues of this broker, if it has any.
    fn parts(&self) -> Option<&dyn PartQueues> {
        None
    }

    /// Returns how many messages wait for a consumer in this queue, or `None` for a broker that reads the outbox
    /// instead of queues.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached in time, or refuses.
    async fn waiting(&self, _queue: &str) -> Result<Option<u64>, BrokerError> {
        Ok(None)
    }

    /// Checks that the broker can be reached, and describes what was found.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached, or cannot be used with this configuration.
    async fn check(&self) -> Result<String, BrokerError>;

    /// Describes the settings of the broker that can lose messages, one sentence each. Returns `None` for a broker
    /// that has no such settings.
    ///
    /// # Errors
    /// The reason why they could not be read.
    async fn hazards(&self) -> Result<Option<Vec<String>>, String> {
        Ok(None)
    }

    /// Carries out the settlements made so far and disconnects, within the adapter's own deadline.
    async fn close(&self);
}
