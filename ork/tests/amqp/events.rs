//! Events on the topic exchange, as seen by a program that knows only `docs/wire.md`.
//!
//! If events were published concurrently with the work instead of before it, the events of a job would arrive in
//! another order in about every tenth run of `events_of_a_job_arrive_in_order_from_several_processes`. If the process
//! recorded them instead of the transaction, the event of the last part would be missing after its worker has died.

use std::collections::{HashMap, HashSet};

use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use ork::EventKind::{self, Created, PartsCompleted, Ready, Retrying, Succeeded};
use ork::{CancelMode, Failure, FailureKind, JobId, Ork, Policy, Timestamp, WorkerId};
use ork_core::event::{EventRouting, EventScope};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::tx::{
    Actor, AppendParts, Claim, NewJob, OpenParts, PartAttemptOutcome, PartKey, PartPage, SealParts, Settle,
    SettleParts, StartParts, Submit,
};
use ork_ports::store::Store;
use ork_sqlite::Sqlite;
use serde_json::Value;

use super::tasks::*;
use super::world::{Foreigner, World, each, fresh, on, once, shared};

/// A durable queue of another program, bound to the events that it needs.
struct CallObserver {
    queue: String,
    consumer: Consumer,
}

impl CallObserver {
    async fn new(world: &World, foreigner: &Foreigner, keys: &[&str]) -> Self {
        let queue = format!("listener.{}", JobId::new());
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let channel = &foreigner.channel;
        channel.queue_declare(queue.as_str().into(), durable, FieldTable::default()).await.unwrap();
        for key in keys {
            let exchange = format!("{}.events", world.prefix);
            let options = QueueBindOptions::default();
            let bind = channel.queue_bind(
                queue.as_str().into(),
                exchange.into(),
                (*key).into(),
                options,
                FieldTable::default(),
            );
            bind.await.unwrap();
        }
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let tag = queue.as_str().into();
        let consumer = channel.basic_consume(queue.as_str().into(), tag, options, FieldTable::default()).await.unwrap();
        Self { queue, consumer }
    }

    /// Waits for the next event, and returns the JSON on the wire.
    async fn next(&mut self) -> Value {
        let delivery = self.consumer.next().await.unwrap().unwrap();
        let json: Value = serde_json::from_slice(&delivery.data).unwrap();
        let properties = &delivery.properties;
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/cloudevents+json");
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), json["id"].as_str().unwrap());
        assert_eq!(delivery.routing_key.as_str(), json["type"].as_str().unwrap());
        assert_eq!(*properties.delivery_mode(), Some(2), "it outlives a restart where it is bound");
        json
    }

    /// Collects the events of one job until its end: the type and the data of each.
    async fn life(&mut self, job: JobId) -> Vec<(String, Value)> {
        let mut life = Vec::new();
        loop {
            let event = self.next().await;
            if event["data"]["job"] != job.to_string() {
                continue;
            }
            let (kind, data) = (event["type"].as_str().unwrap().to_owned(), event["data"].clone());
            let ended = data["isPart"] == false
                && ["succeeded", "failed", "cancelled"].contains(&data["state"].as_str().unwrap());
            life.push((kind, data));
            if ended {
                return life;
            }
        }
    }

    async fn end(self, foreigner: &Foreigner) {
        foreigner.channel.queue_delete(self.queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
}

/// Starts a process that submits and publishes events.
async fn client(world: &World) -> Ork {
    world.builder().set("events", "jobs").build().await.unwrap()
}

/// Starts a process that works and publishes events.
async fn worker(world: &World) -> Ork {
    let ork = client(world).await;
    ork.spawn_worker();
    ork
}

fn kinds(life: &[(String, Value)]) -> Vec<&str> {
    life.iter().map(|(kind, _)| kind.trim_start_matches("job.")).collect()
}

#[test]
fn plain_amqp_client_receives_job_events() {
    each(|world| async move {
        let ork = worker(&world).await;
        let foreigner = world.foreigner().await;
        let mut listener = CallObserver::new(&world, &foreigner, &["#"]).await;

        let job = ork.submit(succeeds_at { attempt: 2 }).await.unwrap();
        let life = listener.life(job.id()).await;
        assert_eq!(kinds(&life), ["created", "ready", "updated", "ready", "completed"]);
        let (_, retrying) = &life[2];
        assert_eq!((&retrying["state"], &retrying["error"]["message"]), (&"retrying".into(), &"attempt 1".into()));

        let job = ork.submit(count_part { count: 5, run: fresh(), hold: u64::MAX, failing: vec![3] }).await.unwrap();
        let life = listener.life(job.id()).await;
        assert_eq!(kinds(&life), ["created", "ready", "parts-completed", "failed"]);
        let parts = serde_json::json!({ "total": 5, "completed": 4, "failed": 1, "canceled": 0 });
        assert_eq!(life[2].1["parts"], parts);

        // The events of a job that another program has sent are published by the worker that takes it.
        let name = fresh();
        let properties = foreigner.requesting(&name).with_message_id(name.as_str().into());
        foreigner.publish("add", br#"{"a": 1, "b": 2}"#, properties).await;
        let life = listener.life(JobId::from_foreign(&name)).await;
        assert_eq!(kinds(&life), ["created", "ready", "completed"]);
        listener.end(&foreigner).await;
        ork.shutdown().await;
    });
}

#[test]
fn binding_key_selects_events() {
    once(|world| async move {
        let ork = worker(&world).await;
        let foreigner = world.foreigner().await;
        let mut listener = CallObserver::new(&world, &foreigner, &["job.parts-completed", "job.canceled"]).await;
        let sum = count_part { count: 3, run: fresh(), hold: u64::MAX, failing: Vec::new() };
        let job = ork.submit(sum).await.unwrap();
        assert_eq!(job.result().await.unwrap(), 3);
        let event = listener.next().await;
        assert_eq!((&event["type"], &event["subject"]), (&"job.parts-completed".into(), &job.id().to_string().into()));
        let key = fresh();
        let job = ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        let event = listener.next().await;
        assert_eq!((&event["type"], &event["subject"]), (&"job.canceled".into(), &job.id().to_string().into()));
        Gate::of(&key).open();
        listener.end(&foreigner).await;
        ork.shutdown().await;
    });
}

#[test]
fn events_of_a_job_arrive_in_order_from_several_processes() {
    shared(|world| async move {
        let (one, two) = (worker(&world).await, worker(&world).await);
        let client = client(&world).await;
        let mut events = client.events().await.unwrap();
        let messages = (0..300).map(|n| succeeds_at { attempt: 1 + u32::from(n % 3 == 0) });
        let jobs = client.submit_all(messages).await.unwrap();
        let mut open: HashSet<_> = jobs.iter().map(ork::Handle::id).collect();
        let mut lives: HashMap<JobId, Vec<EventKind>> = HashMap::new();
        while !open.is_empty() {
            let event = events.next().await.unwrap().unwrap();
            lives.entry(event.job).or_default().push(event.kind);
            if event.kind == Succeeded {
                open.remove(&event.job);
            }
        }
        for life in lives.values() {
            assert!(
                *life == [Created, Ready, Succeeded] || *life == [Created, Ready, Retrying, Ready, Succeeded],
                "{life:?}"
            );
        }
        for ork in [client, one, two] {
            ork.shutdown().await;
        }
    });
}

/// Events over a broker are opt-in, because they cost something even without listeners.
#[test]
fn no_events_over_a_broker_unless_enabled() {
    once(|world| async move {
        let (quiet, foreigner_first) = (world.worker().await, worker(&world).await);
        let foreigner = world.foreigner().await;
        let mut listener = CallObserver::new(&world, &foreigner, &["#"]).await;
        foreigner_first.shutdown().await;
        let error = quiet.events().await.map(drop).unwrap_err().to_string();
        assert!(error.contains("set ORK_EVENTS to `jobs` or `parts`"), "{error}");
        assert_eq!(quiet.submit(add { a: 1, b: 2 }).result().await.unwrap(), 3);
        quiet.shutdown().await;
        // The first event received is from a process that publishes events.
        let loud = worker(&world).await;
        let job = loud.submit(add { a: 2, b: 2 }).await.unwrap();
        assert_eq!(listener.next().await["subject"], job.id().to_string());
        listener.end(&foreigner).await;
        loud.shutdown().await;
    });
}

#[test]
fn events_are_published_without_a_store() {
    on("none", "quorum", |world| async move {
        let ork = worker(&world).await;
        let mut events = ork.events().await.unwrap();
        let sum = count_part { count: 4, run: fresh(), hold: u64::MAX, failing: Vec::new() };
        assert_eq!(ork.submit(sum).result().await.unwrap(), 6);
        let mut kinds = Vec::new();
        while kinds.last() != Some(&Succeeded) {
            let event = events.next().await.unwrap().unwrap();
            if event.kind == PartsCompleted {
                let parts = event.parts.unwrap();
                assert_eq!((parts.total, parts.completed), (4, 4));
            }
            kinds.push(event.kind);
        }
        assert_eq!(kinds, [Created, Ready, PartsCompleted, Succeeded]);
        ork.shutdown().await;
    });
}

/// Opens the store of a world, as a process that writes to it and dies before publishing its events.
fn dead(world: &World, scope: EventScope) -> (Sqlite, Actor) {
    let path = world.store.strip_prefix("sqlite:").unwrap();
    let store = Sqlite::open(path.as_ref(), ork_sqlite::Synchronous::Full).unwrap();
    let now = Timestamp::from_millis(1_000);
    (store, Actor { worker: WorkerId::new("dead"), now, hold: false, events: EventRouting::Outbox(scope) })
}

/// The events of parts are built from what the store knows about the parts.
#[test]
fn part_events_of_a_dead_process_are_published_by_another() {
    once(|world| async move {
        let first = worker(&world).await;
        let foreigner = world.foreigner().await;
        let mut listener = CallObserver::new(&world, &foreigner, &["#"]).await;
        first.shutdown().await;

        let (store, by) = dead(&world, EventScope::Parts);
        let (store, id): (&dyn Store, _) = (&store, JobId::new());
        let new = NewJob { job: Job::new(id, "count", by.now), input: "{}".into() };
        drop(store.apply(Submit::new(new.clone(), by.clone())).await.unwrap());
        let (phase, attempt) = (Phase::Start, 1);
        let claim = Claim::new(new, phase, attempt, by.clone());
        drop(store.apply(claim).await.unwrap());
        let open = OpenParts { job: id, attempt, policy: Policy::default(), has_join: false, schema: None };
        let epoch = store.apply(open).await.unwrap().output.unwrap();
        let page = PartPage { job: id, epoch, first: 0, inputs: vec!["{}".into(), "{}".into(), "{}".into()] };
        drop(store.apply(AppendParts { page, actor: by.clone() }).await.unwrap());
        drop(
            store
                .apply(SealParts { job: id, epoch, n: 3, output: None, permit: None, actor: by.clone() })
                .await
                .unwrap(),
        );
        let part = |index| PartKey { job: id, epoch, index, attempt };
        let no = Failure::new(FailureKind::Task, "no");
        let ended = [
            (0, PartAttemptOutcome::Succeeded("1".into())),
            (2, PartAttemptOutcome::Failed { failure: no, retry_at: None }),
        ];
        for (index, _) in &ended {
            drop(store.apply(StartParts::one(part(*index), false, by.clone())).await.unwrap());
        }
        drop(store.apply(SettleParts { first: part(0), ended: ended.into(), permit: None, actor: by }).await.unwrap());
        store.close().await;

        let next = client(&world).await;
        let mut ended_parts = Vec::new();
        while ended_parts.len() < 2 {
            let event = listener.next().await;
            if event["data"]["isPart"] == true && event["type"] != "job.created" && event["type"] != "job.ready" {
                let data = &event["data"];
                ended_parts.push((
                    event["type"].clone(),
                    data["part"].clone(),
                    data["attempt"].clone(),
                    data["error"]["message"].clone(),
                ));
            }
        }
        let none = Value::Null;
        let completed = ("job.completed".into(), 0.into(), 1.into(), none);
        assert_eq!(ended_parts, [completed, ("job.failed".into(), 2.into(), 1.into(), "no".into())]);
        listener.end(&foreigner).await;
        next.shutdown().await;
    });
}

/// A process records events and dies before publishing them; another process finds them in the store.
#[test]
fn job_events_of_a_dead_process_are_published_by_another() {
    once(|world| async move {
        let first = worker(&world).await;
        let foreigner = world.foreigner().await;
        let mut listener = CallObserver::new(&world, &foreigner, &["#"]).await;
        first.shutdown().await;

        let (store, by) = dead(&world, EventScope::Jobs);
        let (store, id): (&dyn Store, _) = (&store, JobId::new());
        let new = NewJob { job: Job::new(id, "add", by.now), input: r#"{"a": 1, "b": 2}"#.into() };
        drop(store.apply(Submit::new(new.clone(), by.clone())).await.unwrap());
        let (phase, attempt) = (Phase::Start, 1);
        let claim = Claim::new(new, phase, attempt, by.clone());
        drop(store.apply(claim).await.unwrap());
        let settle = Settle {
            job: id,
            phase,
            attempt,
            outcome: AttemptOutcome::Succeeded,
            output: Some("3".into()),
            permit: None,
            actor: by,
        };
        drop(store.apply(settle).await.unwrap());
        store.close().await;

        let next = client(&world).await;
        let life = listener.life(id).await;
        assert_eq!(kinds(&life), ["created", "ready", "completed"]);
        assert_eq!(next.wait(id).await.unwrap().into_output::<i64>().unwrap(), 3);
        listener.end(&foreigner).await;
        next.shutdown().await;
    });
}
