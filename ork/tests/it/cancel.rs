//! Cancellation: it is final at once, running calls see it, and parts that have not started never do.

use ork::{CancelMode, ClientError, JobState};

use super::tasks::*;
use super::world::each;

#[test]
fn running_task_sees_that_its_job_was_cancelled() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(listens { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        assert_eq!(job.status().await.unwrap().state, JobState::Cancelled);
        assert!(matches!(job.result().await.unwrap_err(), ClientError::Cancelled { .. }));
        world.end().await;
        assert_eq!(calls(&key), 1);
    });
}

#[test]
fn cancel_by_another_process_reaches_the_running_task() {
    each(|world| async move {
        let Some(client) = world.another().await else { return };
        let key = ork::JobId::new().to_string();
        let job = client.submit(listens { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        client.shutdown().await;
        world.end().await;
        assert_eq!(calls(&key), 1);
    });
}

#[test]
fn cancelled_parts_never_start() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let job = world.ork.submit(strict_part { count: 5_000, run: run.clone() }).await.unwrap();
        Gate::of(&format!("{run}.1")).entered().await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        let status = job.status().await.unwrap();
        assert_eq!(status.state, JobState::Cancelled);
        assert_eq!(status.parts.settled(), status.total.unwrap());
        assert_eq!(status.parts.running, 0);
        world.end().await;
    });
}

#[test]
fn ended_job_cannot_be_cancelled() {
    each(|world| async move {
        let job = world.ork.submit(add { a: 1, b: 1 }).await.unwrap();
        job.result().await.unwrap();
        let message = job.cancel(CancelMode::Immediate).await.unwrap_err().to_string();
        assert_eq!(message, format!("job {} is succeeded and cannot be cancelled", job.id()));
        world.end().await;
    });
}
