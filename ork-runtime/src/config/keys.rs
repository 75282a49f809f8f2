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

/// The key of a number.
macro_rules! number {
    ($name:ident, $least:literal, $most:literal) => {
        Key {
            name: stringify!($name),
            expected: concat!("a number from ", $least, " to ", $most),
            set: |config, text| {
                config.$name = text.parse().ok().filter(|n| ($least..=$most).contains(n))?;
                Some(())
            },
            get: |config| config.$name.to_string(),
        }
    };
}

/// The key of a number whose default depends on the machine.
macro_rules! optional_number {
    ($name:ident, $least:literal, $most:literal) => {
        Key {
            name: stringify!($name),
            expected: concat!("a number from ", $least, " to ", $most),
            set: |config, text| {
                config.$name = Some(text.parse().ok().filter(|n| ($least..=$most).contains(n))?);
                Some(())
            },
            get: |config| config.$name.map(|n| n.to_string()).unwrap_or_default(),
        }
    };
}

/// The key of a duration.
macro_rules! duration {
    ($name:ident, $one:literal, $other:literal) => {
        Key {
            name: stringify!($name),
            expected: concat!("a duration, e.g. `", $one, "` or `", $other, "`"),
            set: |config, text| duration(text).map(|time| config.$name = time),
            get: |config| humantime::format_duration(config.$name).to_string(),
        }
    };
}

/// The key of one of several words.
macro_rules! choice {
    ($name:ident, $expected:literal, $($word:literal = $value:path),+) => {
        Key {
            name: stringify!($name),
            expected: $expected,
            set: |config, text| {
                config.$name = match text {
                    $($word => $value,)+
                    _ => return None,
                };
                Some(())
            },
            get: |config| match config.$name {
                $($value => $word.to_owned(),)+
            },
        }
    };
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
    optional_number!(concurrency, 1, 100_000),
    optional_number!(blocking_concurrency, 1, 500),
    number!(max_message_bytes, 1, 134_217_728),
    number!(split_page_size, 1, 100_000),
    number!(max_worker_losses, 0, 50),
    duration!(ack_timeout, "10m", "90s"),
    duration!(shutdown, "30s", "2m"),
    duration!(cancel_grace, "5s", "500ms"),
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
    number!(large_output_bytes, 1, 134_217_728),
    Key {
        name: "python",
        expected: "the path of a Python interpreter, or a name to look up in `PATH`",
        set: |config, text| (!text.is_empty()).then(|| config.python = text.into()),
        get: |config| config.python.display().to_string(),
    },
    number!(interpreters, 1, 1_000),
    Key {
        name: "workflows",
        expected: "a folder",
        set: |config, text| (!text.is_empty()).then(|| config.workflows = Some(text.into())),
        get: |config| config.workflows.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default(),
    },
    choice!(queues, "`quorum` or `classic`", "quorum" = QueueType::Quorum, "classic" = QueueType::Classic),
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
        get: |config| config.events.map_or("", EventScope::as_str).into(),
    },
    choice!(synchronous, "`full` or `normal`", "full" = Synchronous::Full, "normal" = Synchronous::Normal),
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

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}
