//! Benchmark of latency: the time from the submission of a job to its result, one job after the other on idle workers.
//! It measures ork embedded and over RabbitMQ, and a raw lapin round trip in the same run.
//!
//! `cargo bench -p ork --bench latency [-- COUNT]` runs on the node of `ORK_TEST_AMQP_URL`, or on a node that
//! it starts. The last line is one JSON object. `ratio` is the median of ork over RabbitMQ with the default store, over
//! the median of the raw round trip.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unused_async,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::as_conversions,
    reason = "figures for people; the numbers are small"
)]

use ork_test_support::node;
mod support;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use ork::task;
use serde_json::{Value, json};
use support::{now, quantile, round};

/// The task: adds one.
#[task]
async fn next(number: u64) -> u64 {
    number + 1
}

/// The number of jobs that run before the measurement begins.
const WARM: u64 = 50;

/// Returns the time of each job in milliseconds.
async fn ork(store: &str, broker: &str, prefix: &str, count: u64) -> Vec<f64> {
    let config = ork::Config::from(Some("/dev/null".as_ref()), []).unwrap();
    let ork = ork::builder().config(config).store(store).broker(broker).set("prefix", prefix).build().await.unwrap();
    ork.spawn_worker();
    let mut took = Vec::new();
    for number in 0..WARM + count {
        let start = now();
        assert_eq!(ork.submit(next { number }).result().await.unwrap(), number + 1);
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    ork.shutdown().await;
    took.split_off(WARM as usize)
}

/// Returns the time of each raw round trip in milliseconds: lapin alone sends a request through a durable quorum queue,
/// persistent and confirmed, and another connection replies.
async fn raw(url: &str, prefix: &str, count: u64) -> Vec<f64> {
    let connect = async || {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        (connection, channel)
    };
    let ((_one, sender), (_two, server)) = (connect().await, connect().await);
    let queue = format!("{prefix}.raw");
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    sender.queue_declare(queue.as_str().into(), durable, quorum).await.unwrap();
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let back = sender.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap().name().to_string();

    let mut requests = consume(&server, &queue, false).await;
    let replying = tokio::spawn(async move {
        for _ in 0..WARM + count {
            let request = requests.next().await.unwrap().unwrap();
            let number: Value = serde_json::from_slice(&request.data).unwrap();
            let body = (number["number"].as_u64().unwrap() + 1).to_string();
            let to = request.properties.reply_to().as_ref().unwrap().to_string();
            publish(&server, &to, body.as_bytes(), BasicProperties::default()).await;
            request.acker.ack(BasicAckOptions::default()).await.unwrap();
        }
        server
    });
    let mut replies = consume(&sender, &back, true).await;
    let mut took = Vec::new();
    for number in 0..WARM + count {
        let start = now();
        let properties = BasicProperties::default().with_reply_to(back.as_str().into());
        publish(&sender, &queue, format!("{{\"number\":{number}}}").as_bytes(), properties).await;
        let reply = replies.next().await.unwrap().unwrap();
        assert_eq!(reply.data, (number + 1).to_string().as_bytes());
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    drop(replying.await.unwrap());
    took.split_off(WARM as usize)
}

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> lapin::Consumer {
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap()
}

/// Publishes a message. The confirm is checked in the background, so that the caller does not wait for it.
async fn publish(channel: &Channel, queue: &str, body: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let properties = properties.with_delivery_mode(2);
    let sent = channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
    tokio::spawn(async move { assert!(sent.await.unwrap().is_ack()) });
}

async fn clean(url: &str, prefix: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    for queue in ["raw", "dead", "task.next"] {
        channel.queue_delete(format!("{prefix}.{queue}").into(), QueueDeleteOptions::default()).await.unwrap();
    }
    for exchange in ["", ".unrouted"] {
        let name = format!("{prefix}{exchange}").into();
        channel.exchange_delete(name, lapin::options::ExchangeDeleteOptions::default()).await.unwrap();
    }
}

fn main() {
    let count = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(500_u64);
    let url = node::shared_node().expect("a RabbitMQ: run .ci/services install, or set ORK_TEST_AMQP_URL");
    let folder = tempfile::tempdir().unwrap();
    let sqlite = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let prefix = format!("b{}", &ork::JobId::new().to_string()[20..]);
    println!("{count} jobs, one after the other, milliseconds from submit to result");
    println!("{:>18}  {:>8}  {:>8}", "", "p50", "p99");
    let mut rows = serde_json::Map::new();
    for (name, store, broker) in [
        ("embedded_memory", "memory:".to_owned(), "embedded"),
        ("embedded_sqlite", sqlite("embedded.db"), "embedded"),
        ("amqp_none", "none".to_owned(), url),
        ("amqp_sqlite", sqlite("amqp.db"), url),
        ("amqp_raw_lapin", String::new(), url),
    ] {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let took = runtime.block_on(async {
            let took = match name {
                "amqp_raw_lapin" => raw(url, &prefix, count).await,
                _ => ork(&store, broker, &prefix, count).await,
            };
            if broker != "embedded" {
                clean(url, &prefix).await;
            }
            took
        });
        let (p50, p99) = (quantile(took.clone(), 0.5), quantile(took, 0.99));
        println!("{name:>18}  {p50:>8.3}  {p99:>8.3}");
        rows.insert(name.to_owned(), json!({ "p50_ms": round(p50), "p99_ms": round(p99) }));
    }
    let of = |name: &str| rows[name]["p50_ms"].as_f64().unwrap();
    let ratio = round(of("amqp_sqlite") / of("amqp_raw_lapin"));
    println!("{}", json!({ "bench": "latency", "ratio": ratio, "count": count, "rows": rows }));
}
