//! Two workers run the same job at the same time, because its message was sent twice.

use std::time::Duration;

use super::world::{fresh, on};

/// Regression test: in about one round of three, one of the two outcomes reported that the parts could not be sent,
/// because the other worker had deleted the part queue in between.
#[test]
fn job_sent_twice_at_once_never_fails() {
    on("none", "quorum", |world| async move {
        let (ork, other) = (world.worker().await, world.worker().await);
        let mut foreigner = world.foreigner().await;
        for round in 0..40 {
            let name = format!("{round}-{}", fresh());
            let input = serde_json::json!({"count": 5, "run": name, "hold": 1_000, "failing": []}).to_string();
            let properties = || foreigner.requesting(&name).with_message_id(name.as_str().into());
            tokio::join!(
                foreigner.publish("count", input.as_bytes(), properties()),
                foreigner.publish("count", input.as_bytes(), properties()),
            );
            // Outcomes of the previous round may still arrive.
            loop {
                let reply = tokio::time::timeout(Duration::from_secs(30), foreigner.reply()).await;
                let (correlation, outcome) = reply.expect("the job stays open");
                assert_eq!((&outcome["state"], &outcome["output"]), (&"succeeded".into(), &10.into()), "{outcome}");
                if correlation == name {
                    break;
                }
            }
        }
        ork.shutdown().await;
        other.shutdown().await;
    });
}
