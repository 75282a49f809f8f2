//! Tasks that panic, never end, or return an output that cannot be serialized.

use ork::FailureKind;

use super::tasks::*;
use super::world::{World, each, why};

async fn kind(world: &World, id: ork::JobId) -> FailureKind {
    world.outcome(id).await.status().failure.as_ref().unwrap().kind
}

#[test]
fn panic_fails_its_job_only() {
    each(|world| async move {
        let job = world.ork.submit(panics { message: "ouch".into() }).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "panic: ouch");
        assert_eq!(kind(&world, job.id()).await, FailureKind::Panic);
        let job = world.ork.submit(panics_async { message: "ouch".into() }).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "panic: ouch");
        assert_eq!(world.ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        world.end().await;
    });
}

#[test]
fn task_that_never_ends_times_out() {
    each(|world| async move {
        let job = world.ork.submit(never {}).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "timeout: no result after 50ms");
        let job = world.ork.submit(blocks_for_ever {}).await.unwrap();
        assert_eq!(kind(&world, job.id()).await, FailureKind::Timeout);
        world.end().await;
    });
}

#[test]
fn output_that_cannot_be_serialized_fails_the_job() {
    each(|world| async move {
        let job = world.ork.submit(unwritable {}).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "unwritable output: this cannot be written");
        world.end().await;
    });
}

#[test]
fn failed_attempt_is_retried() {
    each(|world| async move {
        assert_eq!(world.ork.submit(succeeds_at { attempt: 4 }).result().await.unwrap(), 4);
        let job = world.ork.submit(succeeds_at { attempt: 5 }).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert_eq!(why(&outcome), "attempt 4");
        assert_eq!(outcome.status().attempt, 4);
        world.end().await;
    });
}
