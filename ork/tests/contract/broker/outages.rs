//! Outages of RabbitMQ, its queues or the connection during work: no confirmed message is lost, and unsettled ones are
//! redelivered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use ork::{JobId, JobState};
use ork_amqp::{Amqp, QueueKind};
use ork_core::job::ReplyTo;
use ork_core::message::{Message, Outgoing, Reply};
use ork_ports::broker::{Broker as _, BrokerErrorKind, DeadLetterReason, Disposition};
use tokio::time::timeout;

use crate::adapters::{Namespace, in_a_namespace};
use crate::cases::{SOON, assert_no_delivery, next, number_of, numbered, queue};
use crate::node::private_node;
use crate::proxy::Proxy;
use crate::rabbitmq::{over_both, responding};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_sent_while_the_connection_is_cut_are_not_lost() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let (proxy, cut_namespace) = cuttable(&namespace);
        let (requester, worker) = (cut_namespace.amqp(), namespace.amqp());
        worker.prepare(&[queue(1)]).await.unwrap();
        let mut replies = requester.replies().await.unwrap().unwrap();
        for round in 0..30 {
            proxy.cut();
            let to = ReplyTo { queue: replies.queue.clone(), correlation: round.to_string() };
            worker.publish(vec![outcome(to)]).await.remove(0).unwrap();
            // A reply with a lost acknowledgement is redelivered, so earlier replies may arrive again.
            let received = async { while replies.replies.recv().await.unwrap().correlation != round.to_string() {} };
            timeout(SOON, received).await.expect("an outcome");
        }
        let queue = replies.queue.clone();
        requester.close().await;
        let to = ReplyTo { queue, correlation: String::new() };
        let error = worker.publish(vec![outcome(to)]).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Undeliverable, "the queue went with its client");
    })
    .await;
}

/// Regression: it took forty seconds to notice the dead connection, and up to ten more until the next attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reply_sent_while_packets_are_dropped_arrives_soon_after_the_network_recovers() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let (proxy, cut_namespace) = cuttable(&namespace);
        let (requester, worker) = (cut_namespace.amqp(), namespace.amqp());
        worker.prepare(&[queue(1)]).await.unwrap();
        let mut replies = requester.replies().await.unwrap().unwrap();
        proxy.stall();
        let to = ReplyTo { queue: replies.queue.clone(), correlation: "1".into() };
        worker.publish(vec![outcome(to)]).await.remove(0).unwrap();
        timeout(Duration::from_secs(30), proxy.is_noticed(1)).await.expect("the stall is not noticed");
        proxy.go_on_with_new_connections();
        // RabbitMQ must also notice that its delivery of the reply was lost.
        let result = timeout(Duration::from_secs(15), replies.replies.recv()).await.expect("an outcome in time");
        assert_eq!(result.unwrap().correlation, "1");
        requester.close().await;
    })
    .await;
}

fn outcome(to: ReplyTo) -> Outgoing {
    Outgoing::Reply(Reply { to, job: JobId::new(), state: JobState::Succeeded, output: None, error: None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_tried_in_turn_until_one_accepts_the_connection() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let (proxy, cut_namespace) = cuttable(&namespace);
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let [closed, silent] = [closed, responding(b"")].map(|port| format!("amqp://ada:s3cret@127.0.0.1:{port}"));
        // The first node that accepts connections is behind the proxy. The next one is used once that connection is
        // cut.
        let url = format!("{closed}, {},{}", cut_namespace.url, namespace.url);
        let at = |url: String| Namespace { url, ..namespace.clone() }.config();
        let broker = Arc::new(Amqp::new(at(url)).unwrap());
        let mut subscription = broker.subscribe(queue(10)).await.unwrap();
        let used = broker.check().await.unwrap();
        assert!(used.contains(&format!(":{}/", proxy.port())), "{used}");
        for number in 0..3 {
            publish_until_confirmed(&broker, vec![numbered(number)]).await;
            let delivery = next(&mut subscription).await;
            delivery.acker.settle(Disposition::Ack);
            proxy.cut();
        }
        let used = broker.check().await.unwrap();
        assert!(used.contains(&format!(":{}/", port_of(&namespace.url))), "{used}");
        broker.close().await;

        // A node that never responds does not use up the whole deadline.
        let broker = Amqp::new(at(format!("{silent},{}", namespace.url))).unwrap();
        broker.check().await.unwrap();
        broker.close().await;

        let mut config = at(format!("{closed},{silent}"));
        config.deadline = Duration::from_secs(4);
        let broker = Amqp::new(config).unwrap();
        let error = broker.check().await.unwrap_err().to_string();
        for node in [closed, silent] {
            assert!(error.contains(&node.replace("s3cret", "***")), "{error}");
        }
        assert!(error.contains("connection refused") && error.contains("does not respond to AMQP"), "{error}");
        broker.close().await;
        namespace.world().await;
    })
    .await;
}

/// A proxy or load balancer still accepts connections while the broker behind it is down. A client that was connected
/// must then get a "disconnected" error, not a "wrong protocol" error, so that it keeps retrying.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_down_behind_a_reachable_proxy_counts_as_disconnected() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let (proxy, cut_namespace) = cuttable(&namespace);
        let mut config = cut_namespace.config();
        config.deadline = Duration::from_secs(1);
        let broker = Arc::new(Amqp::new(config).unwrap());
        broker.prepare(&[queue(1)]).await.unwrap();
        proxy.go_away();
        // The first call may merely discover that the connection is lost.
        for expected in ["", "closes the connection when it receives AMQP"] {
            let error = broker.subscribe(queue(1)).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), BrokerErrorKind::Disconnected, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        proxy.come_back(1).await;
        let mut subscription = loop {
            match broker.subscribe(queue(1)).await {
                Ok(subscription) => break subscription,
                Err(error) => assert_eq!(error.kind(), BrokerErrorKind::Disconnected, "{error}"),
            }
        };
        publish_until_confirmed(&broker, vec![numbered(1)]).await;
        next(&mut subscription).await.acker.settle(Disposition::Ack);
        broker.close().await;
        namespace.world().await;
    })
    .await;
}

/// Returns the same namespace behind a proxy that can be cut.
fn cuttable(namespace: &Namespace) -> (Proxy, Namespace) {
    let (proxy, url) = Proxy::before(&namespace.url);
    (proxy, Namespace { url, ..namespace.clone() })
}

pub fn port_of(url: &str) -> u16 {
    let authority = url.split("//").nth(1).unwrap().split('/').next().unwrap();
    authority.rsplit(':').next().unwrap().parse().unwrap_or(5672)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsettled_messages_are_redelivered_after_a_cut_and_stale_ackers_change_nothing() {
    over_both(async |namespace| {
        let (proxy, cut_namespace) = cuttable(&namespace);
        let broker = cut_namespace.amqp();
        let mut subscription = broker.subscribe(queue(10)).await.unwrap();
        let world = namespace.world().await;
        world.publish((0..20).map(numbered).collect()).await;
        let mut late = Vec::new();
        for _ in 0..10 {
            late.push(next(&mut subscription).await);
        }
        proxy.cut();
        let first_again = next(&mut subscription).await;
        // On the new channel, the delivery tags of these stand for other deliveries, or for none, which would close
        // it.
        for (at, delivery) in late.into_iter().enumerate() {
            let settlement = match at % 3 {
                0 => Disposition::Ack,
                1 => Disposition::Requeue,
                _ => Disposition::DeadLetter(DeadLetterReason::Exhausted, String::new()),
            };
            delivery.acker.settle(settlement);
        }
        let (mut seen, mut n_again, mut delivery) = (BTreeSet::new(), 0, first_again);
        loop {
            n_again += delivery.redelivered;
            assert!(seen.insert(number_of(&delivery)), "{} was redelivered after it was settled", number_of(&delivery));
            delivery.acker.settle(Disposition::Ack);
            if seen.len() == 20 {
                break;
            }
            delivery = next(&mut subscription).await;
        }
        assert_eq!(n_again, 10);
        assert_no_delivery(&mut subscription).await;
        assert!(broker.n_stale() >= 10, "{}", broker.n_stale());
        broker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_survives_the_deletion_of_its_queue() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        let mut subscription = world.consume(5).await;
        let (_connection, channel) = namespace.plain().await;
        for number in 0..3 {
            channel.queue_delete(namespace.name(".task.a"), QueueDeleteOptions::default()).await.unwrap();
            // A message that is published while the queue is missing is dead-lettered. A later one finds a new queue.
            let recovered = async {
                loop {
                    world.publish(vec![numbered(number)]).await;
                    if let Ok(delivery) = timeout(Duration::from_millis(200), subscription.next()).await {
                        return delivery.unwrap();
                    }
                }
            };
            let delivery = timeout(SOON, recovered).await.expect("the consumer did not recover");
            delivery.acker.settle(Disposition::Ack);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publisher_survives_the_deletion_of_its_exchange() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let publisher = namespace.amqp();
        publisher.prepare(&[queue(1)]).await.unwrap();
        publish_until_confirmed(&publisher, vec![numbered(0)]).await;
        let (_connection, channel) = namespace.plain().await;
        channel.exchange_delete(namespace.name(""), ExchangeDeleteOptions::default()).await.unwrap();
        // The exchange is declared again with its bindings, so none of these messages is dead-lettered. A message that
        // is published while the channel is closed for this fails, and is published again.
        publish_until_confirmed(&publisher, (1..50).map(numbered).collect()).await;
        let mut subscription = publisher.subscribe(queue(100)).await.unwrap();
        let mut left: BTreeSet<_> = (0..50).collect();
        while !left.is_empty() {
            let delivery = next(&mut subscription).await;
            left.remove(&number_of(&delivery));
            delivery.acker.settle(Disposition::Ack);
        }
    })
    .await;
}

/// Publishes until each message is confirmed, as the relay does.
async fn publish_until_confirmed(broker: &Arc<Amqp>, messages: Vec<Message>) {
    let mut left = messages;
    while !left.is_empty() {
        let results = broker.publish(left.iter().cloned().map(Outgoing::Work).collect()).await;
        left =
            left.into_iter().zip(results).filter(|(_, result)| result.is_err()).map(|(message, _)| message).collect();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_a_full_queue_rejects_are_accepted_later() {
    let Some(node) = private_node() else { return };
    let full = r#"{"max-length": 3, "overflow": "reject-publish"}"#;
    let output = node.command("rabbitmqctl").args(["set_policy", "full", r"\.task\.", full]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let namespace = Namespace::new(&node.url(), QueueKind::Classic);
    let broker = namespace.amqp();
    broker.prepare(&[queue(1)]).await.unwrap();
    let results = broker.publish((0..10).map(numbered).map(Outgoing::Work).collect()).await;
    let refused: Vec<_> = (0..10).zip(results).filter_map(|(at, result)| Some((at, result.err()?))).collect();
    for (at, error) in &refused {
        assert_eq!(error.kind(), BrokerErrorKind::Disconnected, "{at}: {error}");
        assert!(error.to_string().contains("full or unavailable"), "{error}");
    }
    assert_eq!(refused.len(), 7);
    let mut subscription = broker.subscribe(queue(10)).await.unwrap();
    let again = publish_until_confirmed(&broker, refused.iter().map(|(at, _)| numbered(*at)).collect());
    let arriving = async {
        let mut left: BTreeSet<_> = (0..10).collect();
        while !left.is_empty() {
            let delivery = next(&mut subscription).await;
            assert!(left.remove(&number_of(&delivery)), "one arrived twice");
            delivery.acker.settle(Disposition::Ack);
        }
    };
    tokio::join!(again, arriving);
    broker.close().await;
}

/// The number of messages for each kind of queue while the broker is killed.
const N_KILLED: usize = 6_000;

/// All of this is one test, because one node is killed several times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_broker_is_killed() {
    let Some(mut node) = private_node() else {
        return;
    };
    let namespaces = [QueueKind::Quorum, QueueKind::Classic].map(|kind| Namespace::new(&node.url(), kind));

    // Confirmed messages survive a restart.
    for namespace in &namespaces {
        let world = namespace.world().await;
        world.publish((0..500).map(numbered).collect()).await;
        world.broker.close().await;
    }
    for queue in [".task.a", ".dead"] {
        node.wait_for_quorum_queue(namespaces[0].name(queue).as_str());
    }
    node.restart();
    for namespace in &namespaces {
        let world = namespace.world().await;
        let mut subscription = world.consume(100).await;
        let mut left: BTreeSet<_> = (0..500).collect();
        while !left.is_empty() {
            let delivery = next(&mut subscription).await;
            left.remove(&number_of(&delivery));
            delivery.acker.settle(Disposition::Ack);
        }
        world.broker.close().await;
    }

    // The node is killed while both sides work: both recover without help.
    let mut sides = Vec::new();
    let (half, mut halves) = tokio::sync::mpsc::unbounded_channel();
    for namespace in &namespaces {
        let (publisher, consumer) = (namespace.amqp(), namespace.amqp());
        publisher.prepare(&[queue(1)]).await.unwrap();
        let mut subscription = consumer.subscribe(queue(50)).await.unwrap();
        let half = half.clone();
        sides.push(tokio::task::LocalSet::new());
        let publishing = async move {
            for chunk in (0..N_KILLED).collect::<Vec<_>>().chunks(100) {
                publish_until_confirmed(&publisher, chunk.iter().copied().map(numbered).collect()).await;
            }
            publisher
        };
        let consuming = async move {
            let mut left: BTreeSet<_> = (0..N_KILLED).collect();
            while !left.is_empty() {
                let delivery = timeout(2 * SOON, subscription.next()).await.expect("a delivery").unwrap();
                left.remove(&number_of(&delivery));
                delivery.acker.settle(Disposition::Ack);
                if left.len() == N_KILLED - N_KILLED / 3 {
                    half.send(()).unwrap();
                }
            }
            consumer
        };
        sides.last().unwrap().spawn_local(async move {
            let (publisher, consumer) = tokio::join!(publishing, consuming);
            publisher.close().await;
            consumer.close().await;
        });
    }
    drop(half);
    let killing = async {
        for _ in 0..namespaces.len() {
            halves.recv().await.unwrap();
        }
        tokio::task::spawn_blocking(move || {
            node.restart();
            node
        })
        .await
        .unwrap()
    };
    let [one, two] = <[_; 2]>::try_from(sides).unwrap();
    let (mut node, (), ()) = tokio::join!(killing, one, two);

    // Closing does not wait for a response of a dead node.
    for namespace in &namespaces {
        let broker = namespace.amqp();
        let mut subscription = broker.subscribe(queue(10)).await.unwrap();
        publish_until_confirmed(&broker, vec![numbered(1)]).await;
        let held = next(&mut subscription).await;
        node.kill();
        timeout(Duration::from_mins(1), broker.close()).await.expect("closing waits for a dead node");
        held.acker.settle(Disposition::Ack);
        assert!(subscription.next().await.is_none(), "a closed broker still delivers");
        node.restart();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispositions_before_close_are_carried_out() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        let mut subscription = world.consume(200).await;
        world.publish((0..100).map(numbered).collect()).await;
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(next(&mut subscription).await);
        }
        for delivery in held {
            let number = number_of(&delivery);
            delivery.acker.settle(if number < 90 { Disposition::Ack } else { Disposition::Requeue });
        }
        world.broker.close().await;
        assert!(timeout(SOON, subscription.next()).await.unwrap().is_none());
        let (_connection, channel) = namespace.plain().await;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        // RabbitMQ requeues the unsettled messages of a connection only after it has confirmed the close.
        let poll = async {
            loop {
                let queue =
                    channel.queue_declare(namespace.name(".task.a"), passive, FieldTable::default()).await.unwrap();
                if queue.message_count() == 10 {
                    return;
                }
                assert!(queue.message_count() < 10, "{} were requeued", queue.message_count());
            }
        };
        timeout(SOON, poll).await.expect("ten messages in the queue");
    })
    .await;
}
