//! A test world: ork processes on one RabbitMQ and one store, with their own prefix, and a plain AMQP client.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use ork::{JobId, JobOutcome, JobState, Ork, OrkBuilder, Status};

use crate::node::shared_node;

/// The deadline of each test; nothing here takes longer unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

/// The resources that the processes of a test share: broker, prefix, kind of queue and store.
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) queues: &'static str,
    pub(crate) store: String,
    _folder: tempfile::TempDir,
}

/// Runs a test until it ends, or fails it at the deadline.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("hangs") });
    runtime.shutdown_background();
}

/// Runs a test on the shared node: over quorum queues with a store on disk and, if there is one, in a database, and
/// over classic queues with a store in memory.
pub(crate) fn each<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    for (store, queues) in [("sqlite", "quorum"), ("memory:", "classic")] {
        on(store, queues, &test);
    }
    if let Some(store) = database() {
        on(&store, "quorum", &test);
    }
}

/// Runs a test on the shared node over quorum queues, with each store that processes can share.
pub(crate) fn shared<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    on("sqlite", "quorum", &test);
    if let Some(store) = database() {
        on(&store, "quorum", &test);
    }
}

/// Creates a database for this test; `None` if there is no server and none is required.
#[cfg(feature = "postgres")]
fn database() -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(crate::postgres::database())
}

#[cfg(not(feature = "postgres"))]
const fn database() -> Option<String> {
    None
}

/// Runs a test on the shared node over quorum queues, with a store on disk.
pub(crate) fn once<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    on("sqlite", "quorum", test);
}

/// Runs a test on the shared node over this store and this kind of queue.
pub(crate) fn on<F: Future<Output = ()>>(store: &str, queues: &'static str, test: impl Fn(World) -> F) {
    let Some(url) = shared_node() else { return };
    let world = World::new(url, store, queues);
    let (url, prefix) = (world.url.clone(), world.prefix.clone());
    run(async {
        test(world).await;
        clean(&url, &prefix).await;
    });
}

/// Deletes the queues and exchanges of a test from the node, which other tests use too.
pub(crate) async fn clean(url: &str, prefix: &str) {
    let (_connection, channel) = plain(url).await;
    for queue in [
        "task.plain",
        "task.line",
        "task.parts",
        "task.ork.cancel",
        "task.ork.run",
        "task.ork.schedule",
        "task.ork.python",
        "task.ork.process",
        "dead",
    ] {
        channel.queue_delete(format!("{prefix}.{queue}").into(), QueueDeleteOptions::default()).await.unwrap();
    }
    for exchange in ["", ".hooks", ".events", ".unrouted"] {
        let name = format!("{prefix}{exchange}");
        channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();
    }
}

impl World {
    /// Creates a world with its own prefix on the node at this URL.
    pub(crate) fn new(url: &str, store: &str, queues: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = match store {
            "sqlite" => format!("sqlite:{}", folder.path().join("ork.db").display()),
            other => other.to_owned(),
        };
        let prefix = format!("t{}", &JobId::new().to_string()[20..]);
        Self { url: url.to_owned(), prefix, queues, store, _folder: folder }
    }

    /// Returns whether only one process can use the store.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.store == "memory:"
    }

    pub(crate) fn builder(&self) -> OrkBuilder {
        let config = ork::Config::from(Some("/dev/null".as_ref()), []).unwrap();
        let builder = ork::builder().config(config).store(&self.store).broker(&self.url);
        builder
            .set("prefix", &self.prefix)
            .set("queues", self.queues)
            .set("cancel_grace", "100ms")
            .set("shutdown", "10s")
    }

    /// Starts a process that only submits.
    pub(crate) async fn client(&self) -> Ork {
        self.builder().build().await.unwrap()
    }

    /// Starts a process that works.
    pub(crate) async fn worker(&self) -> Ork {
        let ork = self.client().await;
        ork.spawn_worker();
        ork
    }

    /// Connects a program that does not use ork.
    pub(crate) async fn foreigner(&self) -> Foreigner {
        let (connection, channel) = plain(&self.url).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let reply_queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
        let reply_queue = reply_queue.name().to_string();
        let replies = consume(&channel, &reply_queue).await;
        let dead = consume(&channel, &format!("{}.dead", self.prefix)).await;
        Foreigner { exchange: self.prefix.clone(), channel, reply_queue, replies, dead, _connection: connection }
    }
}

async fn plain(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn consume(channel: &Channel, queue: &str) -> Consumer {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap()
}

/// A plain AMQP client that also receives the dead letters.
pub(crate) struct Foreigner {
    exchange: String,
    pub(crate) channel: Channel,
    pub(crate) reply_queue: String,
    replies: Consumer,
    dead: Consumer,
    _connection: Connection,
}

impl Foreigner {
    /// Returns properties that request an outcome.
    pub(crate) fn requesting(&self, correlation: &str) -> BasicProperties {
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        properties.with_reply_to(self.reply_queue.as_str().into()).with_correlation_id(correlation.into())
    }

    /// Publishes a message for a task and waits for the broker's confirm.
    pub(crate) async fn publish(&self, task: &str, body: &[u8], properties: BasicProperties) {
        self.publish_to(&self.exchange, task, body, properties).await;
    }

    pub(crate) async fn publish_to(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let sent = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
        let confirmed = sent.await.unwrap();
        assert!(confirmed.is_ack() && confirmed.take_message().is_none(), "not routed");
    }

    /// Waits for the next outcome, and returns its correlation id and its JSON.
    pub(crate) async fn reply(&mut self) -> (String, serde_json::Value) {
        let reply = self.replies.next().await.unwrap().unwrap();
        let correlation = reply.properties.correlation_id().as_ref().unwrap().to_string();
        (correlation, serde_json::from_slice(&reply.data).unwrap())
    }

    /// Waits for the next dead letter.
    pub(crate) async fn dead(&mut self) -> Delivery {
        self.dead.next().await.unwrap().unwrap()
    }
}

/// Returns a header of a message as text.
pub(crate) fn header(message: &Delivery, name: &str) -> String {
    match message.properties.headers().as_ref().and_then(|headers| headers.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("header {name}: {other:?}"),
    }
}

/// Waits until the status of a job meets this condition.
pub(crate) async fn until(ork: &Ork, id: JobId, condition: impl Fn(&Status) -> bool) -> Status {
    let mut progress = std::pin::pin!(ork.watch(id));
    while let Some(status) = progress.next().await {
        let status = status.unwrap();
        if condition(&status) {
            return status;
        }
        assert!(!status.state.is_final(), "ended without it: {status:?}");
    }
    panic!("the stream ended");
}

/// Returns the error message of a failed job.
pub(crate) fn why(outcome: &JobOutcome) -> String {
    assert_eq!(outcome.status().state, JobState::Failed, "{outcome:?}");
    outcome.status().failure.as_ref().unwrap().to_string()
}

/// Returns a name that is unique to one run of a test.
pub(crate) fn fresh() -> String {
    JobId::new().to_string()
}
