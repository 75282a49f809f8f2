//! Copies of a delivery: for the dead letters, or for the queue it came from.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::{COPY, COUNT, LOSSES, Publication, RawDelivery, kind_of, number, text};
use crate::topology::Names;
use ork_ports::broker::DeadLetterReason;

/// Returns the copy of a delivery for the dead letters.
pub(crate) fn dead_letter(
    raw: RawDelivery,
    names: &Names,
    queue: &str,
    reason: DeadLetterReason,
    detail: &str,
) -> Publication {
    // Leaves room for all other headers in the same frame.
    let detail: String = detail.chars().take(2_000).collect();
    let mut headers = raw.properties.headers().clone().unwrap_or_default();
    for (name, value) in [
        ("x-ork-reason", reason.as_str()),
        ("x-ork-detail", detail.as_str()),
        ("x-ork-exchange", raw.exchange.as_str()),
        ("x-ork-routing-key", raw.routing_key.as_str()),
        ("x-ork-queue", queue),
    ] {
        headers.insert(name.into(), text(value));
    }
    let properties = without_user(&raw.properties, headers).with_delivery_mode(2);
    publication(names.dead.clone(), properties, raw)
}

/// Returns the copy of a delivery that replaces it in its queue. The delivery count of the copy is zero, and a header
/// marks it as a copy. With `lost`, another header states how often the message was lost.
pub(crate) fn republish(raw: RawDelivery, names: &Names, queue: &ShortString, lost: Option<u32>) -> Publication {
    let headers = raw.properties.headers().iter().flat_map(FieldTable::inner);
    let headers = headers.filter(|(name, _)| name.as_str() != COUNT);
    let mut headers: std::collections::BTreeMap<_, _> =
        headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    headers.insert(COPY.into(), AMQPValue::Boolean(true));
    if let Some(lost) = lost.filter(|lost| *lost > 0) {
        headers.insert(LOSSES.into(), number(lost.into()));
    }
    // The copy has another routing key, so its `type` must name the task.
    let task = ShortString::try_new(kind_of(&raw, names)).unwrap_or_else(|_too_long| raw.routing_key.clone());
    let properties = without_user(&raw.properties, FieldTable::from(headers)).with_type(task);
    publication(queue.clone(), properties, raw)
}

fn publication(queue: ShortString, properties: BasicProperties, raw: RawDelivery) -> Publication {
    Publication { exchange: ShortString::default(), routing_key: queue, mandatory: true, properties, body: raw.body }
}

/// Copies the properties without the sender's user id: RabbitMQ accepts only the user of the connection itself.
fn without_user(from: &BasicProperties, headers: FieldTable) -> BasicProperties {
    type With<T> = fn(BasicProperties, T) -> BasicProperties;
    let texts: [(&Option<ShortString>, With<ShortString>); 9] = [
        (from.content_type(), BasicProperties::with_content_type),
        (from.content_encoding(), BasicProperties::with_content_encoding),
        (from.correlation_id(), BasicProperties::with_correlation_id),
        (from.reply_to(), BasicProperties::with_reply_to),
        (from.expiration(), BasicProperties::with_expiration),
        (from.message_id(), BasicProperties::with_message_id),
        (from.kind(), BasicProperties::with_type),
        (from.app_id(), BasicProperties::with_app_id),
        (from.cluster_id(), BasicProperties::with_cluster_id),
    ];
    let mut properties = BasicProperties::default().with_headers(headers);
    for (value, with) in texts {
        if let Some(value) = value {
            properties = with(properties, value.clone());
        }
    }
    let numbers: [(&Option<u8>, With<u8>); 2] = [
        (from.delivery_mode(), BasicProperties::with_delivery_mode),
        (from.priority(), BasicProperties::with_priority),
    ];
    for (value, with) in numbers {
        if let Some(value) = *value {
            properties = with(properties, value);
        }
    }
    match *from.timestamp() {
        Some(timestamp) => properties.with_timestamp(timestamp),
        None => properties,
    }
}
