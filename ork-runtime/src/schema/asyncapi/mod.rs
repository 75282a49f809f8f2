//! An `AsyncAPI` 3.0 document: the tasks of a bundle, and how their messages travel over RabbitMQ.

mod headers;

use serde_json::{Map, Value, json};

use super::bundle::FINGERPRINT_KEY;
use super::draft7;
use crate::task::builtin::CANCEL;

/// The header with the fingerprint of the input schema.
const FINGERPRINT: &str = "ork-schema";

/// The address of a program's messages, and the metadata that the document has about the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// The title of the program.
    pub title: String,
    /// The version of the program's interface.
    pub version: String,
    /// The host and port of RabbitMQ.
    pub host: String,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The virtual host of RabbitMQ.
    pub vhost: String,
    /// The prefix of all names.
    pub prefix: String,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            title: "Tasks".into(),
            version: "1.0.0".into(),
            host: "localhost:5672".into(),
            encrypted: false,
            vhost: "/".into(),
            prefix: "ork".into(),
        }
    }
}

/// Returns the `AsyncAPI` 3.0 document of a bundle. It has a channel and an operation with its reply for each task,
/// the events, and all types in the form of JSON Schema that `AsyncAPI` uses.
///
/// The document is written from the program's point of view: it *receives* jobs and *sends* outcomes and events. A
/// client does the opposite.
///
/// ```
/// use ork::schema;
///
/// let document = schema::asyncapi(&schema::bundle(&[]), &schema::Wire::default());
/// assert_eq!(document["asyncapi"], "3.0.0");
/// assert_eq!(document["channels"]["ork.events"]["bindings"]["amqp"]["exchange"]["type"], "topic");
/// ```
pub fn asyncapi(bundle: &Value, wire: &Wire) -> Value {
    let mut document = Document { wire, channels: Map::new(), operations: Map::new(), messages: Map::new() };
    let tasks = bundle.get("properties").and_then(Value::as_object);
    for (name, task) in tasks.into_iter().flatten() {
        document.task(name, task);
    }
    document.task(CANCEL, &cancel());
    document.events();
    let mut schemas = bundle.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    schemas.values_mut().for_each(as_asyncapi);
    let Document { channels, operations, messages, .. } = document;
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": wire.title,
            "version": wire.version,
            "description": "Tasks that run when their input is published to RabbitMQ. See `docs/wire.md` of ork for \
                            details.",
        },
        "defaultContentType": "application/json",
        "servers": { "rabbitmq": {
            "host": wire.host,
            "pathname": format!("/{}", wire.vhost.trim_start_matches('/')),
            "protocol": if wire.encrypted { "amqps" } else { "amqp" },
            "protocolVersion": "0-9-1",
            "description": "RabbitMQ 3.10 to 4.x",
        } },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}

/// A document under construction.
struct Document<'a> {
    wire: &'a Wire,
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
}

impl Document<'_> {
    /// Adds the channel and the operations of a task.
    fn task(&mut self, name: &str, task: &Value) {
        let docs = task.get("description").and_then(Value::as_str).unwrap_or_default();
        let schema = |key: &str| task.get("properties").and_then(|it| it.get(key)).cloned();
        let mut requests = vec![self.job(name, "job", "One job.", schema("input"), fingerprint(task))];
        if let Some(part) = schema("part") {
            requests.push(self.job(name, "item", "A single item, without the split.", Some(part), None));
        }
        let outcome = self.outcome(name, schema("output").unwrap_or(Value::Bool(true)));
        let replies = format!("{name}.outcome");
        self.channels.insert(name.into(), self.exchange(name, docs, ("", "direct"), &requests));
        let reply = json!({
            "address": null,
            "description": "The queue that the client named in `reply_to`.",
            "messages": { "outcome": reference("messages", &outcome) },
        });
        self.channels.insert(replies.clone(), reply);
        for (message, _) in requests {
            let operation = if message == "job" { name.to_owned() } else { format!("{name}.{message}") };
            let operation_value = json!({
                "action": "receive",
                "channel": { "$ref": pointer(&["channels", name]) },
                "summary": docs.lines().next().unwrap_or_default(),
                "messages": [{ "$ref": pointer(&["channels", name, "messages", message]) }],
                "reply": {
                    "address": { "location": "$message.header#/reply_to", "description": "The client's own queue." },
                    "channel": { "$ref": pointer(&["channels", &replies]) },
                    "messages": [{ "$ref": pointer(&["channels", &replies, "messages", "outcome"]) }],
                },
            });
            self.operations.insert(operation, operation_value);
        }
    }

    /// Adds the message of a job. Returns the key of the message in its channel, and its name.
    fn job<'m>(
        &mut self,
        task: &str,
        message: &'m str,
        summary: &str,
        payload: Option<Value>,
        fingerprint: Option<&str>,
    ) -> (&'m str, String) {
        let name = format!("{task}.{message}");
        let value = json!({
            "name": name,
            "summary": summary,
            "contentType": "application/json",
            "correlationId": { "location": "$message.header#/correlation_id" },
            "headers": headers::job(fingerprint, message == "item"),
            "payload": payload.map(inner),
            "bindings": { "amqp": { "messageType": task, "bindingVersion": "0.3.0" } },
        });
        self.messages.insert(name.clone(), value);
        (message, name)
    }

    /// Adds the message of an outcome: an output, a reference to a large output, or an error.
    fn outcome(&mut self, task: &str, output: Value) -> String {
        let name = format!("{task}.outcome");
        let has_output = output.get("type").and_then(Value::as_str) != Some("null");
        let ended = |state: &str, key: &str, schema: Option<Value>| {
            let mut properties = json!({ "job": { "type": "string", "format": "uuid" }, "state": { "const": state } });
            let mut required = vec!["job", "state"];
            if let (Some(schema), Value::Object(properties)) = (schema, &mut properties) {
                properties.insert(key.into(), schema);
                required.push(key);
            }
            json!({ "type": "object", "properties": properties, "required": required })
        };
        let mut ways = vec![ended("succeeded", "output", has_output.then(|| inner(output)))];
        if has_output {
            ways.push(ended("succeeded", "output_at", Some(reference("schemas", "OrkOutputAt"))));
        }
        ways.push(ended("failed", "error", Some(reference("schemas", "OrkFailure"))));
        ways.push(ended("cancelled", "", None));
        let value = json!({
            "name": name,
            "summary": "How the job ended.",
            "contentType": "application/json",
            "correlationId": { "location": "$message.header#/correlation_id" },
            "headers": headers::outcome(),
            "payload": { "title": name, "anyOf": ways },
            "bindings": { "amqp": { "messageType": "ork.outcome", "bindingVersion": "0.3.0" } },
        });
        self.messages.insert(name.clone(), value);
        name
    }

    /// Adds the events.
    fn events(&mut self) {
        let value = json!({
            "name": "ork.event",
            "summary": "What happens to a job, as a CloudEvents 1.0 envelope.",
            "contentType": "application/cloudevents+json",
            "headers": headers::event(),
            "payload": reference("schemas", "OrkEvent"),
        });
        self.messages.insert("ork.event".into(), value);
        let description =
            "The routing key is the event's type. Events are published if the setting `events` is `jobs` or `parts`.";
        let channel = self.exchange("job.#", description, (".events", "topic"), &[("event", "ork.event".into())]);
        self.channels.insert("ork.events".into(), channel);
        let operation = json!({
            "action": "send",
            "channel": { "$ref": "#/channels/ork.events" },
            "summary": "Publishes the events of jobs.",
            "messages": [{ "$ref": "#/channels/ork.events/messages/event" }],
        });
        self.operations.insert("ork.events".into(), operation);
    }

    /// Returns a channel for an exchange and a routing key.
    fn exchange(&self, address: &str, docs: &str, (ending, kind): (&str, &str), messages: &[(&str, String)]) -> Value {
        let messages = messages.iter().map(|(key, name)| ((*key).to_owned(), reference("messages", name)));
        json!({
            "address": address,
            "description": docs,
            "messages": messages.collect::<Map<_, _>>(),
            "bindings": { "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": format!("{}{ending}", self.wire.prefix),
                    "type": kind,
                    "durable": true,
                    "autoDelete": false,
                    "vhost": self.wire.vhost,
                },
                "bindingVersion": "0.3.0",
            } },
        })
    }
}

/// The built-in task with which a client cancels a job, in the form that a bundle has for a task.
fn cancel() -> Value {
    let job = json!({ "type": "string", "description": "The id of the job, or the `message_id` that its sender set." });
    let input = json!({
        "type": "object",
        "properties": { "job": job },
        "required": ["job"],
        "additionalProperties": false,
    });
    json!({
        "description": "Cancels a job and all its descendants.",
        "properties": { "input": input, "output": { "type": "null" } },
    })
}

fn fingerprint(task: &Value) -> Option<&str> {
    task.get(FINGERPRINT_KEY).and_then(Value::as_str)
}

/// Returns a JSON pointer into the document.
fn pointer(path: &[&str]) -> String {
    let escaped = path.iter().map(|step| step.replace('~', "~0").replace('/', "~1"));
    format!("#/{}", escaped.collect::<Vec<_>>().join("/"))
}

/// Returns a reference to a component.
fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": pointer(&["components", kind, name]) })
}

/// Converts a schema of the bundle for this document.
fn inner(mut schema: Value) -> Value {
    as_asyncapi(&mut schema);
    schema
}

/// Converts a schema of the bundle to the form of `AsyncAPI`, which is JSON Schema draft 7 with types as components.
fn as_asyncapi(schema: &mut Value) {
    draft7::translate(schema, &|name| pointer(&["components", "schemas", name]));
}
