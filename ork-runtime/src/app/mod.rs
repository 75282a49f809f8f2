//! The application: builds a process of registry, store, broker, engine and services, and shuts it down gracefully.

mod adapters;
mod builder;
mod settings;
mod worker_handle;
#[cfg(feature = "workflow")]
pub mod workflows;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use adapters::{Adapter, Adapters, NewExecutor, OpenBroker, OpenObjects, OpenStore};
pub use builder::{BuildError, OrkBuilder};
pub use worker_handle::WorkerHandle;
#[cfg(feature = "workflow")]
pub use workflows::{EmbeddedWorkflow, WorkflowError};

use crate::broker::{Broker, BrokerError};
use crate::client::Client;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::objects::Objects;
use crate::registry::Registry;
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::worker::{self, Shutdown, Stopped};

/// The time that the final settlements may take to reach store and broker at shutdown.
const FINAL_SETTLEMENTS: Duration = Duration::from_secs(5);

/// A running process of ork: always a client, and a worker once one is started.
///
/// An `Ork` dereferences to its [`Client`]. End it with [`Ork::shutdown`]. If it is dropped instead, other processes
/// take over its work after its heartbeat has expired.
///
/// ```
/// # #[ork::task] fn hello(name: String) -> String { format!("hello {name}") }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ork = ork::builder().store("memory:").build().await?;
/// ork.spawn_worker();
/// assert_eq!(ork.submit(hello { name: "Ada".into() }).result().await?, "hello Ada");
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
    /// How the worker of this process has stopped; `None` while it runs, and before it is started.
    worker_ended: watch::Sender<Option<Stopped>>,
}

impl Ork {
    /// Returns the tasks of this process.
    pub fn registry(&self) -> &Registry {
        &self.engine.registry
    }

    /// Returns the executor, which runs tasks in other languages.
    #[cfg(feature = "workflow")]
    #[doc(hidden)]
    pub fn executor(&self) -> Option<&Arc<dyn crate::executor::Executor>> {
        self.engine.executor.as_ref()
    }

    /// Returns the configuration of this process.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Runs the worker of this process until its [handle](Ork::worker) stops it, or a service that the process needs
    /// fails.
    ///
    /// # Errors
    /// Returns an error if a queue cannot be consumed. If the broker is only unreachable, the worker waits for it.
    ///
    /// # Cancel safety
    /// If the future is dropped, the worker is not stopped: deliveries are processed until [`WorkerHandle::stop`] or
    /// [`Ork::shutdown`] is called.
    pub async fn run_worker(&self) -> Result<Stopped, BrokerError> {
        let stopped = worker::run(&self.engine, &self.supervisor, self.stop_signals()).await;
        self.worker_ended.send_replace(Some(*stopped.as_ref().unwrap_or(&Stopped::Failed)));
        stopped
    }

    /// Starts the worker of this process in the background. It runs until its handle stops it, or until
    /// [`Ork::shutdown`]; dropping the handle does not stop it.
    ///
    /// ```
    /// # #[ork::task] fn hello(name: String) -> String { format!("hello {name}") }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ork = ork::builder().store("memory:").build().await?;
    /// let worker = ork.spawn_worker();
    /// assert_eq!(ork.submit(hello { name: "Ada".into() }).result().await?, "hello Ada");
    /// worker.stop();
    /// assert_eq!(worker.wait().await, ork::Stopped::Drained);
    /// # ork.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn spawn_worker(&self) -> WorkerHandle {
        let (engine, supervisor) = (Arc::clone(&self.engine), self.supervisor.clone());
        let (signals, ended) = (self.stop_signals(), self.worker_ended.clone());
        self.supervisor.service("worker", async move {
            let stopped = match worker::run(&engine, &supervisor, signals).await {
                Ok(stopped) => stopped,
                Err(error) => {
                    tracing::error!(%error, "the worker cannot consume");
                    engine.fatal.cancel();
                    Stopped::Failed
                }
            };
            tracing::debug!(?stopped, "worker stopped");
            ended.send_replace(Some(stopped));
        });
        self.worker()
    }

    /// Returns a handle that stops the worker of this process.
    pub fn worker(&self) -> WorkerHandle {
        let (stop, kill) = (self.engine.drain.clone(), self.force.clone());
        WorkerHandle { stop, kill, ended: self.worker_ended.subscribe() }
    }

    fn stop_signals(&self) -> Shutdown {
        Shutdown { drain: self.engine.drain.clone(), force: self.force.clone(), within: self.config.shutdown }
    }

    /// Returns an observer of the slots of this process.
    #[cfg(feature = "_mutants")]
    #[doc(hidden)]
    pub fn slot_observer(&self) -> crate::SlotObserver {
        self.engine.slots.observer()
    }

    /// Returns a token that is cancelled when a service fails without which the process cannot continue.
    #[doc(hidden)]
    pub fn failed(&self) -> CancellationToken {
        self.engine.fatal.clone()
    }

    /// Returns the store.
    #[doc(hidden)]
    pub fn store(&self) -> &dyn Store {
        &*self.engine.store
    }

    /// Returns the broker.
    #[doc(hidden)]
    pub fn broker(&self) -> &dyn Broker {
        &*self.engine.broker
    }

    /// Returns the place for large outputs; `None` if they stay in the store.
    #[doc(hidden)]
    pub fn large_outputs(&self) -> Option<Arc<dyn Objects>> {
        self.engine.large.place().map(|place| place.objects)
    }

    /// Returns the clock, which shows the time of the store.
    #[doc(hidden)]
    pub fn clock(&self) -> &dyn Clock {
        &*self.engine.clock
    }

    /// Returns how many milliseconds the clock of this computer is ahead of the clock of the store.
    #[doc(hidden)]
    pub fn clock_ahead(&self) -> i64 {
        self.engine.store_clock.ahead()
    }

    /// Shuts the process down: drains the worker, sends what is left in the outbox of this process, and closes broker
    /// and store.
    ///
    /// Running calls have as long as the setting `shutdown` allows; calls that have not ended by that time are
    /// stopped, and their work goes back to the queue.
    ///
    /// # Cancel safety
    /// If the future is dropped, other processes do the rest after the heartbeat of this one has expired.
    pub async fn shutdown(self) {
        self.worker().stop();
        let within = self.config.shutdown + FINAL_SETTLEMENTS;
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
                    () = self.engine.clock.pause(FINAL_SETTLEMENTS) => {}
                }
            }
        }
        if let Some(executor) = &self.engine.executor {
            executor.shutdown().await;
        }
        self.engine.broker.close().await;
        if let Err(error) = self.engine.store.leave(self.engine.actor()).await {
            tracing::debug!(%error, "could not deregister from the store");
        }
        self.engine.store.close().await;
    }
}

/// Stops the services. The heartbeat runs on its own thread and would outlive a dropped `Ork`, so that no other
/// process would ever take over the rows that this one holds.
impl Drop for Ork {
    fn drop(&mut self) {
        self.worker().kill();
        self.supervisor.stopping().cancel();
    }
}

impl Deref for Ork {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
