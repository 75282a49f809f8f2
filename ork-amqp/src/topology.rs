//! The exchanges and queues that must exist on the broker, and how they are bound. `docs/wire.md` has a diagram.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, ExchangeKind};

use super::amqp_connection::AmqpConnection;
use super::error::{Failed, LinkError, is_not_found, is_precondition_failed, reason};
use ork_core::hook::Allowed;
use ork_ports::broker::{BrokerErrorKind, Subscribe};

/// The kind of queue that holds work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum QueueKind {
    /// Replicated by Raft in a cluster; survives the loss of a node. The default.
    #[default]
    Quorum,
    /// Kept on one node, with ten levels of priority.
    Classic,
}

/// The number of times that a quorum queue delivers a message before it moves it to the dead letters by itself.
///
/// ork's engine gives up long before that. This is the safety net below it, for messages that end the connection of
/// every consumer that reads them. RabbitMQ 4 would default to 20 and count every graceful stop, RabbitMQ 3 would set
/// no limit.
pub(super) const DELIVERY_LIMIT: i64 = 100;

/// The delivery limit of the dead letters, which only people take out, and may look at any number of times. RabbitMQ
/// 4 would drop them after 20 looks. Its value for "no limit", -1, makes RabbitMQ 3.10 drop them after the first.
const DEAD_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// A message that was delivered this many times is republished, which resets its delivery count, before the queue
/// gives up on it. The value is larger than any `max_worker_losses`, so that work which kills its workers still comes
/// to its end.
pub(super) const REPUBLISH_AFTER: u32 = 60;

/// A message that was delivered this many times is not declined again, but moved to the dead letters.
const DECLINES: u32 = 10;

/// The number of priority levels of a classic queue; more than ten cost RabbitMQ memory without benefit.
const PRIORITIES: u8 = 10;

/// The maximum length of a name in AMQP, in bytes.
const LONGEST: usize = 255;

/// The names of everything that ork declares; all begin with the prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The exchange for work. The routing key is the name of the task.
    pub(super) exchange: ShortString,
    /// The exchange for the messages of hooks. The routing key is the route of the hook.
    pub(super) hooks: ShortString,
    /// The exchange for events. The routing key is the type of the event.
    pub(super) events: ShortString,
    /// The exchange to which the broker sends messages that no queue accepts.
    pub(super) unrouted: ShortString,
    /// The queue of the dead letters.
    pub(super) dead: ShortString,
    prefix: String,
    pub(super) tasks: String,
    /// The routes and part queues that the hooks of a message may name.
    pub(super) allowed: Allowed,
}

impl Names {
    pub(super) fn new(prefix: &str, allowed: Allowed) -> Result<Self, LinkError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if prefix.is_empty() || prefix.len() > 100 || !prefix.bytes().all(is_allowed) {
            return Err(LinkError::new(
                BrokerErrorKind::Config,
                "invalid prefix of exchanges and queues: expected 1 to 100 letters, digits, dots, hyphens or \
                 underscores",
            ));
        }
        Ok(Self {
            exchange: short(prefix)?,
            hooks: short(&format!("{prefix}.hooks"))?,
            events: short(&format!("{prefix}.events"))?,
            unrouted: short(&format!("{prefix}.unrouted"))?,
            dead: short(&format!("{prefix}.dead"))?,
            prefix: prefix.to_owned(),
            tasks: format!("{prefix}.task."),
            allowed,
        })
    }

    /// Returns the full name of a work queue with this short name.
    pub(super) fn queue(&self, queue: &str) -> Result<ShortString, LinkError> {
        short(&format!("{}{queue}", self.tasks))
    }

    /// Returns the name of a new queue for outcomes.
    pub(super) fn reply(&self) -> Result<ShortString, LinkError> {
        short(&format!("{}.reply.{}", self.prefix, uuid::Uuid::new_v4()))
    }

    /// Returns the name of a new queue for events.
    pub(super) fn listener(&self) -> Result<ShortString, LinkError> {
        short(&format!("{}.listener.{}", self.prefix, uuid::Uuid::new_v4()))
    }

    /// Returns the task that a routing key names: the key itself, or for messages published directly to a queue what
    /// follows the prefix.
    pub(super) fn task_of<'key>(&self, routing_key: &'key str) -> &'key str {
        routing_key.strip_prefix(&self.tasks).unwrap_or(routing_key)
    }

    /// Returns whether an outcome may be sent to this queue. An outcome must never be delivered as if it were work.
    pub(super) fn takes_replies(&self, queue: &str) -> bool {
        !queue.starts_with(&self.tasks) && queue != self.dead.as_str()
    }
}

/// Converts a name to AMQP's short string.
pub(super) fn short(name: &str) -> Result<ShortString, LinkError> {
    ShortString::try_new(name).map_err(|_too_long| {
        let head: String = name.chars().take(60).collect();
        LinkError::new(
            BrokerErrorKind::Undeliverable,
            format!("the name `{head}…` has {} bytes, AMQP allows at most {LONGEST}", name.len()),
        )
    })
}

/// Everything that this process needs on the broker, declared on each new connection.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) names: Names,
    kind: QueueKind,
    /// The work queues declared so far: their short names, with their tasks.
    queues: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Topology {
    pub(super) fn new(prefix: &str, kind: QueueKind, allowed: Allowed) -> Result<Self, LinkError> {
        Ok(Self { names: Names::new(prefix, allowed)?, kind, queues: Mutex::default() })
    }

    /// Returns whether the queues count how often they deliver a message, and give up at some point.
    pub(super) const fn counts_deliveries(&self) -> bool {
        matches!(self.kind, QueueKind::Quorum)
    }

    /// Returns how many times a message may have been delivered and still be declined. A classic queue reports only
    /// whether there was any delivery before.
    pub(super) const fn declines(&self) -> u32 {
        match self.kind {
            QueueKind::Quorum => DECLINES,
            QueueKind::Classic => 1,
        }
    }

    /// Declares a work queue, and remembers it for later connections.
    pub(super) async fn declare(
        &self,
        live: &AmqpConnection,
        channel: &Channel,
        subscribe: &Subscribe,
    ) -> Result<ShortString, LinkError> {
        let Subscribe { queue, tasks, .. } = subscribe;
        let name = declare_queue(live, channel, &self.names, self.kind, queue, tasks).await?;
        let mut known = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(queue.clone(), tasks.clone());
        Ok(name)
    }

    /// Returns how many messages are in the dead letters.
    pub(super) async fn n_dead(&self, live: &AmqpConnection, channel: &Channel) -> Result<u32, LinkError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let dead = channel.queue_declare(self.names.dead.clone(), passive, FieldTable::default());
        let dead = live.within("count the dead letters", dead).await?;
        live.finish(channel).await;
        Ok(dead.message_count())
    }

    /// Returns how many messages wait in this queue; 0 if it does not exist.
    pub(super) async fn n_waiting(
        &self,
        live: &AmqpConnection,
        channel: &Channel,
        queue: &str,
    ) -> Result<u32, LinkError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declaration = channel.queue_declare(self.names.queue(queue)?, passive, FieldTable::default());
        match live.within("count the messages of a queue", declaration).await {
            Ok(found) => {
                live.finish(channel).await;
                Ok(found.message_count())
            }
            Err(Failed::Lapin(error, _)) if is_not_found(&error) => Ok(0),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Makes sure, once per connection, that everything this process needs exists.
    pub(super) async fn prepare(&self, live: &AmqpConnection) -> Result<(), LinkError> {
        let mut prepared = live.prepared.lock().await;
        if !*prepared {
            self.declare_all(live).await?;
            *prepared = true;
        }
        Ok(())
    }

    /// Declares the exchanges and every queue requested so far.
    async fn declare_all(&self, live: &AmqpConnection) -> Result<(), LinkError> {
        declare_base(live, &self.names, self.kind).await?;
        let known = self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_empty() {
            return Ok(());
        }
        let channel = live.channel("open a channel").await?;
        for (queue, tasks) in &known {
            declare_queue(live, &channel, &self.names, self.kind, queue, tasks).await?;
        }
        live.finish(&channel).await;
        Ok(())
    }
}

/// Declares the exchanges and the dead letters.
async fn declare_base(live: &AmqpConnection, names: &Names, kind: QueueKind) -> Result<(), LinkError> {
    let channel = live.channel("open a channel").await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let doing = "declare the exchanges";
    let fanout = channel.exchange_declare(names.unrouted.clone(), ExchangeKind::Fanout, durable, FieldTable::default());
    live.within(doing, fanout).await.map_err(|error| with_hint("exchange", &names.unrouted, error))?;
    let mut arguments = FieldTable::default();
    arguments.insert("alternate-exchange".into(), AMQPValue::LongString(names.unrouted.as_str().into()));
    let direct = channel.exchange_declare(names.exchange.clone(), ExchangeKind::Direct, durable, arguments);
    live.within(doing, direct).await.map_err(|error| with_hint("exchange", &names.exchange, error))?;

    let hooks = channel.exchange_declare(names.hooks.clone(), ExchangeKind::Direct, durable, FieldTable::default());
    live.within(doing, hooks).await.map_err(|error| with_hint("exchange", &names.hooks, error))?;

    let events = channel.exchange_declare(names.events.clone(), ExchangeKind::Topic, durable, FieldTable::default());
    live.within(doing, events).await.map_err(|error| with_hint("exchange", &names.events, error))?;

    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let dead = channel.queue_declare(names.dead.clone(), options, dead_arguments(kind));
    let channel = match live.within("declare the dead letters", dead).await {
        Ok(_) => channel,
        // The queue exists, declared differently by another process or a person: that is good enough for dead
        // letters.
        Err(Failed::Lapin(error, _)) if is_precondition_failed(&error) => live.channel("open a channel").await?,
        Err(error) => return Err(error.into()),
    };
    let bind = channel.queue_bind(
        names.dead.clone(),
        names.unrouted.clone(),
        ShortString::default(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    live.within("bind the dead letters", bind).await?;
    live.finish(&channel).await;
    Ok(())
}

/// Declares one work queue and binds it for its tasks.
async fn declare_queue(
    live: &AmqpConnection,
    channel: &Channel,
    names: &Names,
    kind: QueueKind,
    queue: &str,
    tasks: &[String],
) -> Result<ShortString, LinkError> {
    let queue = names.queue(queue)?;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declare = channel.queue_declare(queue.clone(), options, work_arguments(kind, names));
    live.within("declare a queue", declare).await.map_err(|error| with_hint("queue", &queue, error))?;
    let exchanges = [&names.exchange, &names.hooks];
    for (task, exchange) in tasks.iter().flat_map(|task| exchanges.map(|exchange| (task, exchange))) {
        let (queue, exchange, key) = (queue.clone(), exchange.clone(), short(task)?);
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bind = channel.queue_bind(queue, exchange, key, options, arguments);
        live.within("bind a queue", bind).await?;
    }
    Ok(queue)
}

fn work_arguments(kind: QueueKind, names: &Names) -> FieldTable {
    let mut arguments = FieldTable::default();
    match kind {
        QueueKind::Quorum => {
            arguments.insert("x-queue-type".into(), text("quorum"));
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
            arguments.insert("x-dead-letter-exchange".into(), text(names.unrouted.as_str()));
        }
        QueueKind::Classic => {
            arguments.insert("x-max-priority".into(), AMQPValue::ShortShortUInt(PRIORITIES));
        }
    }
    arguments
}

fn dead_arguments(kind: QueueKind) -> FieldTable {
    let mut arguments = FieldTable::default();
    if kind == QueueKind::Quorum {
        arguments.insert("x-queue-type".into(), text("quorum"));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DEAD_DELIVERY_LIMIT));
    }
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

/// Adds what to do if an exchange or a queue exists with other arguments.
fn with_hint(what: &str, name: &ShortString, failed: Failed) -> LinkError {
    match failed {
        Failed::Lapin(error, _) if is_precondition_failed(&error) => LinkError::new(
            BrokerErrorKind::Refused,
            format!(
                "the {what} `{name}` already exists with other arguments than ork declares; configure the queue kind \
                 it was created with (quorum or classic), choose another prefix, or empty and delete it ({})",
                reason(&error)
            ),
        ),
        failed => failed.into(),
    }
}
