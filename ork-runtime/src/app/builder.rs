//! Builds a process. Settings in code override the environment, which overrides the configuration file.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Ork;
use super::adapters::Adapters;
use crate::broker::embedded::Embedded;
use crate::broker::{Broker, BrokerError};
use crate::client::{Client, waiters::Waiters};
use crate::clock::{Clock, shared::SharedClock, system::SystemClock};
use crate::config::{Config, ConfigError};
use crate::engine::large_outputs::LargeOutputs;
use crate::engine::{self, Engine, Settings};
use crate::entropy::{Entropy, system::SystemEntropy};
use crate::error_debug;
use crate::event::{EventRouting, EventScope};
use crate::id::WorkerId;
use crate::message::Limits;
use crate::objects::{ObjectError, Objects};
use crate::registry::{Registry, RegistryError};
use crate::runtime::{Runtime, system::TokioRuntime};
use crate::store::{Heartbeat, Store, StoreError};
use crate::supervisor::Supervisor;
use crate::task::state::States;
use crate::tx::Actor;
use crate::worker;

/// The error of a process that could not be built.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Tasks contradict each other, or a task needs a state that was not given. All problems are reported together,
    /// one per line.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Registry(Vec<RegistryError>),
    /// Two states of the same type were given.
    #[error("two states of the same type were given: {0}")]
    StateTwice(&'static str),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker cannot be reached, or refused the connection.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The place for large outputs cannot be used.
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        error_debug::fmt(self, f)
    }
}

type Ports = (Arc<dyn Store>, Option<Arc<dyn Broker>>, WorkerId);

/// Builds an [`Ork`]. Made by `ork::builder`.
///
/// The configuration is read from the environment and from `ork.toml`, see [`Config::load`]; what is set here
/// overrides both.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` or `main_with`"]
pub struct OrkBuilder {
    /// The adapters that this program contains. They open the store, the broker, the object storage and the executor
    /// that the configuration names.
    adapters: Adapters,
    /// The keys that were set on the builder, with their values, in the order of the calls. They are applied to the
    /// configuration when the process is built, so that errors in them are reported then.
    overrides: Vec<(&'static str, String)>,
    /// The configuration to use; `None` if it is read from the environment and the file when the process is built.
    config: Option<Config>,
    /// The values that tasks receive as `State<T>`, at most one of each type.
    states: States,
    /// The name of a type of which two states were given. It is kept here because [`OrkBuilder::state`] cannot fail:
    /// the build reports the error.
    state_twice: Option<&'static str>,
    /// The tasks of the process; `None` for all tasks that are linked into the program.
    registry: Option<Registry>,
    /// The store, the broker and the worker id to use; `None` to open those that the configuration names. Without a
    /// broker among them, jobs travel through the store.
    ports: Option<Ports>,
    /// The storage for large outputs; `None` for the place that the configuration names.
    objects: Option<Arc<dyn Objects>>,
    /// The clock of this process. The built process adjusts its time to that of the store.
    clock: Arc<dyn Clock>,
    /// The runtime on which the futures of the process run.
    runtime: Arc<dyn Runtime>,
    /// The source of ids and random numbers.
    entropy: Arc<dyn Entropy>,
}

impl OrkBuilder {
    /// Returns a builder of processes with these adapters.
    #[doc(hidden)]
    pub fn new(adapters: Adapters) -> Self {
        Self {
            adapters,
            overrides: Vec::new(),
            config: None,
            states: States::default(),
            state_twice: None,
            registry: None,
            ports: None,
            objects: None,
            clock: Arc::new(SystemClock),
            runtime: Arc::new(TokioRuntime),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// Sets a key of the configuration by its name in `ork.toml`, e.g. with a value that a user has given. An unknown key
    /// or a wrong value is reported when the process is built. Each key also has a method.
    pub fn set(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.overrides.push((key, value.into()));
        self
    }

    /// Uses this configuration instead of the environment and the file. Keys that are set on the builder still
    /// override it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Adds a state, which is passed to the tasks that take a `State<T>`. There can be one state of each type.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if !self.states.insert(value) {
            self.state_twice = Some(std::any::type_name::<T>());
        }
        self
    }

    /// Uses these tasks instead of all tasks that are linked into the program.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Uses this clock instead of the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Runs the futures of the process on this runtime instead of the tokio runtime in which it is built.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Draws ids and random numbers from this source instead of the system's.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Uses this store, broker and worker id instead of those that the configuration names. Without a broker, jobs
    /// travel through the store.
    pub fn ports(mut self, store: Arc<dyn Store>, broker: Option<Arc<dyn Broker>>, worker: WorkerId) -> Self {
        self.ports = Some((store, broker, worker));
        self
    }

    /// Stores large outputs here instead of the place that the configuration names.
    pub fn objects(mut self, objects: Arc<dyn Objects>) -> Self {
        self.objects = Some(objects);
        self
    }

    /// Returns the configuration with the overrides of this builder.
    #[doc(hidden)]
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(config) => config.clone(),
            None => Config::load()?,
        };
        for (key, value) in &self.overrides {
            config.set(key, value)?;
        }
        Ok(config)
    }

    /// Returns the tasks of the process, after checking them and their states.
    #[doc(hidden)]
    pub fn tasks(&self) -> Result<Registry, BuildError> {
        if let Some(name) = self.state_twice {
            return Err(BuildError::StateTwice(name));
        }
        let registry = match &self.registry {
            Some(registry) => registry.clone(),
            None => Registry::collect().map_err(BuildError::Registry)?,
        };
        registry.check_states(&self.states).map_err(BuildError::Registry)?;
        Ok(registry)
    }

    /// Returns the executor, which runs tasks in other languages.
    #[doc(hidden)]
    pub fn executor(&self) -> Result<Option<Arc<dyn crate::executor::Executor>>, ConfigError> {
        Ok(self.adapters.executor(&self.resolve()?, &self.clock))
    }

    /// Opens the store, connects to the broker, and starts the services of the process. No worker is started: call
    /// [`Ork::spawn_worker`] or [`Ork::run_worker`] for that.
    ///
    /// # Errors
    /// Returns an error if the configuration or the tasks are invalid, the store cannot be opened, or the broker
    /// cannot be reached.
    ///
    /// # Cancel safety
    /// This method is cancel safe: nothing is left behind if the future is dropped.
    pub async fn build(self) -> Result<Ork, BuildError> {
        let config = self.resolve()?;
        let registry = Arc::new(self.tasks()?);
        let clock = Arc::new(SharedClock::new(self.clock));
        let shared: Arc<dyn Clock> = Arc::<SharedClock>::clone(&clock);
        let (store, broker, worker) = if let Some(ports) = self.ports {
            ports
        } else {
            let worker = WorkerId::new(config.name.clone().unwrap_or_else(default_name));
            (self.adapters.store(&config).await?, self.adapters.broker(&config, &worker)?, worker)
        };
        let broker = broker.unwrap_or_else(|| {
            let (clock, runtime) = (Arc::clone(&shared), Arc::clone(&self.runtime));
            Arc::new(Embedded::new(Arc::clone(&store), clock, runtime, worker.clone()))
        });
        let objects = match self.objects {
            Some(objects) => Some(objects),
            None => self.adapters.objects(&config)?,
        };
        let home = if objects.is_some() && store.records_jobs() { Some(store.store_id().await?) } else { None };
        broker.prepare(&worker::queues(&registry, 1)).await?;
        // This must come before the first write: with a clock that is ahead, this process would take others for dead.
        worker::services::set_clock(&*store, &clock).await?;
        // This must come before the first row is held: a row becomes free when the heartbeat of its holder expires,
        // so there must be a heartbeat.
        let actor = Actor { worker: worker.clone(), now: clock.now(), hold: false, events: EventRouting::Off };
        store
            .heartbeat(Heartbeat {
                ttl: worker::services::TTL,
                running: Vec::new(),
                holding: Vec::new(),
                waiting: Vec::new(),
                actor,
            })
            .await?;
        let supervisor = Supervisor::new(Arc::clone(&self.runtime));
        let waiters = match broker.replies().await? {
            None => Waiters::default(),
            Some(replies) => {
                let (waiters, service) = Waiters::new(replies, supervisor.stopping());
                supervisor.service("replies", service);
                waiters
            }
        };
        let (engine, receivers) = Engine::new(engine::Setup {
            registry,
            states: self.states,
            settings: settings(&config, &*broker),
            large: LargeOutputs::new(objects, home, config.large_output_bytes),
            executor: self.adapters.executor(&config, &shared),
            store,
            broker,
            runtime: self.runtime,
            entropy: self.entropy,
            clock,
            worker,
        });
        let engine = Arc::new(engine);
        worker::services::start(&engine, &supervisor, receivers);
        let client = Client::new(Arc::clone(&engine), waiters);
        let worker_ended = watch::Sender::new(None);
        Ok(Ork { client, engine, supervisor, config, force: CancellationToken::new(), worker_ended })
    }
}

fn settings(config: &Config, broker: &dyn Broker) -> Settings {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    Settings {
        concurrency: config.concurrency.unwrap_or(cores * 64),
        blocking_concurrency: config.blocking_concurrency.or(config.concurrency).unwrap_or(cores),
        split_page_size: config.split_page_size,
        max_worker_losses: config.max_worker_losses,
        ack_timeout: config.ack_timeout,
        workflows: config.workflows.clone(),
        cancel_grace: config.cancel_grace,
        retention: config.retention,
        events: config.events.unwrap_or(if broker.needs_relay() { EventScope::Off } else { EventScope::Jobs }),
        limits: Limits { bytes: config.max_message_bytes, ..Limits::default() },
    }
}

/// Returns the default name of a worker: the host name, if the system provides it, and the process id.
fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty()).unwrap_or("worker");
    format!("{host}-{}", std::process::id())
}
