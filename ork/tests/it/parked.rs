//! A new version of a program finds jobs of the previous version in its store: a job that does not fit is parked
//! visibly, runs once a fitting version is back, and can be cancelled like every other job.

use futures_util::StreamExt as _;
use ork::{CancelMode, Event, EventKind, JobId, JobState, Ork, Registry, task};
use ork_runtime::task::TaskDef;

use super::world::{World, builder, each};

/// The first version.
#[task]
fn invoice_one(order: u32) -> String {
    format!("order {order}")
}

/// The second version also takes an address.
#[task]
fn invoice_two(order: u32, address: String) -> String {
    format!("order {order} to {address}")
}

/// A program in which this function is the task `invoice`.
async fn version(store: &str, name: &str) -> Ork {
    let registry = Registry::collect().unwrap();
    let work = TaskDef { name: "invoice", ..registry.get(name).unwrap().work };
    let registry = Registry::of([work]).unwrap();
    builder(store).registry(registry).set("events", "jobs").build().await.unwrap()
}

/// Returns a program of the second version, a job of the first version that it has parked, and the event for that.
async fn parked(store: &str) -> (Ork, JobId, Event) {
    let one = version(store, "invoice_one").await;
    let job = one.submit_json("invoice", r#"{"order": 7}"#.into()).await.unwrap();
    one.shutdown().await;
    let two = version(store, "invoice_two").await;
    let mut events = two.events().await.unwrap();
    two.spawn_worker();
    loop {
        let event = events.next().await.unwrap().unwrap();
        if event.kind == EventKind::Retrying {
            return (two, job, event);
        }
    }
}

#[test]
fn job_of_the_previous_version_is_parked_and_runs_once_that_version_is_back() {
    each(|world: World| async move {
        let Some(store) = world.shared_store().map(str::to_owned) else { return world.end().await };
        world.ork.shutdown().await;
        let (two, job, event) = parked(&store).await;
        let message = event.error.unwrap().message;
        assert!(message.starts_with("parked for another version of `invoice`: `address` is missing"), "{message}");
        let why = two.why(job).await.unwrap().sentence;
        let expected =
            ["its input is parked for another version of `invoice`: `address` is missing", "checked again in"];
        assert!(expected.iter().all(|fragment| why.contains(fragment)), "{why}");
        two.shutdown().await;

        let one = version(&store, "invoice_one").await;
        one.spawn_worker();
        let outcome = one.wait(job).await.unwrap();
        assert_eq!(outcome.status().state, JobState::Succeeded);
        one.shutdown().await;
    });
}

#[test]
fn parked_job_can_be_cancelled() {
    each(|world: World| async move {
        let Some(store) = world.shared_store().map(str::to_owned) else { return world.end().await };
        world.ork.shutdown().await;
        let (two, job, _) = parked(&store).await;
        two.cancel(job, CancelMode::Immediate).await.unwrap();
        assert_eq!(two.wait(job).await.unwrap().status().state, JobState::Cancelled);
        two.shutdown().await;
    });
}
