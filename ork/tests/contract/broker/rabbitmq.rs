//! Behavior that only RabbitMQ has: its names, its dead letters, messages of plain AMQP clients, and its errors.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, message::Delivery};
use ork::{JobId, JobState};
use ork_amqp::{Amqp, Config, QueueKind};
use ork_core::job::ReplyTo;
use ork_core::message::{Message, Outgoing, Reply, WorkKind};
use ork_ports::broker::{Broker as _, BrokerError, BrokerErrorKind, DeadLetterReason, Disposition, Subscribe};
use tokio::time::{Instant, timeout};

use crate::adapters::{Namespace, in_a_namespace};
use crate::cases::{QUEUE, SOON, assert_no_delivery, next, number_of, numbered, queue};
use crate::node::{can_start_nodes, shared_node};
use crate::outages::port_of;
use crate::proxy::Proxy;
use crate::rabbit::Rabbit;

/// Runs a case with both kinds of queue, each in a namespace of the shared node.
pub async fn over_both<Done: Future<Output = ()>>(case: impl Fn(Namespace) -> Done) {
    for kind in [QueueKind::Quorum, QueueKind::Classic] {
        in_a_namespace(kind, &case).await;
    }
}

/// Takes exactly one message from a queue: the consumer is cancelled before the message is acknowledged.
pub async fn get(channel: &Channel, queue: ShortString) -> Delivery {
    channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    let (tag, arguments) = (ShortString::from("get"), FieldTable::default());
    let consume = channel.basic_consume(queue, tag.clone(), BasicConsumeOptions::default(), arguments);
    let mut consumer = consume.await.unwrap();
    let message = timeout(SOON, consumer.next()).await.expect("nothing in the queue").unwrap().unwrap();
    channel.basic_cancel(tag, BasicCancelOptions::default()).await.unwrap();
    message.acker.ack(BasicAckOptions::default()).await.unwrap();
    message
}

pub fn header(message: &Delivery, name: &str) -> String {
    match message.properties.headers().as_ref().and_then(|headers| headers.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("header {name}: {other:?}"),
    }
}

/// Publishes like a program that knows nothing of ork.
pub async fn publish_plainly(
    channel: &Channel,
    namespace: &Namespace,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) {
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let sent = channel.basic_publish(namespace.name(""), key.into(), options, body, properties).await.unwrap();
    assert!(sent.await.unwrap().is_ack());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letter_records_its_reason_and_origin() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        let mut subscription = world.consume(5).await;
        let message = Message { attempt: 4, ..numbered(7) };
        world.publish(vec![message.clone()]).await;
        let why = "`width`: expected a number, found a text";
        next(&mut subscription)
            .await
            .acker
            .settle(Disposition::DeadLetter(DeadLetterReason::WrongInput, why.to_owned()));
        let (_connection, channel) = namespace.plain().await;
        let dead = get(&channel, namespace.name(".dead")).await;
        assert_eq!(header(&dead, "x-ork-reason"), "wrong-input");
        assert_eq!(header(&dead, "x-ork-detail"), why);
        assert_eq!(header(&dead, "x-ork-exchange"), namespace.prefix);
        assert_eq!(header(&dead, "x-ork-routing-key"), "a");
        assert_eq!(header(&dead, "x-ork-queue"), QUEUE);
        assert_eq!(dead.data, b"7");
        assert_eq!(dead.properties.message_id().as_ref().unwrap().as_str(), message.job.to_string());
        assert_eq!(dead.properties.delivery_mode(), &Some(2));
        assert_no_delivery(&mut subscription).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unroutable_messages_are_dead_lettered() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        world.publish(vec![Message { task: "nonesuch".to_owned(), ..numbered(5) }]).await;
        let (_connection, channel) = namespace.plain().await;
        let dead = get(&channel, namespace.name(".dead")).await;
        assert_eq!((dead.routing_key.as_str(), &dead.data[..]), ("nonesuch", &b"5"[..]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_of_a_plain_client_needs_only_a_body_and_a_routing_key() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        let mut subscription = world.consume(5).await;
        let (_connection, channel) = namespace.plain().await;
        publish_plainly(&channel, &namespace, "b", br#"{"path": "a.png"}"#, BasicProperties::default()).await;
        let delivery = next(&mut subscription).await;
        let message = delivery.message.unwrap();
        assert!(delivery.anonymous);
        assert_eq!((message.task.as_str(), message.kind, message.attempt), ("b", WorkKind::Job, 1));
        assert_eq!(&message.body[..], br#"{"path": "a.png"}"#);
        delivery.acker.settle(Disposition::Ack);

        let named = BasicProperties::default()
            .with_message_id("order-7".into())
            .with_reply_to("replies".into())
            .with_content_type("application/json".into());
        for _ in 0..2 {
            publish_plainly(&channel, &namespace, "a", b"1", named.clone()).await;
            let delivery = next(&mut subscription).await;
            let message = delivery.message.unwrap();
            assert!(!delivery.anonymous);
            assert_eq!(message.job, JobId::from_foreign("order-7"));
            assert_eq!(
                message.reply.unwrap(),
                ReplyTo { queue: "replies".to_owned(), correlation: "order-7".to_owned() }
            );
            delivery.acker.settle(Disposition::Ack);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undecodable_message_reports_the_reason_and_blocks_nothing() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        let mut subscription = world.consume(20).await;
        let (_connection, channel) = namespace.plain().await;
        let with = |name: &str, value: AMQPValue| {
            let mut headers = FieldTable::default();
            headers.insert(name.into(), value);
            BasicProperties::default().with_headers(headers).with_reply_to("replies".into())
        };
        let text = |text: &str| AMQPValue::LongString(text.into());
        let cases = [
            (with("ork-kind", text("dance")), "the header `ork-kind` is `dance`"),
            (with("ork-kind", AMQPValue::FieldTable(FieldTable::default())), "`ork-kind` is not a string"),
            (with("ork-kind", text("part")), "`ork-job` is missing"),
            (with("ork-root", text("no id")), "the header `ork-root`: `no id` is not a job id"),
            (with("ork-attempt", AMQPValue::LongLongInt(-1)), "`ork-attempt` is not a non-negative integer"),
            (with("ork-attempt", AMQPValue::LongLongInt(i64::MAX)), "the header `ork-attempt` is 9223372036854775807"),
            (with("ork-job", AMQPValue::ByteArray(vec![0xff, 0xfe].into())), "`ork-job` is not a string"),
            (BasicProperties::default().with_content_type("image/png".into()), "the content type is `image/png`"),
            (BasicProperties::default().with_content_encoding("gzip".into()), "the content encoding is `gzip`"),
        ];
        for (properties, why) in cases {
            publish_plainly(&channel, &namespace, "a", b"\xff\x00", properties).await;
            let delivery = next(&mut subscription).await;
            let refused = delivery.message.unwrap_err();
            assert!(refused.detail.contains(why), "{}", refused.detail);
            assert_eq!((refused.reason, refused.task.as_deref()), (DeadLetterReason::Undecodable, Some("a")));
            delivery.acker.settle(Disposition::DeadLetter(refused.reason, refused.detail));
            get(&channel, namespace.name(".dead")).await;
        }
        let garbage = with("x-whatever", AMQPValue::FieldArray(vec![AMQPValue::Void, AMQPValue::Float(0.5)].into()));
        publish_plainly(&channel, &namespace, "a", b"\xff\x00", garbage).await;
        let delivery = next(&mut subscription).await;
        assert!(delivery.message.is_ok());
        delivery.acker.settle(Disposition::Ack);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_arrive_and_undeliverable_ones_fail() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let (requester, worker) = (namespace.amqp(), namespace.amqp());
        worker.prepare(&[queue(1)]).await.unwrap();
        let mut replies = requester.replies().await.unwrap().unwrap();
        let outcome = |queue: &str, correlation: &str| {
            Outgoing::Reply(Reply {
                to: ReplyTo { queue: queue.to_owned(), correlation: correlation.to_owned() },
                job: JobId::new(),
                state: JobState::Succeeded,
                output: Some("7".into()),
                error: None,
            })
        };
        // Only replies to a missing queue fail, wherever they are in the batch.
        let gone = |at: usize| at % 7 == 3;
        let batch: Vec<_> =
            (0..300).map(|at| outcome(if gone(at) { "nonesuch" } else { &replies.queue }, &at.to_string())).collect();
        for (at, result) in worker.publish(batch).await.into_iter().enumerate() {
            let kind = result.as_ref().map_err(BrokerError::kind);
            assert_eq!(kind, if gone(at) { Err(BrokerErrorKind::Undeliverable) } else { Ok(&()) }, "{at}: {result:?}");
        }
        let mut seen = BTreeSet::new();
        while seen.len() < (0..300).filter(|at| !gone(*at)).count() {
            let result = timeout(SOON, replies.replies.recv()).await.expect("an outcome").unwrap();
            assert!(seen.insert(result.correlation) && result.body.ends_with(br#""output":7}"#));
        }
        let own = worker.publish(vec![outcome(namespace.name(".task.a").as_str(), "1")]).await.remove(0).unwrap_err();
        assert!(
            own.kind() == BrokerErrorKind::Undeliverable && own.to_string().contains("internal queue of ork"),
            "{own}"
        );
        requester.close().await;
        worker.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_with_other_arguments_is_reported_with_advice() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        namespace.world().await;
        let classic = Namespace { kind: QueueKind::Classic, ..namespace.clone() };
        let error = classic.amqp().prepare(&[queue(1)]).await.unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Refused);
        let message = error.to_string();
        assert!(
            message.contains("exists with other arguments") && message.contains("configure the queue kind"),
            "{message}"
        );
        let error = classic.amqp().subscribe(queue(1)).await.unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Refused);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_bodies_that_amqp_cannot_carry_are_rejected_alone() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let mut config = namespace.config();
        config.max_message_bytes = 1_000;
        let broker = Amqp::new(config).unwrap();
        broker.prepare(&[queue(1)]).await.unwrap();
        let long = Message { task: "x".repeat(300), ..numbered(1) };
        let large = Message { body: vec![b' '; 1_001].into(), ..numbered(1) };
        let batch = [numbered(1), long, numbered(2), large, numbered(3)].map(Outgoing::Work);
        let kinds: Vec<_> =
            broker.publish(batch.into()).await.into_iter().map(|result| result.map_err(|error| error.kind())).collect();
        let (no, large) = (Err(BrokerErrorKind::Undeliverable), Err(BrokerErrorKind::TooLarge));
        assert_eq!(kinds, [Ok(()), no, Ok(()), large, Ok(())]);
        let name = Subscribe { queue: "q".repeat(300), ..queue(1) };
        assert!(broker.prepare(&[name]).await.unwrap_err().to_string().contains("at most 255"));
    })
    .await;
}

/// RabbitMQ closes the channel on such a message, and does not report which message it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn body_that_only_the_broker_finds_too_large_is_rejected_alone() {
    if !can_start_nodes() {
        return;
    }
    let node = Rabbit::start_with(|_| "max_message_size = 100000\n".to_owned());
    for kind in [QueueKind::Quorum, QueueKind::Classic] {
        let namespace = Namespace::new(&node.url(), kind);
        let broker = namespace.amqp();
        let mut subscription = broker.subscribe(queue(100)).await.unwrap();
        let large = |at: usize| at % 20 == 7;
        let length = |at: usize| if large(at) { 100_001 } else { 100_000 - at };
        let message = |at: usize| Message { body: vec![b' '; length(at)].into(), ..numbered(at) };
        // Frames in transit when RabbitMQ closes the channel can also close the connection. Then all messages have to
        // be published again, as the relay does.
        let mut again: Vec<_> = (0..60).collect();
        while !again.is_empty() {
            let batch = again.iter().map(|at| Outgoing::Work(message(*at))).collect();
            let results = broker.publish(batch).await;
            for (at, result) in std::mem::take(&mut again).into_iter().zip(results) {
                match result {
                    Ok(()) => assert!(!large(at), "{at}"),
                    Err(error) if error.kind() == BrokerErrorKind::Disconnected => again.push(at),
                    Err(error) => {
                        assert!(large(at) && error.kind() == BrokerErrorKind::TooLarge, "{at}: {error}");
                        assert!(error.to_string().contains("larger than configured max size"), "{error}");
                    }
                }
            }
        }
        // Messages that were published again may arrive twice.
        let mut left: BTreeSet<_> = (0..60).filter(|at| !large(*at)).map(length).collect();
        while !left.is_empty() {
            let delivery = next(&mut subscription).await;
            left.remove(&delivery.message.unwrap().body.len());
            delivery.acker.settle(Disposition::Ack);
        }
        broker.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_errors_report_the_reason_without_the_password() {
    let Some(url) = shared_node() else { return };
    let port = port_of(url);
    let closed_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let web = responding(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let silent = responding(b"");
    // Behaves like a load balancer in front of a broker that is down.
    let hangs_up = Proxy::to(closed_port).port();
    let cases = [
        (format!("amqp://guest:s3cret@127.0.0.1:{port}/%2f"), BrokerErrorKind::Refused, "login of user `guest`"),
        (format!("amqp://nobody:s3cret@127.0.0.1:{port}/%2f"), BrokerErrorKind::Refused, "login of user `nobody`"),
        (format!("amqp://guest:guest@127.0.0.1:{port}/s3cret-no-vhost"), BrokerErrorKind::Refused, "the vhost"),
        (format!("amqp://u:s3cret@127.0.0.1:{closed_port}/"), BrokerErrorKind::Disconnected, "connection refused"),
        (format!("amqp://u:s3cret@127.0.0.1:{web}/"), BrokerErrorKind::Protocol, "does not speak AMQP"),
        (format!("amqp://u:s3cret@127.0.0.1:{silent}/"), BrokerErrorKind::TimedOut, "does not respond to AMQP"),
        (
            format!("amqp://u:s3cret@127.0.0.1:{hangs_up}/"),
            BrokerErrorKind::Disconnected,
            "closes the connection when it receives AMQP",
        ),
        (format!("amqps://u:s3cret@127.0.0.1:{port}/"), BrokerErrorKind::Disconnected, "cannot reach RabbitMQ"),
    ];
    for (url, kind, expected) in cases {
        let mut config = Config::new(&url).unwrap();
        config.deadline = Duration::from_secs(4);
        let broker = Amqp::new(config.clone()).unwrap();
        let since = Instant::now();
        let errors = [
            broker.check().await.map(drop).unwrap_err(),
            broker.prepare(&[queue(1)]).await.unwrap_err(),
            broker.subscribe(queue(1)).await.map(drop).unwrap_err(),
            broker.publish(vec![Outgoing::Work(numbered(1))]).await.remove(0).unwrap_err(),
            broker.replies().await.map(drop).unwrap_err(),
        ];
        assert!(since.elapsed() < 6 * config.deadline, "{url}: {:?}", since.elapsed());
        for error in errors {
            assert_eq!(error.kind(), kind, "{url}: {error}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains("127.0.0.1"), "{error}");
            let all = format!("{error} {error:?} {broker:?} {config:?}");
            assert!(!all.replace("s3cret-no-vhost", "").contains("s3cret"), "{all}");
        }
        broker.close().await;
        let closed = broker.publish(vec![Outgoing::Work(numbered(1))]).await.remove(0).unwrap_err();
        assert_eq!(closed.kind(), BrokerErrorKind::Closed);
    }
}

/// Returns a port that responds to any data with these bytes, or never responds if they are empty.
pub fn responding(reply: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if reply.is_empty() {
                kept.push(stream);
            } else if stream.read(&mut [0; 8]).is_ok() {
                // The client may close the connection first.
                let _gone = stream.write_all(reply);
            }
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_reports_a_reachable_broker() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let report = namespace.amqp().check().await.unwrap();
        assert!(report.contains("is reachable") && report.contains(":***@"), "{report}");
        namespace.world().await;
    })
    .await;
}

/// RabbitMQ accepts any bytes in a name, lapin only UTF-8, so such a message ends the connection that it arrives on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_with_a_name_that_is_not_utf8_is_dead_lettered_alone() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let world = namespace.world().await;
        let mut subscription = world.consume(10).await;
        let other = Subscribe { queue: "b".to_owned(), tasks: vec!["c".to_owned()], window: 10, is_exact: false };
        let mut bystander = world.broker.subscribe(other).await.unwrap();
        world.publish(vec![Message { task: "c".to_owned(), ..numbered(100) }]).await;
        let mut held = next(&mut bystander).await;
        world.publish((0..20).map(numbered).collect()).await;
        crate::raw::publish_named(&namespace.url, &namespace.prefix, "a", b"caf\xe9", b"21");
        world.publish((20..40).map(numbered).collect()).await;
        let mut left: BTreeSet<_> = (0..40).collect();
        while !left.is_empty() {
            let delivery = next(&mut subscription).await;
            left.remove(&number_of(&delivery));
            assert!(delivery.redelivered < 5, "the other message was delivered {} times", delivery.redelivered);
            delivery.acker.settle(Disposition::Ack);
        }
        assert_no_delivery(&mut subscription).await;
        // The consumer of the other queue lost its connection once, when the message first arrived, and never again.
        if let Ok(again) = timeout(Duration::from_millis(300), bystander.next()).await {
            held = again.unwrap();
        }
        assert!(held.redelivered <= 1, "{}", held.redelivered);
        held.acker.settle(Disposition::Ack);
        assert_no_delivery(&mut bystander).await;
        let (_connection, channel) = namespace.plain().await;
        channel.queue_delete(namespace.name(".task.b"), QueueDeleteOptions::default()).await.unwrap();
        // The message is in the dead-letter queue. There, too, it ends the connection of a lapin client that reads it.
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = channel.basic_consume(namespace.name(".dead"), "dead".into(), options, arguments);
        let mut dead = consume.await.unwrap();
        let unreadable = timeout(SOON, dead.next()).await.expect("nothing in the queue").unwrap().unwrap_err();
        assert!(matches!(unreadable.kind(), lapin::ErrorKind::ParsingError(_)), "{unreadable}");
    })
    .await;
}
