//! The application: puts registry, store, broker, engine and services together, and takes them apart in order.

mod adapters;
mod builder;
#[cfg(feature = "workflow")]
pub(crate) mod workflows;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use builder::{BuildError, OrkBuilder};
#[cfg(feature = "workflow")]
pub use workflows::{EmbeddedWorkflow, WorkflowError};

use crate::broker::BrokerError;
use crate::client::Client;
use crate::config::Config;
use crate::engine::Engine;
use crate::registry::Registry;
use crate::supervisor::Supervisor;
use crate::worker::{self, Shutdown, Stopped};

/// How long the last settlements may take to reach store and broker when a process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A running process of ork: client always, worker if asked.
///
/// Everything a [`Client`] can do, it can do. [`Ork::shutdown`] ends it in order; dropped without, it leaves its
/// work to the other processes, who take it over when its heartbeat has run out.
///
/// ```
/// # #[ork::task] fn hello(name: String) -> String { format!("hello {name}") }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ork = ork::Ork::builder().store("memory:").build().await?;
/// ork.start_worker();
/// assert_eq!(ork.submit(hello { name: "Ada".into() }).and_wait().await?, "hello Ada");
/// ork.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Ork {
    client: Client,
    engine: Arc<Engine>,
    supervisor: Supervisor,
    config: Config,
    force: CancellationToken,
}

impl Ork {
    /// Begins to set up a process: the environment and `ork.toml` are read, code may overrule them.
    pub fn builder() -> OrkBuilder {
        OrkBuilder::new()
    }

    /// The tasks of this program.
    pub fn registry(&self) -> &Registry {
        &self.engine.registry
    }

    /// What runs tasks that are no functions of this program.
    #[cfg(feature = "workflow")]
    pub(crate) fn executor(&self) -> Option<&Arc<dyn crate::executor::Executor>> {
        self.engine.executor.as_ref()
    }

    /// How this process is set up.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Works until [`Ork::drain`] or [`Ork::force_stop`] is called, or something it cannot do without fails.
    ///
    /// # Errors
    /// When a queue cannot be consumed; a broker that only went away is waited for.
    ///
    /// # Cancel safety
    /// Dropped, it takes no more deliveries; what it had begun goes on until [`Ork::shutdown`].
    pub async fn work(&self) -> Result<Stopped, BrokerError> {
        let shutdown =
            Shutdown { drain: self.engine.drain.clone(), force: self.force.clone(), within: self.config.shutdown };
        worker::run(&self.engine, &self.supervisor, shutdown).await
    }

    /// Starts to work beside whatever else the process does, until [`Ork::shutdown`].
    pub fn start_worker(&self) {
        let (engine, supervisor) = (Arc::clone(&self.engine), self.supervisor.clone());
        let shutdown =
            Shutdown { drain: self.engine.drain.clone(), force: self.force.clone(), within: self.config.shutdown };
        self.supervisor.service("worker", async move {
            match worker::run(&engine, &supervisor, shutdown).await {
                Ok(stopped) => tracing::debug!(?stopped, "worker stopped"),
                Err(error) => {
                    tracing::error!(%error, "the worker cannot consume");
                    engine.fatal.cancel();
                }
            }
        });
    }

    /// Asks the worker to take no more and to end what it has begun.
    pub fn drain(&self) {
        self.engine.drain.cancel();
    }

    /// Asks the worker to give back what it has begun; no attempt is counted for it.
    pub fn force_stop(&self) {
        self.force.cancel();
        self.engine.drain.cancel();
    }

    /// Fires when something failed that the process cannot do without.
    pub fn failed(&self) -> CancellationToken {
        self.engine.fatal.clone()
    }

    #[cfg(feature = "cli")]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ends in order: drains the worker, sends what is owed, lets go of broker and store.
    ///
    /// # Cancel safety
    /// What was not done then is done by other processes, once this one's heartbeat has run out.
    pub async fn shutdown(self) {
        self.drain();
        let within = self.config.shutdown + LAST_WORDS;
        let services = async {
            self.supervisor.idle().await;
            self.supervisor.stop().await;
        };
        tokio::select! {
            biased;
            () = services => {}
            () = self.engine.clock.pause(within) => {
                self.engine.force.cancel();
                tokio::select! {
                    biased;
                    () = self.supervisor.stop() => {}
                    () = self.engine.clock.pause(LAST_WORDS) => {}
                }
            }
        }
        if let Some(executor) = &self.engine.executor {
            executor.shutdown().await;
        }
        self.engine.broker.close().await;
        if let Err(error) = self.engine.store.leave(self.engine.actor()).await {
            tracing::debug!(%error, "could not say goodbye to the store");
        }
        self.engine.store.close().await;
    }
}

/// Its heartbeat has a thread of its own, and would go on: nobody would ever take over what it held.
impl Drop for Ork {
    fn drop(&mut self) {
        self.force_stop();
        self.supervisor.stopping().cancel();
    }
}

impl Deref for Ork {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
