//! Two workers make the same job at the same moment, as its message came twice.

use std::time::Duration;

use super::world::{fresh, on};

/// Fails on the code before this change: in about one round of three one of the two outcomes says that the parts cannot be
/// sent, for the other worker had removed the part queue in between.
#[test]
fn a_named_job_that_comes_twice_at_once_never_fails() {
    on("none", "quorum", |world| async move {
        let (ork, other) = (world.worker().await, world.worker().await);
        let mut foreigner = world.foreigner().await;
        for round in 0..40 {
            let name = format!("{round}-{}", fresh());
            let input = serde_json::json!({"count": 5, "run": name, "hold": 1_000, "failing": []}).to_string();
            let properties = || foreigner.asking(&name).with_message_id(name.as_str().into());
            tokio::join!(
                foreigner.publish("count", input.as_bytes(), properties()),
                foreigner.publish("count", input.as_bytes(), properties()),
            );
            // Outcomes of the round before may still come.
            loop {
                let answer = tokio::time::timeout(Duration::from_secs(30), foreigner.answer()).await;
                let (correlation, outcome) = answer.expect("the job stays open");
                assert_eq!((&outcome["state"], &outcome["output"]), (&"success".into(), &10.into()), "{outcome}");
                if correlation == name {
                    break;
                }
            }
        }
        ork.shutdown().await;
        other.shutdown().await;
    });
}
