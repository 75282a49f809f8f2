//! The broker port over RabbitMQ, with lapin. `docs/wire.md` describes the messages, exchanges and queues.
//!
//! Publishing and consuming use separate connections: the broker may stop reading a connection that publishes too
//! much, and acknowledgements must not wait behind that. Every call to the broker has a deadline, and every way to
//! lose the broker is a state that can be left again. Good places to start reading: `driver` for how a delivery comes
//! in, `publish` for how a message goes out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use lapin::types::ShortString;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use ork_core::event::Event;
use ork_core::hook::Allowed;
use ork_core::message::{Limits, Outgoing};
use ork_ports::broker::{Broker, BrokerError, PartQueues, Replies, Subscribe, Subscription};

mod ack;
mod acker;
mod amqp_connection;
mod connection_manager;
mod consume;
mod driver;
mod error;
mod management;
mod parts;
mod publish;
mod reader;
mod replies;
mod session;
mod topology;
mod url;
mod wire;

pub use topology::QueueKind;

use connection_manager::{ConnectionManager, Pauses, Target};
use error::{Cut, LinkError};
use management::Management;
use publish::{Publisher, Publishing};
use topology::Topology;
use url::Addresses;

/// The configuration of a RabbitMQ connection.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    addresses: Addresses,
    /// The prefix of the names of all exchanges and queues. The default is `ork`.
    pub prefix: String,
    /// The kind of queue that holds work.
    pub queues: QueueKind,
    /// The time that the broker may take for one answer. The default is 10 seconds.
    pub deadline: Duration,
    /// The time that [`Broker::close`] may take. The default is 2 seconds.
    pub close_deadline: Duration,
    /// The name that RabbitMQ shows for the connections.
    pub name: String,
    /// The maximum size of a message body, in bytes; larger bodies are not published.
    pub max_message_bytes: usize,
    /// The routes and part queues that the hooks of a message may name.
    pub allowed: Allowed,
    /// The URL of the management API. If empty, it is expected on the first node.
    pub management: String,
}

impl Config {
    /// Returns the default configuration for the RabbitMQ at this URL, or for a cluster whose nodes' URLs are
    /// separated by commas.
    ///
    /// # Errors
    /// `Config` if a URL cannot be read. The error does not quote the URL, as it may contain a password.
    pub fn new(url: &str) -> Result<Self, BrokerError> {
        Ok(Self {
            addresses: Addresses::parse(url)?,
            prefix: "ork".to_owned(),
            queues: QueueKind::default(),
            deadline: Duration::from_secs(10),
            close_deadline: Duration::from_secs(2),
            name: "ork".to_owned(),
            max_message_bytes: Limits::default().bytes,
            allowed: Allowed::default(),
            management: String::new(),
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.addresses)
            .field("prefix", &self.prefix)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

/// The RabbitMQ broker. It connects when it is first used.
#[derive(Debug)]
pub struct Amqp {
    /// The configuration, which does not change.
    config: Config,
    /// The exchanges and queues that this process needs. Each queue that is declared is remembered there, and declared
    /// again on a new connection.
    topology: Arc<Topology>,
    /// The connection for publishing and declaring. It is separate, because RabbitMQ stops reading from connections
    /// that publish when it is short of memory or disk.
    publishing: Arc<ConnectionManager>,
    /// The connection for consuming and acknowledging.
    consuming: Arc<ConnectionManager>,
    /// The publisher over `publishing`. It starts when it is first used.
    publishes: Arc<Publishing>,
    /// The connection for reading part queues.
    reading: Arc<ConnectionManager>,
    /// The part queues, which are read over `reading`.
    parts: parts::Parts,
    /// Cancelled first: consumers carry out the settlements made so far.
    closing: CancellationToken,
    /// Cancelled last: after that nothing is published.
    closed: CancellationToken,
    /// The tasks that consume; waited for before the connections are closed.
    consumers: TaskTracker,
    /// All other tasks, such as those of connections and publishing lanes.
    tasks: TaskTracker,
    /// The number of the newest generation of consumers, over all channels.
    generations: Arc<AtomicU64>,
    /// The number of settlements that came too late for their channel.
    stale: Arc<AtomicU64>,
}

impl Amqp {
    /// Creates a broker with this configuration, without connecting yet.
    ///
    /// # Errors
    /// `Config` if the configuration cannot work.
    pub fn new(config: Config) -> Result<Self, BrokerError> {
        let topology = Arc::new(Topology::new(&config.prefix, config.queues, config.allowed.clone())?);
        let tasks = TaskTracker::new();
        let link = |what: &str| {
            let (addresses, name) = (config.addresses.clone(), format!("{} {what}", config.name));
            ConnectionManager::new(Target { addresses, name, deadline: config.deadline }, tasks.clone())
        };
        let (publishing, reading, closed) = (link("publishes"), link("reads"), CancellationToken::new());
        let publishes = Arc::new(Publishing {
            link: Arc::clone(&publishing),
            topology: Arc::clone(&topology),
            tasks: tasks.clone(),
            closed: closed.clone(),
            publisher: OnceCell::new(),
        });
        let parts = parts::Parts::new(Arc::clone(&reading), topology.names.clone(), Arc::clone(&publishes));
        Ok(Self {
            publishing,
            consuming: link("consumes"),
            topology,
            publishes,
            reading,
            parts,
            closing: CancellationToken::new(),
            closed,
            consumers: TaskTracker::new(),
            tasks,
            generations: Arc::default(),
            stale: Arc::default(),
            config,
        })
    }

    /// Returns how many settlements came after their channel had ended, and therefore had no effect.
    pub fn n_stale(&self) -> u64 {
        self.stale.load(std::sync::atomic::Ordering::Relaxed)
    }

    async fn publisher(&self) -> &Publisher {
        self.publishes.publisher().await
    }

    /// Performs a step of the start of a process, and repeats it until the deadline if the connection is cut during
    /// it.
    async fn retry_startup<T, F>(&self, start: impl Fn() -> F + Send) -> Result<T, LinkError>
    where
        F: Future<Output = Result<T, LinkError>> + Send,
    {
        let until = Instant::now() + self.config.deadline;
        let mut pauses = Pauses::new();
        loop {
            match start().await {
                Err(error) if error.cut == Cut::Working && Instant::now() < until => {
                    tracing::debug!(error = error.detail, "connection lost during startup, retrying");
                    sleep(pauses.next()).await;
                }
                done => return done,
            }
        }
    }

    /// Collects the messages of a private queue of this process.
    async fn collect<T: Send + 'static>(
        &self,
        queue: ShortString,
        exchange: Option<ShortString>,
        taken: mpsc::Sender<T>,
        read: replies::Read<T>,
    ) -> Result<(), LinkError> {
        let collector = replies::Collector { link: Arc::clone(&self.consuming), queue, exchange, taken, read };
        let first = self.retry_startup(|| collector.open()).await?;
        self.consumers.spawn(collector.run(first, self.closing.clone()));
        Ok(())
    }

    async fn declare(&self, queues: &[Subscribe]) -> Result<(), LinkError> {
        self.retry_startup(|| self.declare_once(queues)).await
    }

    async fn declare_once(&self, queues: &[Subscribe]) -> Result<(), LinkError> {
        let (live, channel) = self.publishing.prepared(&self.topology).await?;
        for queue in queues {
            self.topology.declare(&live, &channel, queue).await?;
        }
        live.finish(&channel).await;
        Ok(())
    }
}

#[async_trait]
impl Broker for Amqp {
    fn needs_relay(&self) -> bool {
        true
    }

    fn queue(&self, queue: &str) -> String {
        format!("{}{queue}", self.topology.names.tasks)
    }

    async fn prepare(&self, queues: &[Subscribe]) -> Result<(), BrokerError> {
        Ok(self.declare(queues).await?)
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>> {
        let mut publications = Vec::with_capacity(messages.len());
        let encoded: Vec<Result<(), LinkError>> = messages
            .into_iter()
            .map(|message| {
                publications.push(wire::encode(message, &self.topology.names, self.config.max_message_bytes)?);
                Ok(())
            })
            .collect();
        let mut results = self.publisher().await.publish(publications).await.into_iter();
        encoded
            .into_iter()
            .map(|encoded| {
                encoded
                    .and_then(|()| results.next().unwrap_or_else(|| Err(LinkError::closed())))
                    .map_err(BrokerError::from)
            })
            .collect()
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        let shared = driver::Shared {
            link: Arc::clone(&self.consuming),
            topology: Arc::clone(&self.topology),
            publisher: self.publisher().await.clone(),
            closing: self.closing.clone(),
            tasks: self.consumers.clone(),
            generations: Arc::clone(&self.generations),
            stale: Arc::clone(&self.stale),
        };
        let stream = self.retry_startup(|| consume::subscribe(shared.clone(), subscribe.clone())).await?;
        Ok(Box::new(stream))
    }

    async fn replies(&self) -> Result<Option<Replies>, BrokerError> {
        let (results, answered) = mpsc::channel(replies::WAITING);
        let queue = self.topology.names.reply()?;
        self.collect(queue.clone(), None, results, wire::decode_reply).await?;
        Ok(Some(Replies { queue: queue.to_string(), replies: answered }))
    }

    async fn events(&self) -> Result<Option<mpsc::Receiver<Event>>, BrokerError> {
        let (sender, events) = mpsc::channel(replies::WAITING);
        self.declare(&[]).await?;
        let exchange = self.topology.names.events.clone();
        self.collect(self.topology.names.listener()?, Some(exchange), sender, wire::decode_event).await?;
        Ok(Some(events))
    }

    fn parts(&self) -> Option<&dyn PartQueues> {
        Some(&self.parts)
    }

    async fn waiting(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        let (live, channel) = self.publishing.channel("open a channel").await?;
        Ok(Some(self.topology.n_waiting(&live, &channel, queue).await?.into()))
    }

    async fn check(&self) -> Result<String, BrokerError> {
        self.declare(&[]).await?;
        let (live, channel) = self.publishing.channel("open a channel").await?;
        let dead = match self.topology.n_dead(&live, &channel).await? {
            0 => "empty".to_owned(),
            n => format!("holding {n} that no worker could run"),
        };
        let kind = match self.config.queues {
            QueueKind::Quorum => "quorum",
            QueueKind::Classic => "classic",
        };
        Ok(format!(
            "RabbitMQ at {} is reachable; exchange `{}` exists, {kind} queues; dead letters `{}`: {dead}",
            live.address(),
            self.topology.names.exchange,
            self.topology.names.dead
        ))
    }

    async fn hazards(&self) -> Result<Option<Vec<String>>, String> {
        let first = self.config.addresses.as_slice().first().ok_or("no address is configured")?;
        let management = Management::of(first, &self.config.management)?;
        management.hazards(&self.topology.names, self.config.deadline).await.map(Some)
    }

    async fn close(&self) {
        self.closing.cancel();
        self.consumers.close();
        let deadline = self.config.close_deadline / 4;
        let orderly = async {
            self.consumers.wait().await;
            self.closed.cancel();
            tokio::join!(self.consuming.close(deadline), self.publishing.close(deadline), self.reading.close(deadline));
            self.tasks.close();
            self.tasks.wait().await;
        };
        if timeout(self.config.close_deadline, orderly).await.is_err() {
            tracing::warn!(
                broker = %self.config.addresses,
                "RabbitMQ did not close the connections in time, dropping them"
            );
            self.closed.cancel();
            let none = Duration::ZERO;
            tokio::join!(self.consuming.close(none), self.publishing.close(none), self.reading.close(none));
        }
    }
}

impl Drop for Amqp {
    fn drop(&mut self) {
        self.closing.cancel();
        self.closed.cancel();
        self.publishing.abandon();
        self.consuming.abandon();
        self.reading.abandon();
    }
}
