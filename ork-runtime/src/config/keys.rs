//! The table of configuration keys: the name of each key, the values it accepts, and how it is parsed and shown.

use std::time::Duration;

use super::{Config, QueueType, Synchronous};
use crate::event::EventScope;

/// A key of the configuration. Its environment variable is `ORK_` followed by the name in capitals.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name of the key in `ork.toml`.
    pub name: &'static str,
    /// The values that the key accepts, as text for error messages and documentation.
    pub expected: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Option<()>,
    pub(super) get: fn(&Config) -> String,
}

/// All keys of the configuration.
pub const KEYS: &[Key] = &[
    Key {
        name: "broker",
        expected: "`embedded`, or `amqp://` or `amqps://` URLs separated by commas",
        set: |config, text| {
            let known = text == "embedded" || text.starts_with("amqp://") || text.starts_with("amqps://");
            known.then(|| text.clone_into(&mut config.broker))
        },
        get: |config| config.broker.clone(),
    },
    Key {
        name: "store",
        expected: "`sqlite:PATH`, `memory:`, `none`, or a `postgres://` URL",
        set: |config, text| {
            let file = text.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty());
            let server = text.starts_with("postgres://") || text.starts_with("postgresql://");
            (file || server || text == "memory:" || text == "none").then(|| text.clone_into(&mut config.store))
        },
        get: |config| config.store.clone(),
    },
    Key {
        name: "name",
        expected: "1 to 100 characters",
        set: |config, text| (1..=100).contains(&text.len()).then(|| config.name = Some(text.to_owned())),
        get: |config| config.name.clone().unwrap_or_default(),
    },
    Key {
        name: "concurrency",
        expected: "a number from 1 to 100000",
        set: |config, text| number(text, 1, 100_000).map(|n| config.concurrency = Some(n)),
        get: |config| config.concurrency.map(|n| n.to_string()).unwrap_or_default(),
    },
    Key {
        name: "blocking_concurrency",
        expected: "a number from 1 to 500",
        set: |config, text| number(text, 1, 500).map(|n| config.blocking_concurrency = Some(n)),
        get: |config| config.blocking_concurrency.map(|n| n.to_string()).unwrap_or_default(),
    },
    Key {
        name: "max_message_bytes",
        expected: "a number from 1 to 134217728",
        set: |config, text| number(text, 1, 128 * 1024 * 1024).map(|n| config.max_message_bytes = n),
        get: |config| config.max_message_bytes.to_string(),
    },
    Key {
        name: "split_page_size",
        expected: "a number from 1 to 100000",
        set: |config, text| number(text, 1, 100_000).map(|n| config.split_page_size = n),
        get: |config| config.split_page_size.to_string(),
    },
    Key {
        name: "max_worker_losses",
        expected: "a number from 0 to 50",
        set: |config, text| {
            let losses = text.parse().ok().filter(|n| *n <= 50)?;
            config.max_worker_losses = losses;
            Some(())
        },
        get: |config| config.max_worker_losses.to_string(),
    },
    Key {
        name: "ack_timeout",
        expected: "a duration, e.g. `10m` or `90s`",
        set: |config, text| duration(text).map(|time| config.ack_timeout = time),
        get: |config| humantime::format_duration(config.ack_timeout).to_string(),
    },
    Key {
        name: "shutdown",
        expected: "a duration, e.g. `30s` or `2m`",
        set: |config, text| duration(text).map(|time| config.shutdown = time),
        get: |config| humantime::format_duration(config.shutdown).to_string(),
    },
    Key {
        name: "cancel_grace",
        expected: "a duration, e.g. `5s` or `500ms`",
        set: |config, text| duration(text).map(|time| config.cancel_grace = time),
        get: |config| humantime::format_duration(config.cancel_grace).to_string(),
    },
    Key {
        name: "retention",
        expected: "`never`, or a duration of at least `1m`, e.g. `7d` or `12h`",
        set: |config, text| {
            config.retention = match text {
                "never" => None,
                text => Some(duration(text).filter(|time| *time >= Duration::from_mins(1))?),
            };
            Some(())
        },
        get: |config| config.retention.map_or("never".into(), |time| humantime::format_duration(time).to_string()),
    },
    Key {
        name: "large_outputs",
        expected: "`store`, `file:PATH`, or `s3://BUCKET/PREFIX`",
        set: |config, text| {
            let place = ["file:", "s3://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
            (place || text == "store").then(|| text.clone_into(&mut config.large_outputs))
        },
        get: |config| config.large_outputs.clone(),
    },
    Key {
        name: "large_output_bytes",
        expected: "a number from 1 to 134217728",
        set: |config, text| number(text, 1, 128 * 1024 * 1024).map(|n| config.large_output_bytes = n),
        get: |config| config.large_output_bytes.to_string(),
    },
    Key {
        name: "python",
        expected: "the path of a Python interpreter, or a name to look up in `PATH`",
        set: |config, text| (!text.is_empty()).then(|| config.python = text.into()),
        get: |config| config.python.display().to_string(),
    },
    Key {
        name: "interpreters",
        expected: "a number from 1 to 1000",
        set: |config, text| number(text, 1, 1_000).map(|n| config.interpreters = n),
        get: |config| config.interpreters.to_string(),
    },
    Key {
        name: "workflows",
        expected: "a folder",
        set: |config, text| (!text.is_empty()).then(|| config.workflows = Some(text.into())),
        get: |config| config.workflows.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default(),
    },
    Key {
        name: "queues",
        expected: "`quorum` or `classic`",
        set: |config, text| {
            config.queues = match text {
                "quorum" => QueueType::Quorum,
                "classic" => QueueType::Classic,
                _ => return None,
            };
            Some(())
        },
        get: |config| format!("{:?}", config.queues).to_lowercase(),
    },
    Key {
        name: "prefix",
        expected: "1 to 50 letters, digits, `_`, `-` or `.`",
        set: |config, text| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let fits = (1..=50).contains(&text.len()) && text.chars().all(allowed);
            fits.then(|| text.clone_into(&mut config.prefix))
        },
        get: |config| config.prefix.clone(),
    },
    Key {
        name: "management",
        expected: "empty, or an `http://` URL, e.g. `http://host:15672`",
        set: |config, text| {
            let known = text.is_empty() || text.strip_prefix("http://").is_some_and(|host| !host.is_empty());
            known.then(|| text.clone_into(&mut config.management))
        },
        get: |config| config.management.clone(),
    },
    Key {
        name: "part_queues",
        expected: "prefixes separated by commas, e.g. `part.` or `part.,jobs.part.`",
        set: |config, text| {
            let prefixes = text.split(',').all(|prefix| (1..=50).contains(&prefix.len()));
            prefixes.then(|| text.clone_into(&mut config.part_queues))
        },
        get: |config| config.part_queues.clone(),
    },
    Key {
        name: "hook_routes",
        expected: "empty, or prefixes separated by commas, e.g. `orders.` or `orders.,bills.`",
        set: |config, text| {
            text.clone_into(&mut config.hook_routes);
            Some(())
        },
        get: |config| config.hook_routes.clone(),
    },
    Key {
        name: "events",
        expected: "`none`, `jobs` or `parts`",
        set: |config, text| {
            config.events = Some(match text {
                "none" => EventScope::Off,
                "jobs" => EventScope::Jobs,
                "parts" => EventScope::Parts,
                _ => return None,
            });
            Some(())
        },
        get: |config| {
            let word = match config.events {
                None => "",
                Some(EventScope::Off) => "none",
                Some(EventScope::Jobs) => "jobs",
                Some(EventScope::Parts) => "parts",
            };
            word.into()
        },
    },
    Key {
        name: "synchronous",
        expected: "`full` or `normal`",
        set: |config, text| {
            config.synchronous = match text {
                "full" => Synchronous::Full,
                "normal" => Synchronous::Normal,
                _ => return None,
            };
            Some(())
        },
        get: |config| format!("{:?}", config.synchronous).to_lowercase(),
    },
    Key {
        name: "log",
        expected: "a filter, e.g. `warn` or `info,ork=debug`",
        set: |config, text| {
            text.clone_into(&mut config.log);
            Some(())
        },
        get: |config| config.log.clone(),
    },
];

fn number(text: &str, least: usize, most: usize) -> Option<usize> {
    text.parse().ok().filter(|n| (least..=most).contains(n))
}

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}
