//! A program that knows nothing of ork holds a record of a part queue while the last part of the set ends, like a
//! tool that inspects queues.

use std::sync::Arc;
use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, BasicNackOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use ork::Ork;

use super::parts::{Followed, make, part, with_and_without};
use super::storeless::Hasty;
use super::tasks::*;
use super::world::{Foreigner, World, fresh, on};

/// How long the set may take after the record has returned.
const SOON: Duration = Duration::from_secs(20);

/// Takes one record out of a queue as soon as there is one, without acknowledging it.
async fn take(foreigner: &Foreigner, queue: &str) -> BasicGetMessage {
    loop {
        let got = foreigner.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap();
        if let Some(got) = got {
            return got;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until this many records are in the queue.
async fn until(foreigner: &Foreigner, queue: &str, n: u32) {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let count = || foreigner.channel.queue_declare(queue.into(), passive, FieldTable::default());
    while count().await.unwrap().message_count() < n {
        tokio::task::yield_now().await;
    }
}

async fn requeue(held: BasicGetMessage) {
    held.delivery.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
}

async fn hasty(world: &World) -> Ork {
    let ork = world.builder().clock(Arc::new(Hasty::default())).build().await.unwrap();
    ork.spawn_worker();
    ork
}

/// Regression test: the hooks were never sent, because the count of the last part lacked the held record and no
/// process counted again.
#[test]
fn foreign_set_is_completed_after_another_program_held_a_record() {
    with_and_without(|world| async move {
        let (ork, foreigner) = (hasty(&world).await, world.foreigner().await);
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let queue = format!("part.{}", fresh());
        make(&foreigner, &queue, FieldTable::default()).await;
        let hooks = r#"[{"route": "after", "inputs": 1}]"#;
        let body = br#"{"a": 1, "b": 2}"#;
        foreigner.publish("add", body, part(0, 2, &queue, hooks)).await;
        let held = take(&foreigner, &queue).await;
        foreigner.publish("add", body, part(1, 2, &queue, hooks)).await;
        until(&foreigner, &queue, 1).await;
        // Make sure that the last part has been counted.
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        followed.nothing().await;
        requeue(held).await;
        let (_, _, body) = tokio::time::timeout(SOON, followed.next()).await.expect("the set stays open");
        assert_eq!(body, serde_json::json!(1));
        followed.nothing().await;
        ork.shutdown().await;
    });
}

/// Regression test: the job never ended.
#[test]
fn storeless_job_is_joined_after_another_program_held_a_record() {
    on("none", "quorum", |world| async move {
        let (ork, foreigner) = (hasty(&world).await, world.foreigner().await);
        let (run, id) = (fresh(), ork::JobId::from_foreign("held"));
        let properties = foreigner.requesting("held").with_message_id("held".into());
        let input = serde_json::json!({"count": 2, "run": run, "hold": 1, "failing": []}).to_string();
        let queue = format!("part.{}-count-{id}", world.prefix);
        let mut foreigner = foreigner;
        foreigner.publish("count", input.as_bytes(), properties).await;
        Gate::of(&run).entered(1).await;
        // The first part may not have been recorded before this.
        until(&foreigner, &queue, 2).await;
        let (head, record) = (take(&foreigner, &queue).await, take(&foreigner, &queue).await);
        requeue(head).await;
        Gate::of(&run).open();
        until(&foreigner, &queue, 2).await;
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        requeue(record).await;
        let (_, outcome) = tokio::time::timeout(SOON, foreigner.reply()).await.expect("the job stays open");
        assert_eq!((&outcome["state"], &outcome["output"]), (&"succeeded".into(), &1.into()), "{outcome}");
        ork.shutdown().await;
    });
}
