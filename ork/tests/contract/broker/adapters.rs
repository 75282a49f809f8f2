//! The RabbitMQ adapter that the cases run over, with both kinds of queue.

use std::future::Future;
use std::sync::Arc;

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use ork_amqp::{Amqp, Config, QueueKind};
use ork_core::message::Outgoing;
use ork_ports::broker::Broker;

use crate::cases::{self, World};
use crate::node::shared_node;

/// The part of a RabbitMQ node that one case uses: all names in it begin with a prefix that no other case has.
#[derive(Debug, Clone)]
pub struct Namespace {
    pub url: String,
    pub prefix: String,
    pub kind: QueueKind,
}

impl Namespace {
    pub fn new(url: &str, kind: QueueKind) -> Self {
        let random = ork::JobId::new().to_string();
        Self { url: url.to_owned(), prefix: format!("t{}", &random[20..]), kind }
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(&self.url).unwrap();
        config.prefix.clone_from(&self.prefix);
        config.queues = self.kind;
        config
    }

    pub fn amqp(&self) -> Arc<Amqp> {
        Arc::new(Amqp::new(self.config()).unwrap())
    }

    /// Creates a world that publishes through the broker itself.
    pub async fn world(&self) -> World {
        let broker: Arc<dyn Broker> = self.amqp();
        broker.prepare(&[cases::queue(1)]).await.unwrap();
        let publisher = Arc::clone(&broker);
        World {
            broker,
            publish: Arc::new(move |messages| {
                let publisher = Arc::clone(&publisher);
                Box::pin(async move {
                    let outgoing = messages.into_iter().map(Outgoing::Work).collect();
                    for result in publisher.publish(outgoing).await {
                        result.unwrap();
                    }
                })
            }),
        }
    }

    /// Connects a plain AMQP client to the same node.
    pub async fn plain(&self) -> (lapin::Connection, lapin::Channel) {
        let connection = lapin::Connection::connect(&self.url, lapin::ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    pub fn name(&self, rest: &str) -> lapin::types::ShortString {
        format!("{}{rest}", self.prefix).into()
    }

    async fn clean(&self) {
        let (_connection, channel) = self.plain().await;
        for queue in [".task.a", ".dead"] {
            channel.queue_delete(self.name(queue), QueueDeleteOptions::default()).await.unwrap();
        }
        for exchange in ["", ".hooks", ".events", ".unrouted"] {
            channel.exchange_delete(self.name(exchange), ExchangeDeleteOptions::default()).await.unwrap();
        }
    }
}

/// Runs a case in a new namespace of the shared node, and deletes its queues and exchanges afterwards.
pub async fn in_a_namespace<Case, Done>(kind: QueueKind, case: Case)
where
    Case: FnOnce(Namespace) -> Done,
    Done: Future<Output = ()>,
{
    let Some(url) = shared_node() else { return };
    let namespace = Namespace::new(url, kind);
    case(namespace.clone()).await;
    namespace.clean().await;
}

/// Defines a test for each case and kind of queue.
macro_rules! over_rabbitmq {
    ($($case:ident),* $(,)?) => {
        mod quorum {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                in_a_namespace(QueueKind::Quorum, async |namespace| {
                    cases::$case(namespace.world().await).await;
                })
                .await;
            })*
        }
        mod classic {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                in_a_namespace(QueueKind::Classic, async |namespace| {
                    cases::$case(namespace.world().await).await;
                })
                .await;
            })*
        }
    };
}

over_rabbitmq!(
    published_messages_arrive_intact,
    requeued_message_is_redelivered_at_once,
    dropping_an_acker_requeues_the_message,
    a_flood_of_messages_arrives_completely,
    the_window_limits_unsettled_deliveries,
    resizing_the_window_keeps_ackers_valid,
    a_slow_delivery_does_not_hold_back_later_ones,
    stopping_requeues_messages_not_handed_out,
    dropping_a_subscription_requeues_its_messages,
    two_consumers_share_a_queue,
    dead_lettered_message_is_not_redelivered,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_are_never_redelivered() {
    for kind in [QueueKind::Quorum, QueueKind::Classic] {
        in_a_namespace(kind, async |namespace| {
            cases::acknowledged_messages_are_never_redelivered(namespace.world().await).await;
            cases::is_empty(namespace.world().await).await;
        })
        .await;
    }
}
