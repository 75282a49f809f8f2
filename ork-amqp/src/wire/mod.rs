//! Encodes and decodes messages as AMQP properties, headers and body. Pure; `docs/wire.md` is the specification.
//!
//! Any client that can publish is untrusted: nothing in here relies on a length, a type or a header.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::error::LinkError;
use super::topology::{Names, short};
use ork_core::event::Event;
use ork_core::hook::Allowed;
use ork_core::id::{Fingerprint, JobId};
use ork_core::job::ReplyTo;
use ork_core::message::{Message, Outgoing, Reply, WorkKind};
use ork_ports::broker::{BrokerErrorKind, DeadLetterReason, Rejected, ReplyDelivery};

mod copy;
mod hooks;
pub(super) mod records;

pub(super) use copy::{dead_letter, republish};

const WORK_KIND: &str = "ork-kind";
const JOB: &str = "ork-job";
const ROOT: &str = "ork-root";
const PARENT: &str = "ork-parent";
const EPOCH: &str = "ork-epoch";
const INDEX: &str = "ork-index";
const ATTEMPT: &str = "ork-attempt";
const LOSSES: &str = "ork-losses";
const WAITED: &str = "ork-waited";
const COPY: &str = "ork-copy";
const SCHEMA: &str = "ork-schema";
const JSON: &str = "application/json";
const EVENT: &str = "application/cloudevents+json";

/// The header in which a quorum queue counts the previous deliveries of a message.
const COUNT: &str = "x-delivery-count";

/// The `type` of a message that carries an outcome.
const OUTCOME: &str = "ork.outcome";

/// RabbitMQ's pseudo queue for direct replies.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";

/// The highest priority.
const HIGHEST: u8 = 9;

/// One `basic.publish`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Publication {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    /// Whether the broker must return it if no queue accepts it.
    pub(super) mandatory: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl Publication {
    /// Returns whether it carries an outcome.
    pub(super) fn is_outcome(&self) -> bool {
        self.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == OUTCOME)
    }
}

/// One `basic.deliver`, without its delivery tag.
#[derive(Debug, Clone)]
pub(super) struct RawDelivery {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) redelivered: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

/// Encodes a message. Fails if the body is larger than `most` bytes or a name is too long.
pub(super) fn encode(outgoing: Outgoing, names: &Names, most: usize) -> Result<Publication, LinkError> {
    let publication = match outgoing {
        Outgoing::Work(message) => encode_work(message, names)?,
        Outgoing::Reply(reply) => encode_reply(reply, names)?,
        Outgoing::Hook(hook) => hooks::encode(hook, names)?,
        Outgoing::Event(event) => encode_event(&event, names)?,
        Outgoing::Hooks { .. } | Outgoing::PendingEvent { .. } => return Err(not_publishable()),
    };
    let found = publication.body.len();
    if found > most {
        return Err(LinkError::new(
            BrokerErrorKind::TooLarge,
            format!("the body has {found} bytes, at most {most} are allowed (`max_message_bytes`)"),
        ));
    }
    Ok(publication)
}

fn encode_work(message: Message, names: &Names) -> Result<Publication, LinkError> {
    let mut headers = FieldTable::default();
    let mut id = message.job.to_string();
    if message.root != message.job {
        headers.insert(ROOT.into(), text(&message.root.to_string()));
    }
    if let Some(parent) = message.parent {
        headers.insert(PARENT.into(), text(&parent.to_string()));
    }
    if message.attempt != 1 {
        headers.insert(ATTEMPT.into(), number(message.attempt.into()));
    }
    if message.losses > 0 {
        headers.insert(LOSSES.into(), number(message.losses.into()));
    }
    if message.waited {
        headers.insert(WAITED.into(), AMQPValue::Boolean(true));
    }
    if let Some(schema) = message.schema {
        headers.insert(SCHEMA.into(), text(&schema.to_string()));
    }
    match message.kind {
        WorkKind::Job => {}
        WorkKind::Single => {
            headers.insert(WORK_KIND.into(), text("single"));
        }
        WorkKind::Step => {
            headers.insert(WORK_KIND.into(), text("step"));
        }
        WorkKind::Join => {
            headers.insert(WORK_KIND.into(), text("join"));
        }
        WorkKind::Hooks(_) => return Err(not_publishable()),
        WorkKind::Part { epoch, index } => {
            headers.insert(WORK_KIND.into(), text("part"));
            headers.insert(JOB.into(), text(&id));
            headers.insert(EPOCH.into(), number(epoch.into()));
            headers.insert(INDEX.into(), number(index));
            id.push('.');
            id.push_str(&index.to_string());
        }
    }
    if let Some(hooks) = &message.hooks {
        hooks::write(hooks, message.kind, &mut headers);
    }
    let task = short(&message.task)?;
    let mut properties = BasicProperties::default()
        .with_content_type(JSON.into())
        .with_delivery_mode(2)
        .with_message_id(short(&id)?)
        .with_type(task.clone());
    if message.priority > 0 {
        properties = properties.with_priority(message.priority.min(HIGHEST));
    }
    if let Some(reply) = message.reply {
        properties = properties.with_reply_to(short(&reply.queue)?).with_correlation_id(short(&reply.correlation)?);
    }
    if !headers.inner().is_empty() {
        properties = properties.with_headers(headers);
    }
    Ok(Publication {
        exchange: names.exchange.clone(),
        routing_key: task,
        mandatory: true,
        properties,
        body: message.body,
    })
}

/// The error for outbox messages that only refer to the store: the process with the store turns them into messages
/// first.
fn not_publishable() -> LinkError {
    LinkError::new(BrokerErrorKind::Config, "a message that refers to the store cannot be published")
}

fn encode_reply(reply: Reply, names: &Names) -> Result<Publication, LinkError> {
    let body = reply.body();
    let ReplyTo { queue, correlation } = reply.to;
    if !names.takes_replies(&queue) {
        let detail = format!("`{queue}` is an internal queue of ork and cannot receive outcomes");
        return Err(LinkError::new(BrokerErrorKind::Undeliverable, detail));
    }
    Ok(Publication {
        exchange: ShortString::default(),
        // RabbitMQ treats a direct reply as unroutable even if a client waits for it.
        mandatory: !queue.starts_with(DIRECT_REPLY),
        routing_key: short(&queue)?,
        properties: BasicProperties::default()
            .with_content_type(JSON.into())
            .with_delivery_mode(2)
            .with_message_id(short(&reply.job.to_string())?)
            .with_correlation_id(short(&correlation)?)
            .with_type(OUTCOME.into()),
        body,
    })
}

fn encode_event(event: &Event, names: &Names) -> Result<Publication, LinkError> {
    let kind = short(event.kind.as_str())?;
    Ok(Publication {
        exchange: names.events.clone(),
        routing_key: kind.clone(),
        // An event without a listener is dropped.
        mandatory: false,
        properties: BasicProperties::default()
            .with_content_type(EVENT.into())
            .with_delivery_mode(2)
            .with_message_id(short(&event.id)?)
            .with_type(kind),
        body: event.to_json().into(),
    })
}

/// The content of a delivery.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) message: Result<Message, Rejected>,
    pub(super) redelivered: u32,
    pub(super) is_copy: bool,
    pub(super) anonymous: bool,
}

/// Decodes a delivery. Never fails: if it is not a valid message, `message` contains the reason.
pub(super) fn decode(raw: &RawDelivery, names: &Names) -> Decoded {
    let properties = &raw.properties;
    let task = kind_of(raw, names);
    let id = properties.message_id().as_ref().map(ShortString::as_str).filter(|id| !id.is_empty());
    let headers = Headers(properties.headers().as_ref());
    // Both are read even from a message that is rejected, so that its sender receives the failure.
    let job = headers.id(JOB).ok().flatten().or_else(|| id.map(JobId::from_foreign));
    let anonymous = job.is_none();
    let job = job.unwrap_or_else(JobId::new);
    let reply = properties.reply_to().as_ref().filter(|queue| !queue.as_str().is_empty()).map(|queue| ReplyTo {
        queue: queue.as_str().to_owned(),
        correlation: match (properties.correlation_id(), id) {
            (Some(correlation), _) => correlation.as_str().to_owned(),
            (None, Some(id)) => id.to_owned(),
            (None, None) => job.to_string(),
        },
    });
    let redelivered = redelivered(raw);
    let message = read(raw, headers, task, job, reply.clone(), &names.allowed).map_err(|detail| Rejected {
        reason: DeadLetterReason::Undecodable,
        detail,
        reply,
        job: (!anonymous).then_some(job),
        task: (!task.is_empty()).then(|| task.to_owned()),
        hooks: hooks::read(headers, WorkKind::Job, &names.allowed).ok().flatten(),
    });
    let lost = message.as_ref().map_or(0, |message| message.losses);
    Decoded { message, redelivered: redelivered.saturating_add(lost), is_copy: headers.has(COPY), anonymous }
}

/// Returns how often a delivery was delivered before, as far as the broker counts.
pub(super) fn redelivered(raw: &RawDelivery) -> u32 {
    let headers = Headers(raw.properties.headers().as_ref());
    headers.redelivered().unwrap_or_else(|| raw.redelivered.into())
}

/// Returns the name of the task of a delivery.
fn kind_of<'a>(raw: &'a RawDelivery, names: &Names) -> &'a str {
    let kind = raw.properties.kind().as_ref().map(ShortString::as_str).filter(|kind| !kind.is_empty());
    kind.unwrap_or_else(|| names.task_of(raw.routing_key.as_str()))
}

fn read(
    raw: &RawDelivery,
    headers: Headers<'_>,
    task: &str,
    job: JobId,
    reply: Option<ReplyTo>,
    allowed: &Allowed,
) -> Result<Message, String> {
    let properties = &raw.properties;
    let content = properties.content_type().as_ref().map(ShortString::as_str).filter(|content| !content.is_empty());
    if let Some(content) = content.filter(|content| !is_json(content)) {
        return Err(format!("the content type is `{content}`, expected `{JSON}` or none"));
    }
    let encoding = properties.content_encoding().as_ref().map(ShortString::as_str);
    if let Some(encoding) = encoding.filter(|encoding| !matches!(*encoding, "" | "identity" | "utf-8" | "UTF-8")) {
        return Err(format!("the content encoding is `{encoding}`, expected none"));
    }
    if task.is_empty() {
        return Err("the message names no task: neither `type` nor the routing key is set".to_owned());
    }
    if task == OUTCOME {
        return Err(format!("the message is an outcome (`type` is `{OUTCOME}`), not work for a task"));
    }
    headers.id(JOB)?;
    let attempt = headers.number(ATTEMPT)?.unwrap_or(1);
    let kind = match headers.text(WORK_KIND)? {
        None => WorkKind::Job,
        Some("single") => WorkKind::Single,
        Some("step") => WorkKind::Step,
        Some("join") => WorkKind::Join,
        Some("part") => {
            let missing = |header: &str| format!("the header `{header}` is missing; parts require it");
            headers.id(JOB)?.ok_or_else(|| missing(JOB))?;
            WorkKind::Part {
                epoch: in_range(EPOCH, headers.number(EPOCH)?.ok_or_else(|| missing(EPOCH))?)?,
                index: headers.number(INDEX)?.ok_or_else(|| missing(INDEX))?,
            }
        }
        Some(other) => {
            let head: String = other.chars().take(40).collect();
            return Err(format!(
                "the header `{WORK_KIND}` is `{head}`, expected `single`, `step`, `part`, `join` or none"
            ));
        }
    };
    Ok(Message {
        job,
        root: headers.id(ROOT)?.unwrap_or(job),
        parent: headers.id(PARENT)?,
        task: task.to_owned(),
        kind,
        attempt: in_range(ATTEMPT, attempt)?.max(1),
        priority: properties.priority().unwrap_or(0).min(HIGHEST),
        losses: in_range(LOSSES, headers.number(LOSSES)?.unwrap_or(0))?,
        waited: headers.has(WAITED),
        body: raw.body.clone(),
        reply,
        schema: headers.schema()?,
        hooks: hooks::read(headers, kind, allowed)?,
    })
}

/// Decodes the outcome in a delivery from a reply queue.
pub(super) fn decode_reply(delivery: &Delivery) -> Option<ReplyDelivery> {
    let correlation = delivery.properties.correlation_id().as_ref()?.as_str().to_owned();
    Some(ReplyDelivery { correlation, body: delivery.data.clone().into() })
}

/// Decodes the event in a delivery from a listener's queue.
pub(super) fn decode_event(delivery: &Delivery) -> Option<Event> {
    Event::from_json(&delivery.data).inspect_err(|error| tracing::debug!(%error, "not an event of ork")).ok()
}

fn is_json(content: &str) -> bool {
    let kind = content.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(JSON) || (kind.len() > 5 && kind.to_ascii_lowercase().ends_with("+json"))
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

/// Encodes a number. AMQP has no unsigned 64-bit header; larger values are sent as text.
fn number(value: u64) -> AMQPValue {
    i64::try_from(value).map_or_else(|_| text(&value.to_string()), AMQPValue::LongLongInt)
}

fn in_range(header: &str, value: u64) -> Result<u32, String> {
    u32::try_from(value).map_err(|_too_large| format!("the header `{header}` is {value}, the maximum is {}", u32::MAX))
}

/// The headers of a message from an untrusted sender.
#[derive(Debug, Clone, Copy)]
struct Headers<'table>(Option<&'table FieldTable>);

impl<'table> Headers<'table> {
    fn get(self, header: &str) -> Option<&'table AMQPValue> {
        self.0?.inner().get(header).filter(|value| !matches!(value, AMQPValue::Void))
    }

    fn text(self, header: &str) -> Result<Option<&'table str>, String> {
        let Some(value) = self.get(header) else {
            return Ok(None);
        };
        let text = match value {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
            AMQPValue::ShortString(text) => Some(text.as_str()),
            AMQPValue::ByteArray(text) => std::str::from_utf8(text.as_slice()).ok(),
            _ => None,
        };
        text.map(Some).ok_or_else(|| format!("the header `{header}` is not a string"))
    }

    fn id(self, header: &str) -> Result<Option<JobId>, String> {
        let Some(text) = self.text(header)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error: ork_core::id::ParseJobIdError| format!("the header `{header}`: {error}"))
    }

    fn schema(self) -> Result<Option<Fingerprint>, String> {
        let Some(text) = self.text(SCHEMA)? else {
            return Ok(None);
        };
        let read = text.parse().map(Some);
        read.map_err(|error: ork_core::id::ParseFingerprintError| format!("the header `{SCHEMA}`: {error}"))
    }

    fn number(self, header: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.get(header) else {
            return Ok(None);
        };
        let number = match value {
            AMQPValue::ShortShortInt(number) => u64::try_from(*number).ok(),
            AMQPValue::ShortShortUInt(number) => Some((*number).into()),
            AMQPValue::ShortInt(number) => u64::try_from(*number).ok(),
            AMQPValue::ShortUInt(number) => Some((*number).into()),
            AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
            AMQPValue::LongUInt(number) => Some((*number).into()),
            AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
            // Shells and some clients send every header as text.
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        number.map(Some).ok_or_else(|| format!("the header `{header}` is not a non-negative integer"))
    }

    fn has(self, header: &str) -> bool {
        self.0.is_some_and(|headers| headers.contains_key(header))
    }

    /// Returns how often a quorum queue has delivered the message before.
    fn redelivered(self) -> Option<u32> {
        self.number(COUNT).ok().flatten().map(|count| u32::try_from(count).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests;
