//! A client requests the outcome of a job that the store knows, by sending its message again with the same
//! `message_id`.

use std::time::Duration;

use serde_json::{Value, json};

use super::tasks::*;
use super::world::{Foreigner, each, fresh};

async fn reply(foreigner: &mut Foreigner) -> (String, Value) {
    tokio::time::timeout(Duration::from_secs(20), foreigner.reply()).await.expect("no reply")
}

/// Regression test: only the first message got a reply.
#[test]
fn repeated_request_after_the_end_gets_its_reply_from_the_store() {
    each(|world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let (name, key) = (fresh(), fresh());
        Gate::of(&key).open();
        for correlation in ["first", "second", "second"] {
            let properties = foreigner.requesting(correlation).with_message_id(name.as_str().into());
            foreigner.publish("gated", json!({"key": key}).to_string().as_bytes(), properties).await;
            let (correlates, outcome) = reply(&mut foreigner).await;
            assert_eq!((correlates.as_str(), &outcome["output"]), (correlation, &json!(key)), "{outcome}");
        }
        assert_eq!(calls(&key), 1);
        // A failure is an outcome too, and so is the rejection of an unknown task.
        let queue = format!("{}.task.plain", world.prefix);
        for (task, kind) in [("fails", "task"), ("nonesuch", "unknown-task")] {
            let name = fresh();
            for correlation in ["first", "second"] {
                let properties = foreigner.requesting(correlation).with_message_id(name.as_str().into());
                foreigner.publish_to("", &queue, br#"{"message": "no"}"#, properties.with_type(task.into())).await;
                let (correlates, outcome) = reply(&mut foreigner).await;
                assert_eq!((correlates.as_str(), &outcome["error"]["kind"]), (correlation, &json!(kind)), "{outcome}");
            }
        }
        ork.shutdown().await;
    });
}

/// Regression test: only the first message got a reply.
#[test]
fn repeated_requests_before_the_end_all_get_a_reply_at_the_end() {
    each(|world| async move {
        let (ork, mut foreigner) = (world.worker().await, world.foreigner().await);
        let (name, run) = (fresh(), fresh());
        let input = json!({"count": 3, "run": run, "hold": 0, "failing": []}).to_string();
        let request = async |foreigner: &Foreigner, correlation: &str| {
            let properties = foreigner.requesting(correlation).with_message_id(name.as_str().into());
            foreigner.publish("count", input.as_bytes(), properties).await;
        };
        request(&foreigner, "first").await;
        Gate::of(&run).entered(3).await;
        request(&foreigner, "second").await;
        request(&foreigner, "third").await;
        // Make sure that the other two messages have been handled.
        let end = super::world::until(&ork, ork::JobId::from_foreign(&name), |status| status.total == Some(3)).await;
        assert!(!end.state.is_final());
        ork.submit(low { run: fresh() }).result().await.unwrap();
        Gate::of(&run).open();
        let mut repliers = Vec::new();
        for _ in 0..3 {
            let (correlates, outcome) = reply(&mut foreigner).await;
            assert_eq!(outcome["output"], json!(3), "{outcome}");
            repliers.push(correlates);
        }
        repliers.sort_unstable();
        assert_eq!(repliers, ["first", "second", "third"]);
        assert_eq!(calls(&format!("{run}.split")), 1);
        ork.shutdown().await;
    });
}
