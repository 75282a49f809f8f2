//! Messages for tasks that no worker of their queue has: their senders are notified in each of the ways that they
//! requested.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use ork::JobId;
use serde_json::json;

use super::parts::{Followed, make, part, table, text, with_and_without};
use super::world::{World, fresh, header, on};

/// The name of the work queue, to which other programs may publish directly.
fn plain(world: &World) -> String {
    format!("{}.task.plain", world.prefix)
}

/// Regression test: the hook was never sent, and the failure was of the kind `input`.
#[test]
fn hooks_of_a_job_with_an_unknown_task_are_sent() {
    with_and_without(|world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let hooks = r#"[{"route": "after", "when": "failure"}, {"route": "after", "inputs": 2, "when": "success"}]"#;
        let name = fresh();
        let headers = table([("on_complete", text(hooks))]);
        let properties =
            foreigner.requesting("requested").with_message_id(name.as_str().into()).with_type("nonesuch".into());
        foreigner.publish_to("", &plain(&world), br#"{"a": 1}"#, properties.with_headers(headers)).await;
        let (_, outcome) = foreigner.reply().await;
        assert_eq!((&outcome["state"], &outcome["error"]["kind"]), (&json!("failed"), &json!("unknown-task")));
        let id = JobId::from_foreign(&name);
        let expected = json!({"id": id.to_string(), "method": "nonesuch", "inputs": {"a": 1}});
        assert_eq!(followed.next().await.2, expected);
        followed.nothing().await;
        assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), "unknown-task");
        ork.shutdown().await;
    });
}

/// Regression test: the set stayed open forever.
#[test]
fn part_of_an_unknown_task_is_counted_as_failed() {
    with_and_without(|world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let hooks = r#"[{"route": "after", "inputs": 1, "when": "success"}, {"route": "after", "inputs": 2, "when": "failure"}]"#;
        for known_first in [true, false] {
            let queue = format!("part.{}", fresh());
            make(&foreigner, &queue, FieldTable::default()).await;
            for known in [known_first, !known_first] {
                let (id, task) = if known { (0, "add") } else { (1, "nonesuch") };
                let properties = part(id, 2, &queue, hooks).with_type(task.into());
                foreigner.publish_to("", &plain(&world), br#"{"a": 1, "b": 2}"#, properties).await;
            }
            assert_eq!(followed.next().await.2, json!(2));
            followed.nothing().await;
            assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), "unknown-task");
        }
        ork.shutdown().await;
    });
}

/// Regression test: the set stayed open forever.
#[test]
fn unreadable_part_is_counted_as_failed() {
    with_and_without(|world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let queue = format!("part.{}", fresh());
        make(&foreigner, &queue, FieldTable::default()).await;
        let hooks = r#"[{"route": "after", "inputs": 2, "when": "failure"}]"#;
        let send = async |id: u64, content: &str| {
            let properties = part(id, 2, &queue, hooks).with_content_type(content.into());
            foreigner.publish("add", br#"{"a": 1, "b": 2}"#, properties).await;
        };
        send(0, "text/plain").await;
        send(1, "application/json").await;
        assert_eq!(followed.next().await.2, json!(2));
        followed.nothing().await;
        assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), "undecodable");
        ork.shutdown().await;
    });
}

/// Regression test: the record was never made, and the job never ended.
#[test]
fn job_fails_when_its_last_part_has_an_unknown_task() {
    on("none", "quorum", |world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let mut followed = Followed::new(&world, &foreigner, "after").await;
        let (id, queue) = (JobId::new().to_string(), format!("part.{}", fresh()));
        make(&foreigner, &queue, FieldTable::default()).await;
        // The head record, as written by another worker that has split the job.
        let hooks = r#"[{"route": "after", "inputs": 2, "when": "failure"}]"#;
        let head =
            json!({"root": id, "priority": 0, "reply": [foreigner.reply_queue, "requested"], "on_complete": hooks});
        let properties = BasicProperties::default()
            .with_headers(table([("ork-record", text("head")), ("ork-epoch", AMQPValue::LongInt(7))]));
        foreigner.publish_to("", &queue, head.to_string().as_bytes(), properties).await;
        let number = AMQPValue::LongInt;
        let headers = table([
            ("ork-kind", text("part")),
            ("ork-job", text(&id)),
            ("ork-epoch", number(7)),
            ("ork-index", number(0)),
            ("part_id", number(0)),
            ("total_parts", number(1)),
            ("part_queue", text(&queue)),
        ]);
        let properties = BasicProperties::default().with_type("nonesuch".into()).with_headers(headers);
        foreigner.publish_to("", &plain(&world), b"1", properties).await;
        let (_, outcome) = foreigner.reply().await;
        assert_eq!((&outcome["job"], &outcome["error"]["kind"]), (&json!(id), &json!("unknown-task")), "{outcome}");
        assert_eq!(followed.next().await.2, json!(2));
        assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), "unknown-task");
        ork.shutdown().await;
    });
}
