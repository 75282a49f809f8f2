//! What must exist on the broker: the exchanges, the queues and how they hang together. `docs/wire.md` draws it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, ExchangeKind};

use super::error::{Trouble, is_not_found, is_not_taken, words};
use super::live::Live;
use crate::broker::{BrokerErrorKind, Subscribe};
use crate::hook::Allowed;

/// Which kind of queue keeps the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum QueueKind {
    /// Replicated by Raft where there is a cluster; survives the loss of a node. The default.
    #[default]
    Quorum,
    /// One node's queue, with ten levels of priority.
    Classic,
}

/// How often a quorum queue delivers a message before it gives it to the dead letters by itself.
///
/// ork's engine gives up long before. This is the net below it, for messages that end the connection of whoever
/// reads them. RabbitMQ 4 would set 20 and count every graceful stop, RabbitMQ 3 would set none.
pub(super) const DELIVERY_LIMIT: i64 = 100;

/// The same for the dead letters, which only a person takes out, and looks at as often as they like. RabbitMQ 4 would
/// drop them after 20 looks. Its word for no limit, -1, makes RabbitMQ 3.10 drop them after the first.
const DEAD_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// A message that was delivered so often gets a new place, and its count begins anew, before the queue gives up on it.
/// More than any `max_losses`, so that work which kills its workers still comes to its end.
pub(super) const WORN: u32 = 60;

/// A message that was delivered so often is not declined once more, but put aside.
const DECLINES: u32 = 10;

/// The levels of priority of a classic queue; more than ten cost RabbitMQ memory for nothing.
const PRIORITIES: u8 = 10;

/// The longest name AMQP can carry.
const LONGEST: usize = 255;

/// The names of everything ork declares; all begin with the prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Work is published here, with the task's name as routing key.
    pub(super) exchange: ShortString,
    /// What follows jobs that have ended is published here, with its route as routing key.
    pub(super) hooks: ShortString,
    /// Events are published here, with their type as routing key.
    pub(super) events: ShortString,
    /// Where the broker sends what no queue takes.
    pub(super) unrouted: ShortString,
    /// The dead letters.
    pub(super) dead: ShortString,
    prefix: String,
    pub(super) tasks: String,
    /// What the hooks of messages may name.
    pub(super) allowed: Allowed,
}

impl Names {
    pub(super) fn new(prefix: &str, allowed: Allowed) -> Result<Self, Trouble> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if prefix.is_empty() || prefix.len() > 100 || !prefix.bytes().all(good) {
            return Err(Trouble::new(
                BrokerErrorKind::Config,
                "the prefix of exchanges and queues must have 1 to 100 letters, digits, dots, hyphens or underscores",
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

    /// The broker's name of the queue that is `queue` in short.
    pub(super) fn queue(&self, queue: &str) -> Result<ShortString, Trouble> {
        short(&format!("{}{queue}", self.tasks))
    }

    /// The name of a new queue for outcomes.
    pub(super) fn reply(&self) -> Result<ShortString, Trouble> {
        short(&format!("{}.reply.{}", self.prefix, uuid::Uuid::new_v4()))
    }

    /// The name of a new queue for events.
    pub(super) fn listener(&self) -> Result<ShortString, Trouble> {
        short(&format!("{}.listener.{}", self.prefix, uuid::Uuid::new_v4()))
    }

    /// The task that a routing key names: itself, or what follows the prefix of a queue published to directly.
    pub(super) fn task_of<'key>(&self, routing_key: &'key str) -> &'key str {
        routing_key.strip_prefix(&self.tasks).unwrap_or(routing_key)
    }

    /// Whether an outcome may go to this queue. Nobody may have an outcome delivered as if it were work.
    pub(super) fn takes_replies(&self, queue: &str) -> bool {
        !queue.starts_with(&self.tasks) && queue != self.dead.as_str()
    }
}

/// A name as AMQP carries it.
pub(super) fn short(name: &str) -> Result<ShortString, Trouble> {
    ShortString::try_new(name).map_err(|_too_long| {
        let head: String = name.chars().take(60).collect();
        Trouble::new(
            BrokerErrorKind::Undeliverable,
            format!("the name `{head}…` has {} bytes, AMQP carries at most {LONGEST}", name.len()),
        )
    })
}

/// Everything this process needs on the broker, to be declared on each new connection.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) names: Names,
    kind: QueueKind,
    /// The queues of work that were asked for, by their short names.
    queues: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Topology {
    pub(super) fn new(prefix: &str, kind: QueueKind, allowed: Allowed) -> Result<Self, Trouble> {
        Ok(Self { names: Names::new(prefix, allowed)?, kind, queues: Mutex::default() })
    }

    /// Whether the queues count how often they deliver a message, and give up at some point.
    pub(super) const fn counts_deliveries(&self) -> bool {
        matches!(self.kind, QueueKind::Quorum)
    }

    /// How many deliveries a message may have behind it and still be declined; a classic queue says only whether there
    /// was any.
    pub(super) const fn declines(&self) -> u32 {
        match self.kind {
            QueueKind::Quorum => DECLINES,
            QueueKind::Classic => 1,
        }
    }

    /// Declares a queue of work, and remembers it for the connections to come.
    pub(super) async fn declare(
        &self,
        live: &Live,
        channel: &Channel,
        subscribe: &Subscribe,
    ) -> Result<ShortString, Trouble> {
        let Subscribe { queue, tasks, .. } = subscribe;
        let name = declare_queue(live, channel, &self.names, self.kind, queue, tasks).await?;
        let mut known = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(queue.clone(), tasks.clone());
        Ok(name)
    }

    /// How many messages are with the dead letters.
    pub(super) async fn n_dead(&self, live: &Live, channel: &Channel) -> Result<u32, Trouble> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let dead = channel.queue_declare(self.names.dead.clone(), passive, FieldTable::default());
        let dead = live.within("count the dead letters", dead).await?;
        live.finish(channel).await;
        Ok(dead.message_count())
    }

    /// How many messages wait in this queue; none if it is not there.
    pub(super) async fn n_waiting(&self, live: &Live, channel: &Channel, queue: &str) -> Result<u32, Trouble> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = channel.queue_declare(self.names.queue(queue)?, passive, FieldTable::default());
        match live.within("count the messages of a queue", asked).await {
            Ok(found) => {
                live.finish(channel).await;
                Ok(found.message_count())
            }
            Err(Failed::Lapin(error, _)) if is_not_found(&error) => Ok(0),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Declares whatever was asked for until now.
    pub(super) async fn declare_all(&self, live: &Live) -> Result<(), Trouble> {
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
async fn declare_base(live: &Live, names: &Names, kind: QueueKind) -> Result<(), Trouble> {
    let channel = live.channel("open a channel").await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let doing = "declare the exchanges";
    let fanout = channel.exchange_declare(names.unrouted.clone(), ExchangeKind::Fanout, durable, FieldTable::default());
    live.within(doing, fanout).await.map_err(|error| otherwise("exchange", &names.unrouted, error))?;
    let mut arguments = FieldTable::default();
    arguments.insert("alternate-exchange".into(), AMQPValue::LongString(names.unrouted.as_str().into()));
    let direct = channel.exchange_declare(names.exchange.clone(), ExchangeKind::Direct, durable, arguments);
    live.within(doing, direct).await.map_err(|error| otherwise("exchange", &names.exchange, error))?;

    let hooks = channel.exchange_declare(names.hooks.clone(), ExchangeKind::Direct, durable, FieldTable::default());
    live.within(doing, hooks).await.map_err(|error| otherwise("exchange", &names.hooks, error))?;

    let events = channel.exchange_declare(names.events.clone(), ExchangeKind::Topic, durable, FieldTable::default());
    live.within(doing, events).await.map_err(|error| otherwise("exchange", &names.events, error))?;

    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let dead = channel.queue_declare(names.dead.clone(), options, dead_arguments(kind));
    let channel = match live.within("declare the dead letters", dead).await {
        Ok(_) => channel,
        // It is there, as another process or a person wanted it: that is good enough for dead letters.
        Err(Failed::Lapin(error, _)) if is_not_taken(&error) => live.channel("open a channel").await?,
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

/// Declares one queue of work and binds it for its tasks.
async fn declare_queue(
    live: &Live,
    channel: &Channel,
    names: &Names,
    kind: QueueKind,
    queue: &str,
    tasks: &[String],
) -> Result<ShortString, Trouble> {
    let queue = names.queue(queue)?;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declare = channel.queue_declare(queue.clone(), options, work_arguments(kind, names));
    live.within("declare a queue", declare).await.map_err(|error| otherwise("queue", &queue, error))?;
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

/// Why a call to the broker gave nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// The broker or lapin said so.
    Lapin(lapin::Error, Trouble),
    /// Nobody said anything in time.
    Silent(Trouble),
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Lapin(_, trouble) | Failed::Silent(trouble) => trouble,
        }
    }
}

/// Says what to do about something that exists with other arguments.
fn otherwise(what: &str, name: &ShortString, failed: Failed) -> Trouble {
    match failed {
        Failed::Lapin(error, _) if is_not_taken(&error) => Trouble::new(
            BrokerErrorKind::Refused,
            format!(
                "the {what} `{name}` exists with other arguments than ork declares; configure the queue kind it was made \
                 with (quorum or classic), choose another prefix, or empty and delete it ({})",
                words(&error)
            ),
        ),
        failed => failed.into(),
    }
}
