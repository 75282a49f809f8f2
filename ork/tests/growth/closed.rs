//! Whatever RabbitMQ closes on a process, again and again: channels, consumers, queues and connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;
use ork::JobId;
use ork_amqp::{Amqp, Config};
use ork_core::message::{Message, Outgoing};
use ork_ports::broker::{Broker as _, BrokerErrorKind, Opened, Subscribe};

use crate::footprint::Footprint;
use crate::on_a_narrow_node;
use crate::proxy::Proxy;
use crate::rabbit::Rabbit;

/// The broker of a process, and a client other than ork.
struct Both {
    broker: Arc<Amqp>,
    proxy: Proxy,
    prefix: String,
    _connection: lapin::Connection,
    channel: lapin::Channel,
    /// A reader of a queue other than ork.
    reader: Mutex<Option<lapin::Consumer>>,
}

impl Both {
    async fn new(node: &Rabbit) -> Self {
        let (proxy, through) = Proxy::before(&node.url());
        let prefix = format!("t{}", &JobId::new().to_string()[20..]);
        let mut config = Config::new(&through).unwrap();
        config.prefix.clone_from(&prefix);
        config.queues = ork_amqp::QueueKind::Classic;
        let broker = Arc::new(Amqp::new(config).unwrap());
        broker.prepare(&[work("a")]).await.unwrap();
        let properties = lapin::ConnectionProperties::default();
        let connection = lapin::Connection::connect(&node.url(), properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { broker, proxy, prefix, _connection: connection, channel, reader: Mutex::default() }
    }

    async fn publish(&self, bytes: usize) -> Result<(), BrokerErrorKind> {
        let body = format!("\"{}\"", "x".repeat(bytes));
        let message = Message { body: body.into(), ..message() };
        let mut results = self.broker.publish(vec![Outgoing::Work(message)]).await;
        results.remove(0).map_err(|error| error.kind())
    }

    /// Publishes to a work queue directly. Returns whether the queue exists.
    async fn publish_plainly(&self, queue: &str) -> bool {
        let (key, properties) = (format!("{}.task.{queue}", self.prefix), lapin::BasicProperties::default());
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let sent = self.channel.basic_publish("".into(), key.into(), options, b"null", properties).await.unwrap();
        sent.await.unwrap().take_message().is_none()
    }

    async fn end(self) {
        self.channel
            .queue_delete(format!("{}.task.a", self.prefix).into(), QueueDeleteOptions::default())
            .await
            .unwrap();
        self.broker.close().await;
    }
}

fn work(queue: &str) -> Subscribe {
    Subscribe { queue: queue.to_owned(), tasks: vec![queue.to_owned()], window: 4, is_exact: false }
}

fn message() -> Message {
    Message { body: "null".into(), ..Message::about(JobId::new(), "a") }
}

/// Lets something be closed `times` times, the first half to warm up, and compares the footprints.
fn again_and_again(what: &str, times: u32, close: impl AsyncFn(&Both)) {
    on_a_narrow_node(Duration::from_mins(15), async |node| {
        let both = Both::new(node).await;
        let mut warm = None;
        for time in 0..times {
            if time == times / 2 {
                warm = Some(Footprint::now(node));
            }
            let closed = tokio::time::timeout(Duration::from_secs(30), close(&both)).await;
            closed.unwrap_or_else(|_| panic!("{what}: stuck after {time}"));
        }
        warm.unwrap().is_as_large_as(Footprint::now(node), &format!("{times} times {what}"));
        both.end().await;
    });
}

/// RabbitMQ closes a channel with 404 when the length of a queue is requested that does not exist.
async fn count_nothing(both: &Both) {
    assert_eq!(both.broker.parts().unwrap().count("part.nowhere").await.unwrap(), None);
}

/// RabbitMQ closes a channel with 403 when a queue has another, exclusive reader.
async fn open_while_read(both: &Both) {
    let queue = format!("part.{}", both.prefix);
    let made = both.channel.queue_declare(queue.clone().into(), QueueDeclareOptions::default(), FieldTable::default());
    if made.await.unwrap().consumer_count() == 0 {
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let tag = "another".into();
        let consume = both.channel.basic_consume(queue.clone().into(), tag, options, FieldTable::default());
        *both.reader.lock().unwrap() = Some(consume.await.unwrap());
    }
    assert!(matches!(both.broker.parts().unwrap().open(&queue, 5).await.unwrap(), Opened::Busy));
}

/// RabbitMQ closes a channel with 404 when a message is published to an exchange that does not exist.
async fn publish_without_exchange(both: &Both) {
    both.channel.exchange_delete(both.prefix.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
    both.publish(1).await.unwrap();
}

/// RabbitMQ closes a channel with 406 when a message is too large.
async fn publish_too_large(both: &Both) {
    assert_eq!(both.publish(100_000).await, Err(BrokerErrorKind::TooLarge));
}

/// RabbitMQ cancels the reader of a queue that is deleted.
async fn delete_while_read(both: &Both) {
    let (parts, queue) = (both.broker.parts().unwrap(), format!("part.{}", both.prefix));
    parts.make(&queue).await.unwrap();
    let Opened::Reader(mut reader) = parts.open(&queue, 5).await.unwrap() else { panic!("no reader") };
    both.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    assert!(reader.next().await.is_none());
}

/// Every connection of the process is cut.
async fn cut_every_connection(both: &Both) {
    both.proxy.cut();
    // The process has reconnected once both of its connections work again.
    while both.publish(1).await.is_err() || both.broker.parts().unwrap().count("part.nowhere").await.is_err() {}
}

macro_rules! closed {
    ($($short:ident, $long:ident: $close:ident, $times:literal, $more:literal, $what:literal;)*) => {
        $(
            /// Regression, where a channel is closed: no channel could be opened any more once all channel numbers had
            /// been used.
            #[test]
            fn $short() {
                again_and_again($what, $times, $close);
            }

            #[test]
            #[ignore = "long: .ci/prove --long"]
            fn $long() {
                again_and_again($what, $more, $close);
            }
        )*
    };
}

closed! {
    channels_closed_over_missing_queues_are_replaced, five_thousand_channels_over_missing_queues:
        count_nothing, 400, 5_000, "a queue that is not there was counted";
    channels_closed_over_another_reader_are_replaced, five_thousand_channels_over_another_reader:
        open_while_read, 400, 5_000, "a queue with another reader was opened";
    channels_closed_over_missing_exchanges_are_replaced, five_thousand_channels_over_missing_exchanges:
        publish_without_exchange, 200, 5_000, "a message was published to an exchange that is not there";
    channels_closed_over_large_messages_are_replaced, five_thousand_channels_over_large_messages:
        publish_too_large, 200, 5_000, "a message was too large";
    readers_that_are_cancelled_leave_nothing, five_thousand_cancelled_readers:
        delete_while_read, 300, 5_000, "the queue of a reader was deleted";
    connections_that_are_cut_leave_nothing, a_thousand_cut_connections:
        cut_every_connection, 100, 1_000, "every connection was cut";
}

/// Deletes many queues at once in each round, because a consumer waits longer after each loss.
fn subscriptions(queues: u32, rounds: u32) {
    on_a_narrow_node(Duration::from_mins(15), async |node| {
        let both = Both::new(node).await;
        let names: Vec<_> = (0..queues).map(|at| format!("q{at}")).collect();
        let mut consuming = Vec::new();
        for name in &names {
            consuming.push(both.broker.subscribe(work(name)).await.unwrap());
        }
        let mut warm = None;
        for round in 0..rounds {
            if round == rounds / 2 {
                warm = Some(Footprint::now(node));
            }
            for name in &names {
                let name = format!("{}.task.{name}", both.prefix);
                both.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
            }
            for (name, subscription) in names.iter().zip(&mut consuming) {
                // Until the queue is declared again, the message cannot be routed.
                while !both.publish_plainly(name).await {
                    tokio::task::yield_now().await;
                }
                let delivery = tokio::time::timeout(Duration::from_mins(1), subscription.next()).await.unwrap();
                delivery.unwrap().acker.settle(ork_ports::broker::Disposition::Ack);
            }
        }
        let what = format!("{rounds} times {queues} queues were deleted under their consumers");
        warm.unwrap().is_as_large_as(Footprint::now(node), &what);
        drop(consuming);
        both.end().await;
    });
}

/// The process has more queues than a connection has channels.
#[test]
fn consumers_of_deleted_queues_consume_again() {
    subscriptions(80, 4);
}

#[test]
#[ignore = "long: .ci/prove --long"]
fn five_thousand_consumers_of_deleted_queues() {
    subscriptions(500, 10);
}
