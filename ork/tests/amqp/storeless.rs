//! Without a store: plain tasks run, and operations that need a store are refused with an explanation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use ork::{ClientError, Clock, JobId, Timestamp};
use ork_core::clock::Pause;
use ork_runtime::clock::system::SystemClock;

use super::tasks::*;
use super::world::{header, on};

#[test]
fn results_arrive_as_replies() {
    for queues in ["quorum", "classic"] {
        on("none", queues, |world| async move {
            let ork = world.worker().await;
            assert_eq!(ork.submit(hello { name: "Ada".into() }).result().await.unwrap(), "hello Ada");
            let jobs = (0..500).map(|a| ork.submit(add { a, b: 1 }).result());
            let sums = futures_util::future::try_join_all(jobs).await.unwrap();
            assert_eq!(sums, (1..501).collect::<Vec<_>>());
            ork.shutdown().await;
        });
    }
}

#[test]
fn attempts_run_in_place_and_failures_are_returned() {
    on("none", "quorum", |world| async move {
        let ork = world.worker().await;
        assert_eq!(ork.submit(succeeds_at { attempt: 4 }).result().await.unwrap(), 4);
        for (expected, ended) in [
            ("attempt 4", ork.submit(succeeds_at { attempt: 9 }).result().await.map(drop)),
            ("no luck", ork.submit(fails { message: "no luck".into() }).result().await),
            ("oh no", ork.submit(panics { message: "oh no".into() }).result().await),
        ] {
            let Err(ClientError::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
            assert!(failure.to_string().contains(expected), "{failure}");
        }
        ork.shutdown().await;
    });
}

#[test]
fn operations_that_need_a_store_are_refused() {
    on("none", "quorum", |world| async move {
        let ork = world.worker().await;
        let message = ork.status(JobId::new()).await.unwrap_err().to_string();
        assert!(message.contains("requires a store"), "{message}");
        ork.shutdown().await;
    });
}

/// The system's clock, except that pauses last a millisecond at most.
#[derive(Debug, Default)]
pub(crate) struct Hasty(SystemClock);

impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn pause(&self, duration: Duration) -> Pause {
        self.0.pause(duration.min(Duration::from_millis(1)))
    }
}

#[test]
fn parts_and_joins_that_no_worker_can_run_are_dead_lettered() {
    for queues in ["quorum", "classic"] {
        on("none", queues, |world| async move {
            let builder = world.builder().clock(Arc::new(Hasty(SystemClock)));
            let ork = builder.build().await.unwrap();
            ork.spawn_worker();
            let mut foreigner = world.foreigner().await;
            let text = |text: &str| AMQPValue::LongString(text.into());
            for kind in ["part", "join"] {
                let id = JobId::new();
                let headers = [
                    ("ork-job", text(&id.to_string())),
                    ("ork-kind", text(kind)),
                    ("ork-epoch", AMQPValue::LongInt(1)),
                    ("ork-index", AMQPValue::LongInt(7)),
                ];
                let headers: BTreeMap<_, _> = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
                let properties = BasicProperties::default().with_headers(FieldTable::from(headers));
                foreigner.publish("count", b"null", properties).await;
                let dead = foreigner.dead().await;
                assert_eq!(header(&dead, "x-ork-reason"), "needs-store");
                let message = header(&dead, "x-ork-detail");
                assert!(
                    message.contains(&format!("a {kind} of job {id}")) && message.contains("ORK_STORE"),
                    "{message}"
                );
            }
            // Only a store can limit how many calls run at a time.
            let item = FieldTable::from(BTreeMap::from([("ork-kind".into(), text("single"))]));
            let properties = BasicProperties::default().with_headers(item);
            foreigner.publish("narrow", b"{\"run\":\"r\",\"number\":1}", properties).await;
            let dead = foreigner.dead().await;
            assert_eq!(header(&dead, "x-ork-reason"), "needs-store");
            let message = header(&dead, "x-ork-detail");
            assert!(message.contains("a task with a concurrency limit") && message.contains("ORK_STORE"), "{message}");
            assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
            ork.shutdown().await;
        });
    }
}
