//! The effect of failed parts on their job: finish, stop, tolerate, and a join that requires all outputs.

use ork::JobState;

use super::tasks::*;
use super::world::{each, why};

#[test]
fn failures_within_the_tolerance_do_not_fail_the_job() {
    each(|world| async move {
        let job = world.ork.submit(lenient_part { count: 20, failing: 2 }).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Succeeded);
        assert_eq!((outcome.status().parts.succeeded, outcome.status().parts.failed), (18, 2));
        world.end().await;
    });
}

#[test]
fn failures_beyond_the_tolerance_fail_the_job_once_all_parts_have_ended() {
    each(|world| async move {
        let job = world.ork.submit(lenient_part { count: 20, failing: 3 }).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert_eq!(why(&outcome), "3 of 20 parts failed");
        assert_eq!(outcome.status().parts.settled(), 20);
        world.end().await;
    });
}

#[test]
fn join_that_requires_all_outputs_fails_if_one_is_missing() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let job = world.ork.submit(double_part { count: 10, failing: vec![3, 7], run }).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "of 10 parts, 2 failed and 0 did not run");
        world.end().await;
    });
}

#[test]
fn stop_skips_parts_that_have_not_started_and_lets_running_ones_finish() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let job = world.ork.submit(strict_part { count: 2_000, run: run.clone() }).await.unwrap();
        world.until(job.id(), |status| status.total == Some(2_000)).await;
        Gate::of(&format!("{run}.0")).entered().await;
        Gate::of(&format!("{run}.0")).open();
        let status = world.until(job.id(), |status| status.parts.skipped > 0).await;
        assert_eq!(status.parts.failed, 1);
        // Parts that had started wait at the gate, and end when it opens.
        let waiting = status.parts.running;
        let gate = Gate::of(&format!("{run}.1"));
        let open = tokio::spawn(async move {
            loop {
                gate.entered().await;
                gate.open();
            }
        });
        let outcome = job.wait().await.unwrap();
        open.abort();
        let parts = outcome.status().parts;
        assert!(why(&outcome).starts_with("1 of 2000 parts failed, "), "{outcome:?}");
        assert_eq!(parts.settled(), 2_000);
        assert_eq!((parts.succeeded, parts.skipped), (waiting, 2_000 - 1 - waiting));
        assert_eq!(u64::from(calls(&format!("{run}.ran"))), parts.succeeded + parts.failed);
        world.end().await;
    });
}
