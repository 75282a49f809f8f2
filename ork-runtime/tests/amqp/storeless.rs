//! With no store at all: plain tasks run, what needs a memory is refused in words.

use ork::ClientError;

use super::tasks::*;
use super::world::{fresh, on};

#[test]
fn results_come_by_reply() {
    for queues in ["quorum", "classic"] {
        on("none", queues, |world| async move {
            let ork = world.worker().await;
            assert_eq!(ork.submit(hello { name: "Ada".into() }).and_wait().await.unwrap(), "hello Ada");
            let jobs = (0..500).map(|a| ork.submit(add { a, b: 1 }).and_wait());
            let sums = futures_util::future::try_join_all(jobs).await.unwrap();
            assert_eq!(sums, (1..501).collect::<Vec<_>>());
            ork.shutdown().await;
        });
    }
}

#[test]
fn attempts_are_made_in_place_and_failures_come_back() {
    on("none", "quorum", |world| async move {
        let ork = world.worker().await;
        assert_eq!(ork.submit(succeeds_at { attempt: 4 }).and_wait().await.unwrap(), 4);
        for (words, ended) in [
            ("attempt 4", ork.submit(succeeds_at { attempt: 9 }).and_wait().await.map(drop)),
            ("no luck", ork.submit(fails { message: "no luck".into() }).and_wait().await),
            ("oh no", ork.submit(panics { message: "oh no".into() }).and_wait().await),
        ] {
            let Err(ClientError::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
            assert!(failure.to_string().contains(words), "{failure}");
        }
        ork.shutdown().await;
    });
}

#[test]
fn a_job_with_parts_is_refused_in_words() {
    on("none", "quorum", |world| async move {
        let ork = world.worker().await;
        let message = count_part { count: 10, run: fresh(), hold: u64::MAX, failing: Vec::new() };
        let ended = ork.submit(message).and_wait().await;
        let Err(ClientError::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
        assert!(failure.to_string().contains("ORK_STORE"), "{failure}");
        let words = ork.status(ork::JobId::new()).await.unwrap_err().to_string();
        assert!(words.contains("there is no store"), "{words}");
        ork.shutdown().await;
    });
}
