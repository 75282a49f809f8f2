//! `why`: the report of what a job waits for.

use ork::{CancelMode, ClientError, JobId, WaitsFor};

use super::tasks::*;
use super::world::{builder, each};

#[test]
fn why_describes_a_running_and_an_ended_job() {
    each(|world| async move {
        let key = JobId::new().to_string();
        let job = world.ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let why = world.ork.why(job.id()).await.unwrap();
        let worker = job.status().await.unwrap().worker.unwrap();
        assert_eq!((why.id, why.waits_for), (job.id(), WaitsFor::Run));
        assert!(why.sentence.starts_with(&format!("running on {worker}, attempt 1 of 1; first started at ")), "{why}");
        assert!(why.sentence.contains("; last heartbeat "), "{why}");
        Gate::of(&key).open();
        job.result().await.unwrap();
        let why = world.ork.why(job.id()).await.unwrap();
        assert_eq!(why.waits_for, WaitsFor::Nothing);
        assert!(why.sentence.starts_with("succeeded "), "{why}");
        world.end().await;
    });
}

#[test]
fn why_describes_a_job_that_waits_for_its_parts() {
    each(|world| async move {
        let run = JobId::new().to_string();
        let job = world.ork.submit(strict_part { count: 50, run: run.clone() }).await.unwrap();
        Gate::of(&format!("{run}.1")).entered().await;
        world.until(job.id(), |status| status.state == ork::JobState::Waiting).await;
        let why = world.ork.why(job.id()).await.unwrap();
        assert_eq!(why.waits_for, WaitsFor::Parts);
        let sentence = why.sentence;
        assert!(
            sentence.starts_with("waiting for its parts: ") && sentence.contains(" of 50 parts succeeded, "),
            "{sentence}"
        );
        assert!(sentence.contains("not ended: "), "{sentence}");
        job.cancel(CancelMode::Immediate).await.unwrap();
        let sentence = world.ork.why(job.id()).await.unwrap().sentence;
        assert!(sentence.starts_with("cancelled ") && sentence.contains("`jobs retry "), "{sentence}");
        world.end().await;
    });
}

#[test]
fn why_reports_that_no_worker_is_running() {
    each(|world| async move {
        let (ork, store, folder) = world.parts();
        ork.shutdown().await;
        let client = builder(&store).build().await.unwrap();
        let job = client.submit(add { a: 1, b: 1 }).await.unwrap();
        let why = client.why(job.id()).await.unwrap();
        assert_eq!(why.waits_for, WaitsFor::Worker);
        let end = "no worker has taken its message; no other process is up: start a worker";
        assert!(why.sentence.ends_with(end), "{why}");
        let unknown = client.why(JobId::new()).await.unwrap_err();
        assert!(matches!(unknown, ClientError::JobNotFound { .. }), "{unknown}");
        client.shutdown().await;
        drop(folder);
    });
}
