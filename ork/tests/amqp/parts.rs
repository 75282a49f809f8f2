//! Sets of parts that are counted in a part queue: those of ork without a store, and those of other programs with any
//! store.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use ork::{ClientError, JobId};

use super::proxy::Proxy;
use super::tasks::*;
use super::world::{Foreigner, World, each, fresh, header, on};

pub(crate) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(crate) fn table<'a>(fields: impl IntoIterator<Item = (&'a str, AMQPValue)>) -> FieldTable {
    FieldTable::from(fields.into_iter().map(|(name, value)| (name.into(), value)).collect::<BTreeMap<_, _>>())
}

/// Runs a test without a store and with one.
pub(crate) fn with_and_without<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    on("none", "quorum", &test);
    on("sqlite", "quorum", &test);
}

/// Returns whether a queue exists.
async fn is_there(world: &World, queue: &str) -> bool {
    let other = world.foreigner().await;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    other.channel.queue_declare(queue.into(), passive, FieldTable::default()).await.is_ok()
}

#[test]
fn job_is_split_and_joined_without_a_store() {
    for queues in ["quorum", "classic"] {
        on("none", queues, |world| async move {
            let (ork, other) = (world.worker().await, world.worker().await);
            for count in [1, 2, 500] {
                let run = fresh();
                let message = count_part { count, run: run.clone(), hold: u64::MAX, failing: Vec::new() };
                let sum = ork.submit(message).result().await.unwrap();
                assert_eq!(sum, count * (count - 1) / 2);
                for part in 0..count {
                    assert_eq!(calls(&format!("{run}.{part}")), 1);
                }
            }
            let none = count_part { count: 0, run: fresh(), hold: 0, failing: Vec::new() };
            assert_eq!(ork.submit(none).result().await.unwrap(), 0);
            ork.shutdown().await;
            other.shutdown().await;
        });
    }
}

#[test]
fn concurrent_jobs_are_joined_separately() {
    on("none", "quorum", |world| async move {
        let (ork, other) = (world.worker().await, world.worker().await);
        let jobs = (1..=20)
            .map(|count| ork.submit(count_part { count, run: fresh(), hold: u64::MAX, failing: Vec::new() }).result());
        let sums = futures_util::future::try_join_all(jobs).await.unwrap();
        assert_eq!(sums, (1..=20).map(|count| count * (count - 1) / 2).collect::<Vec<_>>());
        ork.shutdown().await;
        other.shutdown().await;
    });
}

#[test]
fn failed_part_reaches_the_join_and_its_message_is_returned() {
    on("none", "quorum", |world| async move {
        let ork = world.worker().await;
        let message = count_part { count: 5, run: fresh(), hold: u64::MAX, failing: vec![3] };
        let ended = ork.submit(message).result().await;
        let Err(ClientError::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
        assert!(failure.to_string().contains("of 5 parts, 1 failed"), "{failure}");
        // Without a join, the policy decides.
        let run = fresh();
        Gate::of(&run).open();
        let input = serde_json::json!({"count": 3, "run": run}).to_string();
        let ended = ork.submit_json_for_result("strict", input.into()).await;
        let Err(ClientError::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
        assert!(failure.to_string().contains("1 of 3 parts failed"), "{failure}");
        ork.shutdown().await;
    });
}

/// A queue for the messages of hooks.
pub(crate) struct Followed {
    consumer: lapin::Consumer,
}

impl Followed {
    pub(crate) async fn new(world: &World, foreigner: &Foreigner, route: &str) -> Self {
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = foreigner.channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
        let (name, exchange) = (queue.name().clone(), format!("{}.hooks", world.prefix));
        let bind = QueueBindOptions::default();
        foreigner
            .channel
            .queue_bind(name.clone(), exchange.into(), route.into(), bind, FieldTable::default())
            .await
            .unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = foreigner.channel.basic_consume(name, "".into(), options, FieldTable::default()).await.unwrap();
        Self { consumer }
    }

    /// Waits for the next message; returns its id, its task and its body.
    pub(crate) async fn next(&mut self) -> (String, String, serde_json::Value) {
        let delivery = self.consumer.next().await.unwrap().unwrap();
        let word = |word: &Option<ShortString>| word.as_ref().unwrap().to_string();
        let properties = &delivery.properties;
        let body = serde_json::from_slice(&delivery.data).unwrap();
        (word(properties.message_id()), word(properties.kind()), body)
    }

    pub(crate) async fn nothing(&mut self) {
        let more = tokio::time::timeout(Duration::from_millis(300), self.consumer.next()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

/// Returns the properties of a part of a set.
pub(crate) fn part(id: u64, total: u64, queue: &str, hooks: &str) -> BasicProperties {
    let headers = table([
        ("part_id", AMQPValue::LongLongInt(i64::try_from(id).unwrap())),
        ("total_parts", AMQPValue::LongLongInt(i64::try_from(total).unwrap())),
        ("part_queue", text(queue)),
        ("on_complete", text(hooks)),
    ]);
    BasicProperties::default().with_message_id(format!("{queue}.{id}").into()).with_headers(headers)
}

/// The kinds of queues that other programs declare: classic and quorum, each with and without a single active
/// consumer.
fn kinds() -> [FieldTable; 4] {
    let single = ("x-single-active-consumer", AMQPValue::Boolean(true));
    let quorum = ("x-queue-type", text("quorum"));
    [table([]), table([single.clone()]), table([quorum.clone(), single]), table([quorum])]
}

pub(crate) async fn make(foreigner: &Foreigner, queue: &str, arguments: FieldTable) {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    foreigner.channel.queue_declare(queue.into(), durable, arguments).await.unwrap();
}

#[test]
fn hooks_of_a_foreign_set_are_sent_once_for_any_kind_of_queue() {
    with_and_without(|world| async move {
        let (ork, other) = (world.worker().await, world.worker().await);
        let foreigner = world.foreigner().await;
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        for (kind, arguments) in kinds().into_iter().enumerate() {
            let queue = format!("part.{}-{kind}", fresh());
            make(&foreigner, &queue, arguments).await;
            let hooks = r#"[{"route": "after", "inputs": {"n": 1}}, {"route": "after"}, {"route": "after", "when": "failure"}]"#;
            for id in (10..40).chain(10..15) {
                foreigner.publish("add", br#"{"a": 1, "b": 2}"#, part(id, 30, &queue, hooks)).await;
            }
            let (first, task, body) = followed.next().await;
            assert_eq!((first, &*task), (JobId::from_foreign(&queue).following(0).to_string(), "after"));
            assert_eq!(body, serde_json::json!({"n": 1}));
            let (second, _, body) = followed.next().await;
            assert_eq!(second, JobId::from_foreign(&queue).following(1).to_string());
            assert_eq!(body, serde_json::json!({"id": queue, "method": "add", "inputs": null}));
            followed.nothing().await;
            assert!(!is_there(&world, &queue).await, "kind {kind}: the queue is left");
        }
        ork.shutdown().await;
        other.shutdown().await;
    });
}

#[test]
fn incomplete_set_is_put_back_without_losing_records() {
    with_and_without(|world| async move {
        let (ork, foreigner) = (world.worker().await, world.foreigner().await);
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        for arguments in kinds() {
            let queue = format!("part.{}", fresh());
            make(&foreigner, &queue, arguments).await;
            let hooks = r#"[{"route": "after", "inputs": 1, "when": "success"}, {"route": "after", "inputs": 2, "when": "failure"}]"#;
            // As many records as parts, but not from all parts.
            for (at, id) in [0, 0, 1, 1, 1, 0].into_iter().enumerate() {
                let properties = part(id, 3, &queue, hooks).with_message_id(format!("{queue}.early.{at}").into());
                foreigner.publish("add", br#"{"a": 1, "b": 2}"#, properties).await;
            }
            // When this job is done, those parts are, too.
            assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
            followed.nothing().await;
            foreigner.publish("fails", br#"{"message": "no"}"#, part(2, 3, &queue, hooks)).await;
            assert_eq!(followed.next().await.2, serde_json::json!(2));
            followed.nothing().await;
            assert!(!is_there(&world, &queue).await);
        }
        ork.shutdown().await;
    });
}

#[test]
fn hooks_of_a_storeless_job_are_sent_in_order_until_one_has_no_route() {
    on("none", "quorum", |world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let hooks = r#"[{"route": "after", "inputs": 1}, {"route": "nowhere"}, {"route": "after", "inputs": 3}]"#;
        let headers = table([("oncomplete", text(hooks))]);
        let properties = BasicProperties::default().with_message_id("order-7".into()).with_headers(headers);
        foreigner.publish("add", br#"{"a": 1, "b": 2}"#, properties).await;
        let id = JobId::from_foreign("order-7");
        assert_eq!(followed.next().await.0, id.following(0).to_string());
        let dead = foreigner.dead().await;
        assert_eq!(header(&dead, "x-ork-reason"), "no-route");
        assert!(header(&dead, "x-ork-detail").contains("hook 1 of `on_complete` was not sent"));
        assert_eq!(header(&dead, "x-ork-routing-key"), "nowhere");
        let expected = serde_json::json!({"id": id.to_string(), "method": "add", "inputs": {"a": 1, "b": 2}});
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&dead.data).unwrap(), expected);
        followed.nothing().await;
        // A hook may run a task of ork.
        let hooks = format!(r#"[{{"route": "low", "inputs": {{"run": "{id}"}}}}, {{"route": "after", "inputs": 9}}]"#);
        let properties = BasicProperties::default().with_headers(table([("on_complete", text(&hooks))]));
        foreigner.publish("add", br#"{"a": 1, "b": 2}"#, properties).await;
        assert_eq!(followed.next().await.2, serde_json::json!(9));
        ork.submit(low { run: "x".into() }).result().await.unwrap();
        assert!(ORDER.lock().unwrap().contains(&format!("{id} low")));
        ork.shutdown().await;
    });
}

#[test]
fn wrong_hooks_are_dead_lettered_with_a_reason() {
    on("none", "quorum", |world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let number = AMQPValue::LongInt;
        let queue = |queue: &str| [("part_id", number(0)), ("total_parts", number(2)), ("part_queue", text(queue))];
        let many = AMQPValue::FieldArray(vec![AMQPValue::FieldTable(table([("route", text("a"))])); 3_000].into());
        let cases = [
            (table([("part_id", number(0))]), "has no `total_parts`"),
            (table(queue("work.a")), "expected a name that starts with `part.`"),
            (table(queue(&format!("part.{}", "x".repeat(300)))), "has 305 bytes, at most 255"),
            (table([("on_complete", many)]), "3000 hooks"),
            (table([("on_complete", text(r#"[{"when": "never"}]"#))]), "`route` is missing"),
        ];
        for (headers, expected) in cases {
            foreigner.publish("add", b"{}", BasicProperties::default().with_headers(headers)).await;
            let dead = foreigner.dead().await;
            assert_eq!(header(&dead, "x-ork-reason"), "undecodable");
            assert!(header(&dead, "x-ork-detail").contains(expected), "{}", header(&dead, "x-ork-detail"));
        }
        // Its part queue was never declared.
        foreigner.publish("add", br#"{"a": 1, "b": 2}"#, part(0, 2, "part.nowhere", "[]")).await;
        let dead = foreigner.dead().await;
        assert_eq!(header(&dead, "x-ork-reason"), "no-part-queue");
        assert!(header(&dead, "x-ork-detail").contains("the part queue `part.nowhere` does not exist"));
        // The records disagree on the number of parts: the first one counts, and the other one is not lost.
        let set = format!("part.{}", fresh());
        make(&foreigner, &set, FieldTable::default()).await;
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let hooks = r#"[{"route": "after", "inputs": 1}]"#;
        let done = table([("part_id", number(0)), ("total_parts", number(2))]);
        foreigner.publish_to("", &set, b"3", BasicProperties::default().with_headers(done)).await;
        foreigner.publish("add", br#"{"a": 1, "b": 2}"#, part(1, 1, &set, hooks)).await;
        let dead = foreigner.dead().await;
        assert!(header(&dead, "x-ork-detail").contains("`total_parts` 1, but earlier parts have 2"));
        followed.nothing().await;
        foreigner.channel.queue_delete(set.into(), QueueDeleteOptions::default()).await.unwrap();
        ork.shutdown().await;
    });
}

#[test]
fn hooks_of_a_stored_job_are_sent_and_a_missing_route_is_reported() {
    each(|world| async move {
        let (ork, foreigner) = (world.worker().await, world.foreigner().await);
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let hooks = r#"[{"route": "after"}, {"route": "nowhere"}, {"route": "after", "inputs": 3}]"#;
        let headers = table([("on_complete", text(hooks))]);
        let properties = BasicProperties::default().with_message_id("order-8".into()).with_headers(headers);
        foreigner.publish("add", br#"{"a": 1, "b": 2}"#, properties).await;
        let id = JobId::from_foreign("order-8");
        let expected = serde_json::json!({"id": id.to_string(), "method": "add", "inputs": {"a": 1, "b": 2}});
        assert_eq!(followed.next().await, (id.following(0).to_string(), "after".to_owned(), expected));
        followed.nothing().await;
        let status = ork.status(id).await.unwrap();
        assert_eq!(status.state, ork::JobState::Succeeded);
        let why = status.hooks_failed.unwrap();
        assert!(why.contains("hook 1 of `on_complete` was not sent"), "{why}");
        let why = ork.why(id).await.unwrap().to_string();
        assert!(why.contains("its hooks could not be sent: hook 1"), "{why}");
        // A hook from a client, to another task of ork.
        let run = fresh();
        Gate::of(&run).open();
        let job =
            ork.submit(add { a: 1, b: 2 }).on_success(gated { key: run.clone() }).on_failure(low { run: run.clone() });
        let id = job.await.unwrap().id();
        Gate::of(&run).entered(1).await;
        assert_eq!(ork.wait(id.following(0)).await.unwrap().into_output::<String>().unwrap(), run);
        // If the queue of a set does not exist, the status of the part reports it.
        foreigner.publish("add", br#"{"a": 1, "b": 2}"#, part(0, 2, "part.nowhere", "[]")).await;
        let id = JobId::from_foreign("part.nowhere.0");
        followed.nothing().await;
        let why = ork.status(id).await.unwrap().hooks_failed.unwrap();
        assert!(why.contains("the part queue `part.nowhere` does not exist"), "{why}");
        ork.shutdown().await;
    });
}

#[test]
fn parts_of_a_stopped_or_disconnected_worker_are_counted_once() {
    for queues in ["quorum", "classic"] {
        on("none", queues, |world| async move {
            let (proxy, through) = Proxy::before(&world.url);
            let client = world.client().await;
            let leaving = world.worker().await;
            let lost = world.builder().broker(&through).build().await.unwrap();
            lost.spawn_worker();
            let run = fresh();
            let job = client.submit(count_part { count: 40, run: run.clone(), hold: 20, failing: Vec::new() }).result();
            let others = async {
                // All remaining parts wait at the gate, in either worker.
                Gate::of(&run).entered(20).await;
                let other = world.worker().await;
                leaving.worker().kill();
                leaving.shutdown().await;
                proxy.cut();
                Gate::of(&run).open();
                other
            };
            let (sum, other) = tokio::join!(job, others);
            assert_eq!(sum.unwrap(), 780);
            for worker in [lost, other, client] {
                worker.shutdown().await;
            }
        });
    }
}
