//! The configuration. Code overrides the environment, and the environment overrides `ork.toml`. No other module reads
//! the environment.

mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::broker::urls;
use crate::error_debug;
use crate::event::EventScope;

pub use keys::{KEYS, Key};

/// The origin of the value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The built-in default.
    Default,
    /// The configuration file at this path.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The program itself, by [`Config::set`] or the builder.
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

/// The configuration of a process.
///
/// [`Config::load`] reads it from the environment and from `ork.toml`. Each field is a key in that file, and its
/// environment variable is `ORK_` followed by the name in capitals.
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
    /// The broker: `embedded`, so that jobs travel through the store, or the URL of a RabbitMQ server,
    /// `amqp://user:password@host:5672/vhost`. For a cluster, the URLs of several nodes, separated by commas; they
    /// are tried in turn.
    pub broker: String,
    /// The store: `sqlite:PATH`, the URL of a `PostgreSQL` database (`postgres://user:password@host:5432/database`),
    /// `memory:` for jobs that end with the process, or `none` for storeless jobs, which need RabbitMQ.
    pub store: String,
    /// The name of this worker, as jobs and logs show it. `None`: the host name and the process id.
    pub name: Option<String>,
    /// The number of `async fn` tasks that run at once in this process. `None`: 64 for each core.
    pub concurrency: Option<usize>,
    /// The number of plain `fn` tasks, and tasks in other languages, that run at once in this process. `None`: as
    /// `concurrency` if that is set, otherwise one for each core.
    pub blocking_concurrency: Option<usize>,
    /// The largest body of a message, in bytes. Larger inputs are refused when they are submitted.
    pub max_message_bytes: usize,
    /// The number of parts that a split sends to the store at once, as one page.
    pub split_page_size: usize,
    /// The number of times that a call may be lost, because its worker died or lost its connection, before its job or
    /// part fails. A call that a worker requeued when it stopped does not count. Without a store the delivery count of
    /// RabbitMQ is used, which may include requeued deliveries.
    pub max_worker_losses: u32,
    /// The time that a delivery from RabbitMQ may stay unacknowledged. Work that takes longer is acknowledged, and a
    /// lease in the store replaces the delivery. This must be well below the server's `consumer_timeout`, so that the
    /// server never closes the channel of a long call.
    pub ack_timeout: Duration,
    /// The time that a worker that is shutting down waits for its running calls. Calls that have not ended then go back
    /// to the queue.
    pub shutdown: Duration,
    /// The time that a cancelled task may continue before its future is dropped, or its process is killed.
    pub cancel_grace: Duration,
    /// The time for which jobs are kept after the last job of their tree has ended. Workers then remove them. `None`:
    /// forever.
    pub retention: Option<Duration>,
    /// The place where large outputs are stored: `store`, in the rows of their jobs; `file:PATH`, a folder that all
    /// processes share; or `s3://BUCKET/PREFIX`, with the credentials of the usual `AWS_` variables.
    pub large_outputs: String,
    /// Outputs of more bytes than this are large: they are not sent in messages.
    pub large_output_bytes: usize,
    /// The interpreter for tasks in Python: a path, or a name that is looked up in `PATH`.
    pub python: PathBuf,
    /// The largest number of Python interpreters, whether busy or idle.
    pub interpreters: usize,
    /// The folder of the workflow files on this machine. `None`: the folder in which they were when the run was
    /// submitted.
    pub workflows: Option<PathBuf>,
    /// The type of the queues in RabbitMQ.
    pub queues: QueueType,
    /// The prefix of the names of queues and exchanges in RabbitMQ.
    pub prefix: String,
    /// The URL of RabbitMQ's management API, which only `doctor` uses. Empty: port 15672 of the first node of
    /// `broker`.
    pub management: String,
    /// The accepted prefixes of part queues, separated by commas. The first one is used for the part queues that ork
    /// declares itself.
    pub part_queues: String,
    /// The accepted prefixes of the routes of hooks, separated by commas. Empty: any route.
    pub hook_routes: String,
    /// The events that are published: none, those about jobs, or those about parts as well. `None`: in process those
    /// about jobs, which costs nothing if there are no listeners; over a broker none, because there each event costs a
    /// message even if nothing consumes it.
    pub events: Option<EventScope>,
    /// Whether commits of `SQLite` survive a power failure, or only the death of the process.
    pub synchronous: Synchronous,
    /// The filter of the log, such as `warn` or `info,ork=debug`.
    pub log: String,
    sources: BTreeMap<&'static str, Source>,
}

/// The type of the queues in RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueType {
    /// Quorum queues, which are replicated over the nodes of a cluster.
    #[default]
    Quorum,
    /// Classic queues, which are not replicated.
    Classic,
}

impl QueueType {
    /// Returns the word of the type in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        }
    }
}

/// The failures that the commits of `SQLite` survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Commits survive a power failure.
    #[default]
    Full,
    /// Commits survive the death of the process, but not a power failure.
    Normal,
}

impl Synchronous {
    /// Returns the word of the durability in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            broker: "embedded".into(),
            store: "sqlite:.ork/ork.db".into(),
            name: None,
            concurrency: None,
            blocking_concurrency: None,
            max_message_bytes: 16 * 1024 * 1024,
            split_page_size: 1_000,
            max_worker_losses: 20,
            ack_timeout: Duration::from_mins(10),
            shutdown: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(5),
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
            log: "warn".into(),
            sources: BTreeMap::new(),
        }
    }
}

/// An error in the configuration.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no key of this name.
    #[error("{source_name}: unknown key `{key}`{}", suggestion.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// The place where the key was set: the path of the file, the name of the variable, or `code`.
        source_name: String,
        /// The key that was found.
        key: String,
        /// The most similar key, if one is similar enough.
        suggestion: Option<&'static str>,
    },
    /// The key does not accept the value.
    #[error("{source_name}: invalid value `{value}` for `{key}`: expected {expected}")]
    Value {
        /// The place where the key was set: the path of the file, the name of the variable, or `code`.
        source_name: String,
        /// The name of the key.
        key: &'static str,
        /// The value that was found, without passwords.
        value: String,
        /// The values that the key accepts.
        expected: &'static str,
    },
    /// The configuration file cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
    /// The configuration file is not valid TOML.
    #[error("the configuration file {} is not valid TOML", path.display())]
    Toml {
        /// The path of the file.
        path: PathBuf,
        /// The error of the parser, with its position.
        source: Box<toml::de::Error>,
    },
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        error_debug::fmt(self, f)
    }
}

impl Config {
    /// Reads the configuration from the environment, and from `ork.toml` in the current directory or the file that
    /// `ORK_CONFIG` names.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, a key in it is unknown, a value is wrong, or a variable looks
    /// like a misspelled key.
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

    /// Reads the configuration from a file and from variables. Without a file, `ork.toml` is read if it exists.
    ///
    /// # Errors
    /// As for [`Config::load`]. A file that is given must exist.
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
                // Other programs may use the prefix `ORK_`, too, so an unknown variable is an error only if it
                // resembles a key.
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

    /// Sets a key from text. The value overrides the environment and the file.
    ///
    /// # Errors
    /// Returns an error if the key is unknown, or does not accept the value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        self.set_from(key, value, Source::Code)
    }

    fn set_from(&mut self, key: &str, value: &str, source: Source) -> Result<(), ConfigError> {
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            let similarity = |known: &&Key| strsim::jaro_winkler(known.name, key);
            let best = KEYS
                .iter()
                .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
                .filter(|best| similarity(best) > 0.85);
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

    /// Returns all keys with their values, without passwords, and where each value comes from.
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

/// Hides the passwords of a URL, or of several URLs separated by commas. Other text is returned unchanged.
pub fn redact(text: &str) -> String {
    let shown: Vec<_> = urls(text).iter().map(|url| redact_url(url)).collect();
    shown.join(", ")
}

fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // After the last colon there is a port, or a password with characters that should have been encoded.
    let port = authority.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']') || port.parse::<u16>().is_ok());
    let within = if authority.contains('@') || port { authority } else { rest };
    // A password may contain `@`, so the last one ends it.
    match within.rsplit_once('@') {
        None => format!("{scheme}://{}", redact_query(rest)),
        Some((user, _)) => {
            let after = rest.get(user.len()..).unwrap_or_default();
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***{}", redact_query(after))
        }
    }
}

/// Hides the password in the query of a URL, where `PostgreSQL` accepts one, too.
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
        std::fs::write(&file, "concurrency = 3\nsplit_page_size = 10\nshutdown = \"5s\"\n").unwrap();
        let config = Config::from(Some(&file), [("ORK_SPLIT_PAGE_SIZE".to_owned(), "20".to_owned())]).unwrap();
        let found = (config.concurrency, config.split_page_size, config.shutdown);
        assert_eq!(found, (Some(3), 20, Duration::from_secs(5)));
    }

    #[test]
    fn misspelled_keys_and_wrong_values_are_rejected_with_a_hint() {
        let error = with(&[("ORK_BROKR", "x")]).unwrap_err().to_string();
        assert_eq!(error, "ORK_BROKR: unknown key `brokr`, did you mean `broker`?");
        assert!(with(&[("ORK_OF_MY_OWN", "x")]).is_ok());
        let error = with(&[("ORK_CONCURRENCY", "many")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "ORK_CONCURRENCY: invalid value `many` for `concurrency`: expected a number from 1 to 100000"
        );
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
