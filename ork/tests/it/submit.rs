//! Submitting jobs, waiting for them, and invalid inputs.

use ork::{CancelMode, ClientError, JobState};

use super::tasks::*;
use super::world::{each, why};

#[test]
fn result_comes_back_typed() {
    each(|world| async move {
        assert_eq!(world.ork.submit(greet { name: "Ada".into() }).result().await.unwrap(), "hello Ada");
        assert_eq!(world.ork.submit(add { a: 2, b: 3 }).await.unwrap().result().await.unwrap(), 5);
        world.end().await;
    });
}

#[test]
fn many_concurrent_jobs_all_end() {
    each(|world| async move {
        let jobs = world.ork.submit_all((0..500).map(|a| add { a, b: 1 })).await.unwrap();
        for (a, job) in (0..).zip(&jobs) {
            assert_eq!(job.result().await.unwrap(), a + 1);
        }
        world.end().await;
    });
}

#[test]
fn unknown_task_is_refused_with_a_list_of_known_ones() {
    each(|world| async move {
        let error = world.ork.submit_json("gret", "{}".into()).await.unwrap_err();
        assert!(matches!(error, ClientError::UnknownTask(_)));
        let message = error.to_string();
        assert!(message.contains("no task `gret`, did you mean `greet`?") && message.contains("`add`"), "{message}");
        world.end().await;
    });
}

#[test]
fn invalid_input_is_refused_before_it_is_submitted() {
    each(|world| async move {
        for (body, expected) in [
            (r#"{"a": 1, "b": "x"}"#, "`b`: invalid type: string \"x\", expected i64"),
            (r#"{"a": 1}"#, "`b` is missing: expected integer"),
            (r#"{"a": 1, "b": 2, "d": 3}"#, "unknown input `d`: expected `a`, `b`"),
            (r#"{"a": 1, "a": 2, "b": 3}"#, "`a` is given twice"),
            ("[1, 2]", "expected an object with `a`, `b`, found sequence"),
            (r#"{"a": 1,"#, "the body is not JSON"),
            ("", "the body is not JSON"),
        ] {
            let message = world.ork.submit_json("add", body.into()).await.unwrap_err().to_string();
            assert!(message.contains(expected), "{body}: {message}");
        }
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let message = world.ork.submit_json("add", deep.into()).await.unwrap_err().to_string();
        assert!(message.contains("nested deeper than 64 levels"), "{message}");
        let large = format!("\"{}\"", "x".repeat(17 * 1024 * 1024));
        let message = world.ork.submit_json("add", large.into()).await.unwrap_err().to_string();
        assert!(message.contains("max_message_bytes"), "{message}");
        assert!(world.ork.jobs(ork::Filter { limit: 10, ..Default::default() }).await.unwrap().is_empty());
        world.end().await;
    });
}

#[test]
fn failure_carries_the_message_of_the_task() {
    each(|world| async move {
        let job = world.ork.submit(fails { message: "no luck".into() }).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert_eq!(why(&outcome), "no luck");
        assert!(matches!(job.result().await.unwrap_err(), ClientError::Failed { .. }));
        world.end().await;
    });
}

#[test]
fn unknown_job_is_named_in_the_error() {
    each(|world| async move {
        let id = ork::JobId::new();
        let message = world.ork.status(id).await.unwrap_err().to_string();
        assert_eq!(message, format!("there is no job {id}"));
        assert!(world.ork.cancel(id, CancelMode::Immediate).await.is_err());
        assert!(world.ork.retry(id).await.is_err());
        world.end().await;
    });
}

#[test]
fn job_submitted_by_one_process_runs_in_another() {
    each(|world| async move {
        let Some(client) = world.another().await else { return };
        let result = client.submit(add { a: 20, b: 22 }).result().await.unwrap();
        assert_eq!(result, 42);
        let jobs = world.ork.jobs(ork::Filter { limit: 10, ..Default::default() }).await.unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].state, JobState::Succeeded);
        client.shutdown().await;
        world.end().await;
    });
}
