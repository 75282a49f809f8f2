//! Finds policies and arguments of ork's queues by which messages are lost, through RabbitMQ's management API. AMQP
//! itself does not expose them.
//!
//! It is a single HTTP/1.0 request, whose response ends with its connection, to an API that an administrator checks:
//! an HTTP client library would cost every program more compile time than this file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::topology::{DELIVERY_LIMIT, Names};
use super::url::Address;

/// The default port of the API.
const PORT: u16 = 15_672;

/// The maximum size of a response.
const LARGEST: u64 = 16 * 1024 * 1024;

/// At most this many queues are named; the others are only counted.
const NAMED: usize = 3;

/// The location of the API and the credentials for it.
pub(super) struct Management {
    host: String,
    port: u16,
    /// The user and the password, encoded for HTTP basic authentication.
    credentials: String,
    vhost: String,
}

/// A queue as the API returns it.
#[derive(Debug, Deserialize)]
struct Queue {
    name: String,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    policy: Option<String>,
    #[serde(default)]
    operator_policy: Option<String>,
    #[serde(default)]
    effective_policy_definition: Value,
}

impl Management {
    /// Creates the API of this node, or of a separate URL.
    pub(super) fn of(address: &Address, url: &str) -> Result<Self, String> {
        let wrong =
            |what| format!("ORK_MANAGEMENT {what}: expected `http://host:15672`, with `user:password@` if they differ");
        let uri = address.uri();
        let user = uri.authority.userinfo;
        let (mut name, mut password) = (user.username, user.password);
        let (mut host, mut port) = (uri.authority.host, PORT);
        if let Some(rest) = url.strip_prefix("http://") {
            let rest = rest.trim_end_matches('/');
            let place = match rest.rsplit_once('@') {
                None => rest,
                Some((own, place)) => {
                    let (own_name, own_password) =
                        own.split_once(':').ok_or_else(|| wrong("has a user but no password"))?;
                    (name, password) = (own_name.to_owned(), own_password.to_owned());
                    place
                }
            };
            let (own_host, own_port) = place.rsplit_once(':').unwrap_or((place, ""));
            own_host.trim_matches(['[', ']']).clone_into(&mut host);
            if !own_port.is_empty() {
                port = own_port.parse().map_err(|_not_a_number| wrong("has an invalid port, must be 1 to 65535"))?;
            }
        }
        let credentials = STANDARD.encode(format!("{name}:{password}"));
        Ok(Self { host, port, credentials, vhost: uri.vhost })
    }

    /// Describes how messages in ork's queues may be lost, one sentence each.
    pub(super) async fn hazards(&self, names: &Names, within: Duration) -> Result<Vec<String>, String> {
        let request =
            timeout(within, self.get("queues", "name,arguments,policy,operator_policy,effective_policy_definition"));
        let place = format!("the management API at http://{}:{}", self.host, self.port);
        let body = request
            .await
            .map_err(|_elapsed| format!("{place} did not answer within {}", humantime::format_duration(within)))?
            .map_err(|message| format!("{place} {message}"))?;
        let queues: Vec<Queue> =
            serde_json::from_slice(&body).map_err(|error| format!("{place} sent an invalid response: {error}"))?;
        Ok(hazards(&queues, names))
    }

    async fn get(&self, what: &str, columns: &str) -> Result<Vec<u8>, String> {
        let failed = |error: std::io::Error| format!("does not respond ({error})");
        let mut vhost = String::new();
        for byte in self.vhost.bytes() {
            let _never_fails = write!(vhost, "%{byte:02X}");
        }
        let request = format!(
            "GET /api/{what}/{vhost}?columns={columns} HTTP/1.0\r\nHost: {}\r\nAuthorization: Basic {}\r\n\r\n",
            self.host, self.credentials
        );
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut answer = Vec::new();
        stream.take(LARGEST).read_to_end(&mut answer).await.map_err(failed)?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let head = String::from_utf8_lossy(answer.get(..end.unwrap_or(0)).unwrap_or_default()).into_owned();
        let status = head.split(' ').nth(1).unwrap_or_default();
        match (end, status) {
            (Some(end), "200") => Ok(answer.split_off(end + 4)),
            (Some(_), "401" | "403") => Err("denied access: the user needs the tag `monitoring`".to_owned()),
            (Some(_), status) => Err(format!("responded with {status}")),
            (None, _) => Err("did not respond with HTTP".to_owned()),
        }
    }
}

/// Describes how messages in ork's queues may be lost, one sentence each: queues with the same cause share a
/// sentence.
fn hazards(queues: &[Queue], names: &Names) -> Vec<String> {
    let mut causes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for queue in queues.iter().filter(|queue| queue.name.starts_with(&names.tasks) || queue.name == names.dead.as_str())
    {
        let policies: Vec<_> = [&queue.policy, &queue.operator_policy].into_iter().flatten().collect();
        let quoted: Vec<_> = policies.iter().map(|policy| format!("`{policy}`")).collect();
        let policy = format!("policy {}", quoted.join(" or "));
        let arguments: Map<String, Value> = queue.arguments.as_object().into_iter().flatten().map(bare).collect();
        let defined = queue.effective_policy_definition.as_object().cloned().unwrap_or_default();
        for (actor, definition) in [(policy.as_str(), &defined), ("their arguments", &arguments)] {
            for (key, message) in losses(definition, actor == policy, names) {
                causes.entry(format!("{message} (`{key}` of {actor})")).or_default().push(&queue.name);
            }
        }
    }
    let sentence = |(cause, queues): (String, Vec<&str>)| {
        let mut quoted: Vec<_> = queues.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
        if queues.len() > NAMED {
            quoted.push(format!("{} more", queues.len() - NAMED));
        }
        format!("{}: {cause}", quoted.join(", "))
    };
    causes.into_iter().map(sentence).collect()
}

/// Converts the name of an argument to the name that policies use.
fn bare((key, value): (&String, &Value)) -> (String, Value) {
    (key.strip_prefix("x-").unwrap_or(key).to_owned(), value.clone())
}

/// Lists the settings of a definition that lose messages, with a description.
fn losses<'of>(definition: &'of Map<String, Value>, is_policy: bool, names: &Names) -> Vec<(&'of str, String)> {
    let text = |key: &str| definition.get(key).and_then(Value::as_str);
    let refuses = text("overflow").is_some_and(|overflow| overflow.starts_with("reject-publish"));
    let lost = |(key, value): (&'of String, &Value)| {
        let time = || humantime::format_duration(Duration::from_millis(value.as_u64().unwrap_or(0))).to_string();
        let message = match key.as_str() {
            "message-ttl" => format!("messages that wait longer than {} are dropped", time()),
            "expires" => format!("the queue and its messages are deleted after {} without a consumer", time()),
            // The publisher gets an error and retries.
            "max-length" | "max-length-bytes" if refuses => return None,
            "max-length" => format!("the oldest messages are dropped when there are more than {value}"),
            "max-length-bytes" => format!("the oldest messages are dropped when the queue exceeds {value} bytes"),
            "dead-letter-exchange" if value.as_str() != Some(names.unrouted.as_str()) => {
                format!("dropped messages go to the exchange {value} instead of ork's dead letters")
            }
            "delivery-limit"
                if is_policy && value.as_i64().is_some_and(|limit| (0..DELIVERY_LIMIT).contains(&limit)) =>
            {
                format!("a message is dropped after {value} redeliveries, but ork allows {DELIVERY_LIMIT}")
            }
            _ => return None,
        };
        Some((key.as_str(), message))
    };
    definition.iter().filter_map(lost).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use ork_core::hook::Allowed;

    fn found(queues: Value) -> Vec<String> {
        let queues: Vec<Queue> = serde_json::from_value(queues).unwrap();
        hazards(&queues, &Names::new("ork", Allowed::default()).unwrap())
    }

    #[test]
    fn queues_declared_by_ork_have_no_hazards() {
        let arguments =
            json!({"x-queue-type": "quorum", "x-delivery-limit": 100, "x-dead-letter-exchange": "ork.unrouted"});
        let queues = json!([
            {"name": "ork.task.a", "arguments": arguments, "policy": null, "effective_policy_definition": {}},
            {"name": "ork.task.b", "arguments": {"x-max-priority": 10}, "policy": "ha", "effective_policy_definition": {"ha-mode": "all"}},
            {"name": "else", "arguments": {}, "policy": "short", "effective_policy_definition": {"message-ttl": 1000}},
        ]);
        assert_eq!(found(queues), [""; 0]);
    }

    #[test]
    fn each_hazard_names_its_queues_and_its_cause() {
        let ttl = json!({"message-ttl": 60_000});
        let queue = |name: &str| json!({"name": name, "policy": "short", "effective_policy_definition": ttl});
        let many = ["ork.dead", "ork.task.a", "ork.task.b", "ork.task.c", "ork.task.d"].map(queue);
        assert_eq!(
            found(json!(many)),
            ["`ork.dead`, `ork.task.a`, `ork.task.b`, 2 more: messages that wait longer than 1m are dropped \
              (`message-ttl` of policy `short`)"]
        );
        let of = |definition: Value| {
            let queue =
                json!({"name": "ork.task.a", "operator_policy": "op", "effective_policy_definition": definition});
            found(json!([queue]))
        };
        assert!(of(json!({"expires": 5_000}))[0].contains("are deleted after 5s"));
        assert!(
            of(json!({"max-length": 10}))[0]
                .contains("the oldest messages are dropped when there are more than 10 (`max-length` of policy `op`)")
        );
        assert!(of(json!({"max-length-bytes": 10}))[0].contains("exceeds 10 bytes"));
        assert_eq!(of(json!({"max-length": 10, "overflow": "reject-publish"})), [""; 0]);
        assert!(of(json!({"dead-letter-exchange": "other"}))[0].contains("go to the exchange \"other\""));
        assert!(of(json!({"delivery-limit": 5}))[0].contains("after 5 redeliveries"));
        assert_eq!(of(json!({"delivery-limit": -1})), [""; 0]);
        let queues_with_ttl = json!([{"name": "ork.task.a", "arguments": {"x-message-ttl": 1_000}}]);
        assert!(found(queues_with_ttl)[0].ends_with("(`message-ttl` of their arguments)"));
    }

    #[test]
    fn management_api_is_on_the_node_or_at_the_configured_url() {
        let address = Address::parse("amqp://me:s3cret@rabbit/jobs").unwrap();
        let place = |url: &str| {
            let Management { host, port, credentials, vhost } = Management::of(&address, url).unwrap();
            let credentials = String::from_utf8(STANDARD.decode(credentials).unwrap()).unwrap();
            format!("{credentials} {host} {port} {vhost}")
        };
        assert_eq!(place(""), "me:s3cret rabbit 15672 jobs");
        assert_eq!(place("http://other:80/"), "me:s3cret other 80 jobs");
        assert_eq!(place("http://you:a:b@[::1]:1"), "you:a:b ::1 1 jobs");
        for wrong in ["http://you@host", "http://host:port"] {
            let message = Management::of(&address, wrong).err().unwrap();
            assert!(message.contains("expected `http://host:15672`"), "{message}");
        }
    }
}
