//! The configuration: what the code says, over what the environment says, over what `ork.toml` says. This is the only
//! reader of the environment.

mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::broker::urls;
use crate::event::EventScope;

pub use keys::{KEYS, Key};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// This file.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// The program.
    Code,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Code => f.write_str("code"),
        }
    }
}

/// How a process of ork is set up.
///
/// ```
/// let mut config = ork::Config::default();
/// config.set("concurrency", "8")?;
/// assert_eq!(config.concurrency, Some(8));
/// assert!(config.set("concurency", "8").unwrap_err().to_string().contains("did you mean `concurrency`?"));
/// # Ok::<(), ork::ConfigError>(())
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// `embedded`, or the URL of a RabbitMQ: `amqp://user:password@host:5672/vhost`. Of a cluster the URLs of several
    /// nodes, with commas between them; they are tried in turn.
    pub broker: String,
    /// `sqlite:PATH`, the URL of a `PostgreSQL` (`postgres://user:password@host:5432/database`), `memory:`, or `none`.
    pub store: String,
    /// What this worker is called; the host's name and the process's number if nobody says.
    pub name: Option<String>,
    /// How many `async fn` tasks run at once.
    pub concurrency: Option<usize>,
    /// How many `fn` tasks run at once, and tasks in other languages.
    pub blocking: Option<usize>,
    /// No message may be larger.
    pub max_message_bytes: usize,
    /// How many parts travel in one page from a split to the store.
    pub page: usize,
    /// How often work may come back unsettled before it counts as failed. RabbitMQ counts what a worker gave back, too.
    pub max_losses: u32,
    /// How long RabbitMQ waits for the acknowledgement of long work, before a lease in the store takes its place. It must
    /// be well below the server's `consumer_timeout`.
    pub ack_within: Duration,
    /// How long a worker that was told to stop may take to end what it has begun.
    pub shutdown: Duration,
    /// How long a cancelled task may go on before it is dropped.
    pub grace: Duration,
    /// How long jobs are kept after the last job of their tree has ended; `None`: for ever.
    pub retention: Option<Duration>,
    /// Where large outputs are kept: `store`, beside their jobs; `file:PATH`, a folder that all processes see; or
    /// `s3://BUCKET/PREFIX`, which the usual `AWS_` variables open.
    pub large_outputs: String,
    /// Outputs of more bytes than this are large: they travel in no message.
    pub large_output_bytes: usize,
    /// The interpreter of tasks in Python.
    pub python: PathBuf,
    /// How many interpreters run at once, busy and idle ones.
    pub interpreters: usize,
    /// Where the files of workflows are on this machine; by default where they were when a run was submitted.
    pub workflows: Option<PathBuf>,
    /// Whether RabbitMQ's queues are `quorum` or `classic`.
    pub queues: QueueType,
    /// What the names of RabbitMQ's queues and exchanges begin with.
    pub prefix: String,
    /// Where RabbitMQ's management API is, which only `doctor` asks; empty: at port 15672 of the first node.
    pub management: String,
    /// What the names of part queues may begin with, with commas between them; the first one is for ork's own.
    pub part_queues: String,
    /// What the routes of hooks may begin with, with commas between them; nothing: whatever they like.
    pub hook_routes: String,
    /// Which events are told: none, those about jobs, or those about parts as well. If nobody says: those about jobs, to whoever
    /// listens in the process; over a broker none, for there they have their price even where nobody listens.
    pub events: Option<EventScope>,
    /// Whether `SQLite` survives the loss of power (`full`) or only that of the process (`normal`).
    pub synchronous: Synchronous,
    /// What is logged, as a filter: `warn`, or `info,ork=debug`.
    pub log: String,
    sources: BTreeMap<&'static str, Source>,
}

/// The kind of RabbitMQ's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueType {
    /// Replicated where there are several nodes, and safe.
    #[default]
    Quorum,
    /// The older kind.
    Classic,
}

/// What `SQLite` survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// The loss of power.
    #[default]
    Full,
    /// The death of the process.
    Normal,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            broker: "embedded".into(),
            store: "sqlite:.ork/ork.db".into(),
            name: None,
            concurrency: None,
            blocking: None,
            max_message_bytes: 16 * 1024 * 1024,
            page: 1_000,
            max_losses: 20,
            ack_within: Duration::from_mins(10),
            shutdown: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            retention: None,
            large_outputs: "store".into(),
            large_output_bytes: 256 * 1024,
            python: "python3".into(),
            interpreters: 8,
            workflows: None,
            queues: QueueType::default(),
            prefix: "ork".into(),
            management: String::new(),
            part_queues: "part.".into(),
            hook_routes: String::new(),
            events: None,
            synchronous: Synchronous::default(),
            log: "warn,lapin=off".into(),
            sources: BTreeMap::new(),
        }
    }
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such key.
    #[error("{source_name}: there is no key `{key}`{}", suggestion.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// Where it stands.
        source_name: String,
        /// What it says.
        key: String,
        /// The nearest key.
        suggestion: Option<&'static str>,
    },
    /// A value that the key does not take.
    #[error("{source_name}: `{key}` is `{value}`: expected {expected}")]
    Value {
        /// Where it stands.
        source_name: String,
        /// The key.
        key: &'static str,
        /// What it says, without secrets.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
    /// The file cannot be read.
    #[error("the configuration {} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration {} is not TOML", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads the environment, and `ork.toml` of the working folder or the file that `ORK_CONFIG` names.
    ///
    /// # Errors
    /// When the file cannot be read, or anything in it or in the environment is unknown or has a wrong value.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
    pub fn load() -> Result<Self, ConfigError> {
        let named = std::env::var_os("ORK_CONFIG").map(PathBuf::from);
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
                variables.push((name.to_owned(), value.to_owned()));
            }
        }
        Self::from(named.as_deref(), variables)
    }

    /// The configuration of this file, if it is there or was named, and these variables.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn from(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let path = file.unwrap_or_else(|| Path::new("ork.toml"));
        match std::fs::read_to_string(path) {
            Ok(text) => config.read(path, &text)?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ConfigError::File { path: path.to_owned(), source });
            }
        }
        for (name, value) in variables {
            let Some(key) = name.strip_prefix("ORK_").map(str::to_lowercase) else {
                continue;
            };
            if key == "config" || key.starts_with("test_") {
                continue;
            }
            let source = Source::Environment(name.clone());
            match config.set_from(&key, &value, source) {
                // A program may have variables of its own; only what looks like a slip is one.
                Err(ConfigError::Unknown { suggestion: None, .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(config)
    }

    fn read(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let wrong = |source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) };
        let table: toml::Table = toml::from_str(text).map_err(wrong)?;
        for (key, value) in table {
            let value = match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            self.set_from(&key, &value, Source::File(path.to_owned()))?;
        }
        Ok(())
    }

    /// Sets a key from its text, as the program's own word, which counts more than file and environment.
    ///
    /// # Errors
    /// When the key is unknown or does not take the value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        self.set_from(key, value, Source::Code)
    }

    fn set_from(&mut self, key: &str, value: &str, source: Source) -> Result<(), ConfigError> {
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            let near = |known: &&Key| strsim::jaro_winkler(known.name, key);
            let best = KEYS.iter().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|best| near(best) > 0.85);
            return Err(ConfigError::Unknown {
                source_name: source.to_string(),
                key: key.to_owned(),
                suggestion: best.map(|best| best.name),
            });
        };
        if (known.set)(self, value).is_none() {
            return Err(ConfigError::Value {
                source_name: source.to_string(),
                key: known.name,
                value: redact(value),
                expected: known.expected,
            });
        }
        self.sources.insert(known.name, source);
        Ok(())
    }

    /// Every key with its value, without secrets, and where that comes from.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String, Source)> {
        KEYS.iter().map(|key| {
            let source = self.sources.get(key.name).cloned().unwrap_or(Source::Default);
            (key.name, redact(&(key.get)(self)), source)
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries().map(|(key, value, _)| (key, value))).finish()
    }
}

/// A URL, or several with commas between them, without passwords; anything else as it is.
pub(crate) fn redact(text: &str) -> String {
    let shown: Vec<_> = urls(text).iter().map(|url| redact_url(url)).collect();
    shown.join(", ")
}

fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // What follows a colon is a port, or else a password that should have been encoded.
    let port = authority.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']') || port.parse::<u16>().is_ok());
    let within = if authority.contains('@') || port { authority } else { rest };
    // The last `@` ends the password, which may hold others.
    match within.rsplit_once('@') {
        None => format!("{scheme}://{}", redact_query(rest)),
        Some((user, _)) => {
            let after = rest.get(user.len()..).unwrap_or_default();
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***{}", redact_query(after))
        }
    }
}

/// `PostgreSQL`'s URLs may say the password at their end, too.
fn redact_query(text: &str) -> String {
    let mut shown = String::new();
    for (n, pair) in text.split('&').enumerate() {
        shown.push_str(if n > 0 { "&" } else { "" });
        match pair.find("password=") {
            Some(at) => {
                shown.push_str(pair.get(..at).unwrap_or_default());
                shown.push_str("password=***");
            }
            None => shown.push_str(pair),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from(None, variables)
    }

    #[test]
    fn environment_overrides_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ork.toml");
        std::fs::write(&file, "concurrency = 3\npage = 10\nshutdown = \"5s\"\n").unwrap();
        let config = Config::from(Some(&file), [("ORK_PAGE".to_owned(), "20".to_owned())]).unwrap();
        assert_eq!((config.concurrency, config.page, config.shutdown), (Some(3), 20, Duration::from_secs(5)));
    }

    #[test]
    fn misspelled_keys_and_wrong_values_are_rejected_with_a_hint() {
        let error = with(&[("ORK_BROKR", "x")]).unwrap_err().to_string();
        assert_eq!(error, "ORK_BROKR: there is no key `brokr`, did you mean `broker`?");
        assert!(with(&[("ORK_OF_MY_OWN", "x")]).is_ok());
        let error = with(&[("ORK_CONCURRENCY", "many")]).unwrap_err().to_string();
        assert_eq!(error, "ORK_CONCURRENCY: `concurrency` is `many`: expected a number from 1 to 100000");
    }

    #[test]
    fn no_password_is_ever_shown() {
        let config = with(&[("ORK_BROKER", "amqp://me:s3cret@[::1]:1/v")]).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("s3cret") && shown.contains("amqp://me:***@[::1]:1/v"), "{shown}");
        assert_eq!(redact("amqp://me:p@ss:w@rd@host/v"), "amqp://me:***@host/v");
        assert_eq!(redact("amqp://me:p,w@one/v,amqps://you:pw@two/v"), "amqp://me:***@one/v, amqps://you:***@two/v");
        assert_eq!(redact("postgres://me:p/w?x@host/db"), "postgres://me:***@host/db");
        assert_eq!(redact("postgres://host:5432/db?a=b@c"), "postgres://host:5432/db?a=b@c");
        assert_eq!(
            redact("postgres://[::1]/db?user=me&password=s3cret&a=b"),
            "postgres://[::1]/db?user=me&password=***&a=b"
        );
        let error = with(&[("ORK_STORE", "mysql://me:s3cret@host/db")]).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
