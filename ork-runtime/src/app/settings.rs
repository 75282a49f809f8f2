//! A setter of the builder for each key of the configuration.

use std::time::Duration;

use super::OrkBuilder;
use crate::config::{QueueType, Synchronous};
use crate::event::EventScope;

macro_rules! setters {
    ($($(#[$doc:meta])+ $key:ident($value:ident: $type:ty) = $text:expr;)+) => {
        impl OrkBuilder {
            $(
                $(#[$doc])+
                pub fn $key(self, $value: $type) -> Self {
                    self.set(stringify!($key), $text)
                }
            )+
        }

        /// The keys that have a setter.
        #[cfg(test)]
        const KEYS: &[&str] = &[$(stringify!($key)),+];
    };
}

fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

setters! {
    /// Sets the store: `sqlite:PATH`, `postgres://user:password@host:5432/database`, `memory:` or `none`.
    store(url: impl Into<String>) = url;
    /// Sets the broker: `embedded`, the URL of a RabbitMQ server, or the URLs of its nodes separated by commas.
    broker(urls: impl Into<String>) = urls;
    /// Sets the name of this worker, 1 to 100 characters, shown in jobs and logs.
    name(name: impl Into<String>) = name;
    /// Sets the maximum number of `async fn` tasks that this worker runs at once.
    concurrency(calls: u32) = calls.to_string();
    /// Sets the maximum number of `fn` tasks, and tasks in other languages, that this worker runs at once.
    blocking_concurrency(calls: u32) = calls.to_string();
    /// Sets the maximum size of a message, in bytes.
    max_message_bytes(bytes: usize) = bytes.to_string();
    /// Sets the number of parts that a split sends to the store at once.
    split_page_size(parts: u32) = parts.to_string();
    /// Sets the number of times that a call may be lost, e.g. because its worker died, before its job or part fails.
    max_worker_losses(losses: u32) = losses.to_string();
    /// Sets the time after which running work is acknowledged and leased in the store instead.
    ack_timeout(timeout: Duration) = text(timeout);
    /// Sets the time that a worker which was asked to stop waits for its running calls.
    shutdown(timeout: Duration) = text(timeout);
    /// Sets the time for which a cancelled call may continue.
    cancel_grace(grace: Duration) = text(grace);
    /// Sets the time for which jobs are kept after they, and all jobs below them, have ended; they are kept for ever
    /// by default.
    retention(time: Duration) = text(time);
    /// Sets the place of large outputs: `store`, `file:PATH` or `s3://BUCKET/PREFIX`.
    large_outputs(place: impl Into<String>) = place;
    /// Sets the size in bytes above which an output is large.
    large_output_bytes(bytes: usize) = bytes.to_string();
    /// Sets the Python interpreter for tasks that are Python files.
    python(interpreter: impl Into<String>) = interpreter;
    /// Sets the maximum number of Python interpreters, busy and idle ones.
    interpreters(count: u32) = count.to_string();
    /// Sets the folder of the workflow files on this computer.
    workflows(folder: impl Into<String>) = folder;
    /// Sets the type of the queues in RabbitMQ.
    queues(kind: QueueType) = kind.as_str();
    /// Sets the prefix of the names of queues and exchanges in RabbitMQ.
    prefix(prefix: impl Into<String>) = prefix;
    /// Sets the URL of RabbitMQ's management API.
    management(url: impl Into<String>) = url;
    /// Sets the prefixes of the part queues that messages may name, separated by commas.
    part_queues(prefixes: impl Into<String>) = prefixes;
    /// Sets the prefixes of the routes that hooks may name, separated by commas.
    hook_routes(prefixes: impl Into<String>) = prefixes;
    /// Sets the events that are published.
    events(scope: EventScope) = scope.as_str();
    /// Sets the durability of commits to `SQLite`.
    synchronous(durability: Synchronous) = durability.as_str();
    /// Sets the log filter, e.g. `warn` or `info,ork=debug`.
    log(filter: impl Into<String>) = filter;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Adapters;
    use crate::config;

    #[test]
    fn every_key_has_a_setter() {
        let all: Vec<_> = config::KEYS.iter().map(|key| key.name).collect();
        assert_eq!(KEYS.iter().find(|key| !all.contains(key)), None);
        assert_eq!(all.iter().find(|key| !KEYS.contains(key)), None);
    }

    #[test]
    fn values_are_those_that_were_set() {
        let builder = OrkBuilder::new(Adapters::default()).config(config::Config::default());
        let config = builder
            .concurrency(7)
            .shutdown(Duration::from_millis(90_500))
            .retention(Duration::from_hours(24 * 30))
            .queues(QueueType::Classic)
            .synchronous(Synchronous::Normal)
            .events(EventScope::Parts)
            .resolve()
            .unwrap();
        assert_eq!((config.concurrency, config.shutdown), (Some(7), Duration::from_millis(90_500)));
        assert_eq!(config.retention, Some(Duration::from_hours(24 * 30)));
        assert_eq!((config.queues, config.synchronous), (QueueType::Classic, Synchronous::Normal));
        assert_eq!(config.events, Some(EventScope::Parts));
    }
}
