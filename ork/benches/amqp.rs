//! Benchmark of small tasks over RabbitMQ: publishing, consuming, and both at once. It compares ork with its default
//! store (`SQLite`, `synchronous=FULL`) and without a store to two raw lapin programs in the same run.
//!
//! The first raw program is what a user would write: it pipelines confirms, and acknowledges each delivery by itself.
//! The second one is as fast as possible: one acknowledgement for 500 deliveries, and a prefetch to match. Neither
//! keeps any state.
//!
//! The second part measures the fan-in of 10,000 parts, from the submission to the result of the join: one process
//! submits and two work. They share a store, or have none; then the parts are counted in a part queue.
//!
//! `cargo bench -p ork --bench amqp [-- COUNT [ROUNDS]] [PROGRAM ..]` runs on the node of `ORK_TEST_AMQP_URL`,
//! or on a node that it starts. `fan_in` as PROGRAM measures the fan-in alone.
//!
//! The last line is one JSON object. `ratio` is the end-to-end rate on quorum queues of ork with its default store over
//! that of the first raw program, and `ratio_limit` over that of the second. `ratio_events` is the rate of the same ork
//! with events over its rate without events.
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

use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use ork::{Ork, Parts, task};
use serde_json::{Value, json};
use support::{median, now, rate, round};
use tokio::sync::Notify;

static DONE: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
static ALL: LazyLock<Notify> = LazyLock::new(Notify::new);

/// Counts a finished task. The last one wakes the waiter.
fn one_more() {
    if DONE.fetch_add(1, Ordering::Relaxed) + 1 == COUNT.load(Ordering::Relaxed) {
        ALL.notify_one();
    }
}

fn expect(count: u64) {
    DONE.store(0, Ordering::Relaxed);
    COUNT.store(count, Ordering::Relaxed);
}

/// A task that does nothing, so that only the overhead is measured.
#[task]
async fn small(number: u64, text: String) {
    assert!(!text.is_empty(), "{number}");
    one_more();
}

/// The task of one part. It shares the queue of the other task, so that there is only one queue.
#[task(queue = "small")]
async fn one(number: u64) -> u64 {
    number
}

#[task(part)]
fn one_part(count: u64) -> impl Iterator<Item = one> {
    (0..count).map(|number| one { number })
}

#[task(join)]
async fn one_join(parts: Parts<u64>) -> ork::Result<u64> {
    Ok(parts.all_ok()?.collect().await?.into_iter().sum())
}

/// The number of parts of the fan-in: the same as in the measurements of the systems that ork is compared with.
const PARTS: u64 = 10_000;

/// Returns a message with a body of 200 bytes.
fn message(number: u64) -> small {
    let text = "x".repeat(200 - 21 - number.to_string().len());
    small { number, text }
}

fn body(number: u64) -> Vec<u8> {
    let small { number, text } = message(number);
    let body = format!("{{\"number\":{number},\"text\":\"{text}\"}}").into_bytes();
    assert_eq!(body.len(), 200);
    body
}

/// The programs that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// lapin, as a user would write it.
    User,
    /// lapin, as fast as possible.
    Limit,
    /// ork with its default store.
    Sqlite,
    /// ork with its default store, which publishes events for every job. The other programs publish none.
    Events,
    /// ork without a store.
    None,
}

impl Program {
    const ALL: [Self; 5] = [Self::User, Self::Limit, Self::Sqlite, Self::Events, Self::None];

    const fn name(self) -> &'static str {
        match self {
            Self::User => "lapin_each",
            Self::Limit => "lapin_multiple",
            Self::Sqlite => "ork_sqlite",
            Self::Events => "ork_told",
            Self::None => "ork_none",
        }
    }
}

/// Names on a node that only one measurement uses, and a folder for its store.
struct Place {
    url: String,
    prefix: String,
    queues: &'static str,
    folder: tempfile::TempDir,
}

impl Place {
    fn new(url: &str, queues: &'static str) -> Self {
        let prefix = format!("b{}", &ork::JobId::new().to_string()[20..]);
        Self { url: url.to_owned(), prefix, queues, folder: tempfile::tempdir().unwrap() }
    }

    async fn ork(&self, program: Program) -> Ork {
        let config = ork::Config::from(Some("/dev/null".as_ref()), []).unwrap();
        let builder = ork::builder().config(config).store(self.store(program)).broker(&self.url);
        let events = if program == Program::Events { "jobs" } else { "none" };
        let builder = builder.set("prefix", &self.prefix).set("queues", self.queues).set("events", events);
        builder.build().await.unwrap()
    }

    fn store(&self, program: Program) -> String {
        match program {
            Program::Sqlite | Program::Events => format!("sqlite:{}", self.folder.path().join("bench.db").display()),
            _ => "none".to_owned(),
        }
    }

    /// Starts a worker process that runs until its standard input ends.
    fn worker(&self, program: Program) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("work").args([&self.url, &self.prefix, self.queues]).arg(self.store(program));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Runs one job after another; the first one is a warm-up. Returns the parts per second of each of the others, and
    /// the peak memory of a worker in MiB.
    async fn fan_in(&self, program: Program, rounds: u64) -> (Vec<f64>, f64) {
        let client = self.ork(program).await;
        let mut workers = [self.worker(program), self.worker(program)].map(|mut worker| {
            let out = std::io::BufReader::new(worker.stdout.take().unwrap());
            (worker, out)
        });
        let line = |out: &mut std::io::BufReader<std::process::ChildStdout>| {
            let mut line = String::new();
            std::io::BufRead::read_line(out, &mut line).unwrap();
            line
        };
        for (_, out) in &mut workers {
            // The first line reports that the worker consumes.
            line(out);
        }
        let mut rates = Vec::new();
        for _ in 0..=rounds {
            let start = now();
            let sum = client.submit(one_part { count: PARTS }).result().await.unwrap();
            rates.push(rate(PARTS, start.elapsed()));
            assert_eq!(sum, PARTS * (PARTS - 1) / 2);
        }
        client.shutdown().await;
        let mut peak = 0.0_f64;
        for (mut worker, mut out) in workers {
            drop(worker.stdin.take());
            peak = peak.max(line(&mut out).trim().parse().unwrap());
            assert!(worker.wait().unwrap().success());
        }
        (rates.split_off(1), peak)
    }

    async fn raw(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(self.queues.into()));
        channel.queue_declare(self.queue(), durable, arguments).await.unwrap();
        (connection, channel)
    }

    fn queue(&self) -> ShortString {
        format!("{}.raw", self.prefix).into()
    }

    async fn clean(&self) {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        for queue in ["raw", "dead", "task.small"] {
            let name = format!("{}.{queue}", self.prefix).into();
            channel.queue_delete(name, QueueDeleteOptions::default()).await.unwrap();
        }
        for exchange in ["", ".hooks", ".events", ".unrouted"] {
            let name = format!("{}{exchange}", self.prefix).into();
            channel.exchange_delete(name, lapin::options::ExchangeDeleteOptions::default()).await.unwrap();
        }
    }

    async fn publish(&self, program: Program, count: u64) {
        match program {
            Program::User | Program::Limit => {
                let (_connection, channel) = self.raw().await;
                raw_publish(&channel, self.queue(), count).await;
            }
            Program::Sqlite | Program::Events | Program::None => {
                let ork = self.ork(program).await;
                submit(&ork, count).await;
                // Returns when the broker has confirmed the last message.
                ork.shutdown().await;
            }
        }
    }

    async fn consume(&self, program: Program, count: u64) {
        expect(count);
        match program {
            Program::User | Program::Limit => {
                let (_connection, channel) = self.raw().await;
                raw_consume(&channel, self.queue(), program, count).await;
            }
            Program::Sqlite | Program::Events | Program::None => {
                let ork = self.ork(program).await;
                ork.spawn_worker();
                ALL.notified().await;
                ork.shutdown().await;
            }
        }
    }

    async fn both(&self, program: Program, count: u64) {
        expect(count);
        match program {
            Program::User | Program::Limit => {
                let ((_one, publisher), (_two, consumer)) = (self.raw().await, self.raw().await);
                tokio::join!(
                    raw_publish(&publisher, self.queue(), count),
                    raw_consume(&consumer, self.queue(), program, count)
                );
            }
            Program::Sqlite | Program::Events | Program::None => {
                let ork = self.ork(program).await;
                ork.spawn_worker();
                tokio::join!(submit(&ork, count), ALL.notified());
                ork.shutdown().await;
            }
        }
    }
}

/// Submits in batches of 250 with four batches in flight, to match the 1,000 messages in flight of the raw programs.
async fn submit(ork: &Ork, count: u64) {
    let runs = futures_util::stream::iter((0..count).step_by(250));
    let submitted = runs.map(|first| ork.submit_all((first..(first + 250).min(count)).map(message)));
    submitted.buffered(4).for_each(|run| async { drop(run.unwrap()) }).await;
}

/// Publishes with up to 1,000 messages that are not confirmed yet.
async fn raw_publish(channel: &Channel, queue: ShortString, count: u64) {
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    let mut waiting = VecDeque::new();
    for number in 0..count {
        let body = body(number);
        let sent = channel.basic_publish("".into(), queue.clone(), options, &body, properties.clone());
        waiting.push_back(sent.await.unwrap());
        if waiting.len() >= 1_000 {
            assert!(waiting.pop_front().unwrap().await.unwrap().is_ack());
        }
    }
    for sent in waiting {
        assert!(sent.await.unwrap().is_ack());
    }
}

async fn raw_consume(channel: &Channel, queue: ShortString, program: Program, count: u64) {
    let (prefetch, every) = if program == Program::Limit { (2_000, 500) } else { (250, 1) };
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel.basic_consume(queue, "".into(), options, arguments).await.unwrap();
    for n in 1..=count {
        let delivery = consumer.next().await.unwrap().unwrap();
        let input: Value = serde_json::from_slice(&delivery.data).unwrap();
        assert!(input["text"].is_string());
        one_more();
        if n % every == 0 || n == count {
            delivery.acker.ack(BasicAckOptions { multiple: every > 1 }).await.unwrap();
        }
    }
    ALL.notified().await;
}

async fn measure(url: &str, queues: &'static str, program: Program, count: u64, rounds: u64) -> Value {
    let place = Place::new(url, queues);
    let start = now();
    place.publish(program, count).await;
    let published = start.elapsed();
    let start = now();
    place.consume(program, count).await;
    let consumed = start.elapsed();
    place.clean().await;
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let place = Place::new(url, queues);
        let start = now();
        place.both(program, count).await;
        rates.push(rate(count, start.elapsed()));
        place.clean().await;
    }
    let (publish, consume, both) = (rate(count, published), rate(count, consumed), median(rates));
    println!("{queues:>8}  {:>15}  {publish:>9.0}/s  {consume:>9.0}/s  {both:>9.0}/s", program.name());
    json!({ "publish_per_s": round(publish), "consume_per_s": round(consume), "end_to_end_per_s": round(both) })
}

/// Runs a worker until standard input ends. This is the main function of a worker process.
async fn work(url: &str, prefix: &str, queues: &str, store: &str) {
    let config = ork::Config::from(Some("/dev/null".as_ref()), []).unwrap();
    let builder = ork::builder().config(config).store(store).broker(url);
    let ork = builder.set("prefix", prefix).set("queues", queues).set("events", "none").build().await.unwrap();
    ork.spawn_worker();
    println!("works");
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    ended.await.unwrap().unwrap();
    println!("{}", support::peak_mib());
    ork.shutdown().await;
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, url, prefix, queues, store] = args.as_slice()
        && word == "work"
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(work(url, prefix, queues, store));
    }
    let wanted = |program: &Program| {
        let named = |word: &String| Program::ALL.iter().any(|program| program.name() == word);
        let others = args.iter().any(named) || args.iter().any(|word| word == "fan_in");
        !others || args.iter().any(|word| word == program.name())
    };
    let numbers: Vec<u64> = args.iter().filter_map(|word| word.parse().ok()).collect();
    let count = numbers.first().copied().unwrap_or(50_000);
    let rounds = numbers.get(1).copied().unwrap_or(3);
    let url = node::shared_node().expect("a RabbitMQ: run .ci/services install, or set ORK_TEST_AMQP_URL");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{count} tasks of 200 bytes; end to end: the median of {rounds}");
    println!("{:>8}  {:>15}  {:>11}  {:>11}  {:>11}", "queues", "program", "publish", "consume", "end to end");
    let mut kinds = serde_json::Map::new();
    for queues in ["quorum", "classic"] {
        let mut programs = serde_json::Map::new();
        for program in Program::ALL.into_iter().filter(wanted) {
            let measured = runtime.block_on(measure(url, queues, program, count, rounds));
            programs.insert(program.name().to_owned(), measured);
        }
        if args.iter().all(|word| word == "fan_in" || word.parse::<u64>().is_ok() || word.starts_with('-')) {
            for (program, key) in [(Program::Sqlite, "fan_in_per_s"), (Program::None, "fan_in_none_per_s")] {
                let place = Place::new(url, queues);
                let (rates, peak) = runtime.block_on(async {
                    let measured = place.fan_in(program, rounds).await;
                    place.clean().await;
                    measured
                });
                let (fan_in, name) = (median(rates), program.name());
                let description = format!("{PARTS} parts, submit to joined, two workers of at most {peak:.0} MiB");
                println!("{queues:>8}  {name:>15}  {description}: {fan_in:.0}/s");
                programs.insert(key.to_owned(), round(fan_in).into());
                programs.insert(key.replace("per_s", "mib"), round(peak).into());
            }
        }
        kinds.insert(queues.to_owned(), programs.into());
    }
    let of =
        |queues: &str, program: Program| kinds[queues][program.name()]["end_to_end_per_s"].as_f64().unwrap_or(f64::NAN);
    let against = |queues, ork, raw| round(of(queues, ork) / of(queues, raw));
    let line = json!({
        "bench": "amqp",
        "ratio": against("quorum", Program::Sqlite, Program::User),
        "ratio_limit": against("quorum", Program::Sqlite, Program::Limit),
        "ratio_classic": against("classic", Program::Sqlite, Program::User),
        "ratio_none": against("quorum", Program::None, Program::User),
        "ratio_events": against("quorum", Program::Events, Program::Sqlite),
        "count": count,
        "quorum": kinds["quorum"],
        "classic": kinds["classic"],
    });
    println!("{line}");
}
