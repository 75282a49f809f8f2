//! The headers of messages in an `AsyncAPI` document, which include the AMQP properties: those that a client may set,
//! and those of replies and events. `docs/wire.md` lists all of them.

use serde_json::{Value, json};

use super::FINGERPRINT;

/// The headers that a client may set on a message for a task. With `is_item` the message runs the function on one
/// item.
pub(super) fn job(fingerprint: Option<&str>, is_item: bool) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let mut headers = json!({
        "type": "object",
        "properties": {
            "message_id": text("AMQP property: identifies the job. Messages with the same id are one job; a UUID is \
                                used as the id of the job."),
            "reply_to": text("AMQP property: the queue that receives the outcome; `amq.rabbitmq.reply-to` works. \
                              Without it no outcome is sent."),
            "correlation_id": text("AMQP property: copied to the outcome; defaults to `message_id`."),
            "priority": {
                "type": "integer",
                "minimum": 0,
                "maximum": 9,
                "description": "AMQP property: higher priorities are delivered first."
            },
            "on_complete": text("The messages to send when the job has ended: a list, as JSON."),
        },
    });
    if let Some(properties) = headers.pointer_mut("/properties").and_then(Value::as_object_mut) {
        if let Some(fingerprint) = fingerprint {
            let description = "The fingerprint of the schema that the input was written for. With it, an input that does \
                               not match the worker's schema is parked for another worker instead of failing the job.";
            let schema =
                json!({ "type": "string", "format": "uuid", "examples": [fingerprint], "description": description });
            properties.insert(FINGERPRINT.into(), schema);
        }
        if is_item {
            let description = "Requests the function for a single item instead of the split.";
            properties
                .insert("ork-kind".into(), json!({ "type": "string", "const": "single", "description": description }));
        }
    }
    if is_item && let Value::Object(headers) = &mut headers {
        headers.insert("required".into(), json!(["ork-kind"]));
    }
    headers
}

/// The headers of a reply.
pub(super) fn outcome() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string", "const": "ork.outcome", "description": "AMQP property." },
            "correlation_id": { "type": "string", "description": "AMQP property: copied from the request." },
            "message_id": { "type": "string", "format": "uuid", "description": "AMQP property: the job's id." },
        },
    })
}

/// The headers of an event.
pub(super) fn event() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string", "description": "AMQP property: the event's type." },
            "message_id": { "type": "string", "description": "AMQP property: the event's id." },
        },
    })
}
