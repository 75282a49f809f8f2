//! Two versions of one task on one queue, as during a rolling deployment. An input made for another schema that does
//! not fit this worker is parked until a worker that it fits starts; an input that fits runs, whatever schema its
//! message names.

use std::sync::Arc;

use futures_util::StreamExt as _;
use lapin::types::{AMQPValue, FieldTable};
use ork::{CancelMode, EventKind, Fingerprint, JobId, JobState, Ork, Registry, Task, task};
use ork_runtime::task::TaskDef;

use super::tasks::*;
use super::world::{Foreigner, World, each, fresh, header, on};

/// The old version of a thumbnail task, without a width.
#[task(queue = "plain")]
async fn resize_old(path: String, key: Option<String>, context: ork::Context) -> String {
    if let Some(key) = key {
        called(&key);
        Gate::of(&key).pass().await;
    }
    format!("{path} at {}", context.attempt())
}

/// The new version, in which the width is required.
#[task(queue = "plain")]
async fn resize_new(path: String, width: u32, context: ork::Context) -> String {
    format!("{path} of {width} at {}", context.attempt())
}

/// The split of an album in the old version.
#[task(part)]
fn resize_old_part(paths: Vec<String>, key: String) -> Vec<resize_old> {
    paths.into_iter().map(|path| resize_old { path, key: Some(key.clone()) }).collect()
}

/// The split of an album in the new version.
#[task(part)]
fn resize_new_part(paths: Vec<String>, key: String) -> Vec<resize_new> {
    paths.into_iter().map(|path| resize_new { path, width: u32::try_from(key.len()).unwrap() }).collect()
}

fn known(name: &str) -> Arc<Task> {
    Arc::clone(Registry::collect().unwrap().get(name).unwrap())
}

/// Returns a registry with one of the versions as the task `resize`: `resize_old` or `resize_new`.
fn version(name: &str, split: bool) -> Registry {
    let Task { work, split: parts, .. } = &*known(name);
    let named = |def: &TaskDef| TaskDef { name: "resize", ..*def };
    Registry::of([Some(named(work)), parts.as_ref().filter(|_| split).map(named)].into_iter().flatten()).unwrap()
}

/// Returns the fingerprint of the input schema of a version.
fn fingerprint(name: &str) -> Fingerprint {
    known(name).work.fingerprint()
}

async fn worker(world: &World, name: &str, split: bool) -> Ork {
    let ork = world
        .builder()
        .registry(version(name, split))
        .set("shutdown", "10ms")
        .set("events", "parts")
        .build()
        .await
        .unwrap();
    ork.spawn_worker();
    ork
}

/// Sends an input that was made for this schema, with a message id.
async fn send(foreigner: &Foreigner, name: &str, body: &str, schemas: Option<Fingerprint>) -> JobId {
    let mut properties = foreigner.requesting(name).with_message_id(name.into());
    if let Some(schemas) = schemas {
        let mut headers = FieldTable::default();
        headers.insert("ork-schema".into(), AMQPValue::LongString(schemas.to_string().into()));
        properties = properties.with_headers(headers);
    }
    foreigner.publish("resize", body.as_bytes(), properties).await;
    JobId::from_foreign(name)
}

type Events = futures_util::stream::BoxStream<'static, Result<ork::Event, ork::ClientError>>;

/// Waits for the event that a job was parked, and returns its error message.
async fn parked(events: &mut Events, id: JobId) -> String {
    loop {
        let event = events.next().await.unwrap().unwrap();
        if event.job == id && event.kind == EventKind::Retrying {
            return event.error.unwrap().message;
        }
    }
}

const NEW: &str = r#"{"path": "a", "width": 7}"#;

#[test]
fn old_worker_parks_a_new_message_until_a_new_worker_starts() {
    each(|world| async move {
        let old = worker(&world, "resize_old", false).await;
        let mut events = old.events().await.unwrap();
        let mut foreigner = world.foreigner().await;
        let id = send(&foreigner, "new-1", NEW, Some(fingerprint("resize_new"))).await;
        let message = parked(&mut events, id).await;
        let expected = "parked for another version of `resize`: unknown input `width`: expected `path`, `key`";
        assert!(message.starts_with(expected), "{message}");
        for version in ["resize_old", "resize_new"] {
            assert!(message.contains(&fingerprint(version).to_string()), "{message}");
        }
        if world.is_in_memory() {
            old.shutdown().await;
            return;
        }
        // Both are running for a while, as in a deployment.
        let new = worker(&world, "resize_new", false).await;
        old.shutdown().await;
        let (name, reply) = foreigner.reply().await;
        // Parking used up no attempt.
        assert_eq!((name.as_str(), &reply["output"]), ("new-1", &"a of 7 at 1".into()), "{reply}");
        new.shutdown().await;
    });
}

#[test]
fn new_worker_parks_an_old_message_until_a_rollback() {
    each(|world| async move {
        let new = worker(&world, "resize_new", false).await;
        let mut events = new.events().await.unwrap();
        let mut foreigner = world.foreigner().await;
        let id = send(&foreigner, "old-1", r#"{"path": "a"}"#, Some(fingerprint("resize_old"))).await;
        let message = parked(&mut events, id).await;
        assert!(message.contains("`width` is missing: expected integer"), "{message}");
        if world.is_in_memory() {
            // The job is no longer wanted, so it is cancelled.
            new.cancel(id, CancelMode::Immediate).await.unwrap();
            let reply = foreigner.reply().await.1;
            assert_eq!(reply["state"], "cancelled", "{reply}");
            new.shutdown().await;
            return;
        }
        let old = worker(&world, "resize_old", false).await;
        new.shutdown().await;
        assert_eq!(foreigner.reply().await.1["output"], "a at 1");
        old.shutdown().await;
    });
}

#[test]
fn fitting_input_runs_whatever_its_schema_and_misfits_fail() {
    each(|world| async move {
        let old = worker(&world, "resize_old", false).await;
        let mut foreigner = world.foreigner().await;
        send(&foreigner, "fits", r#"{"path": "a"}"#, Some(fingerprint("resize_new"))).await;
        assert_eq!(foreigner.reply().await.1["output"], "a at 1");
        for (name, schemas) in [("unsaid", None), ("own", Some(fingerprint("resize_old")))] {
            send(&foreigner, name, NEW, schemas).await;
            let reply = foreigner.reply().await.1;
            assert_eq!((&reply["state"], &reply["error"]["kind"]), (&"failed".into(), &"input".into()), "{reply}");
            assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), "wrong-input");
        }
        old.shutdown().await;
    });
}

/// The parts of a job that an old worker has split, first with only new workers left, and then with an old one again.
#[test]
fn parts_are_parked_like_jobs() {
    super::world::shared(|world| async move {
        let old = worker(&world, "resize_old", true).await;
        let mut foreigner = world.foreigner().await;
        let key = fresh();
        let body = format!(r#"{{"paths": ["a", "b"], "key": "{key}"}}"#);
        let id = send(&foreigner, &key, &body, None).await;
        Gate::of(&key).entered(2).await;
        let new = worker(&world, "resize_new", true).await;
        let mut events = new.events().await.unwrap();
        old.shutdown().await;
        // Each part is delivered again after its pause, and parked again.
        let mut again = std::collections::BTreeSet::new();
        while again.len() < 2 {
            let event = events.next().await.unwrap().unwrap();
            if event.job == id && event.attempt > 1 {
                again.extend(event.part);
            }
        }
        assert_eq!(new.status(id).await.unwrap().state, JobState::Waiting);
        let old = worker(&world, "resize_old", true).await;
        new.shutdown().await;
        Gate::of(&key).open();
        let reply = foreigner.reply().await.1;
        assert_eq!(reply["state"], "succeeded", "{reply}");
        old.shutdown().await;
    });
}

/// Without a store only the broker keeps the message: it is passed between the workers of the queue, and finally
/// moved to the dead letters.
#[test]
fn storeless_misfit_is_dead_lettered_and_can_be_sent_again() {
    for queues in ["quorum", "classic"] {
        on("none", queues, |world| async move {
            let builder = world.builder().registry(version("resize_old", false));
            let old = builder.clock(Arc::new(super::storeless::Hasty::default())).build().await.unwrap();
            old.spawn_worker();
            let mut foreigner = world.foreigner().await;
            send(&foreigner, "new-1", NEW, Some(fingerprint("resize_new"))).await;
            let dead = foreigner.dead().await;
            assert_eq!(header(&dead, "x-ork-reason"), "other-schema");
            let detail = header(&dead, "x-ork-detail");
            assert!(detail.contains("unknown input `width`"), "{detail}");
            old.shutdown().await;

            // The sender has received no reply. The unchanged message runs on a worker that it fits.
            let new = worker(&world, "resize_new", false).await;
            let key = header(&dead, "x-ork-routing-key");
            foreigner.publish(&key, &dead.data, dead.properties.clone()).await;
            let (name, reply) = foreigner.reply().await;
            assert_eq!((name.as_str(), &reply["output"]), ("new-1", &"a of 7 at 1".into()), "{reply}");
            new.shutdown().await;
        });
    }
}
