//! Retrying: exactly the parts that did not succeed, then the join.

use ork::{CancelMode, JobState};

use super::tasks::*;
use super::world::each;

#[test]
fn retry_runs_exactly_the_parts_that_did_not_succeed() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let job = double_part { count: 300, failing: vec![7, 8, 250], run: run.clone() };
        let job = world.ork.submit(job).await.unwrap();
        assert_eq!(job.wait().await.unwrap().status().state, JobState::Failed);
        world.ork.retry(job.id()).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Failed);
        for number in 0..300 {
            let expected = if [7, 8, 250].contains(&number) { 2 } else { 1 };
            assert_eq!(calls(&format!("{run}.{number}")), expected, "part {number}");
        }
        assert_eq!(calls(&format!("{run}.split")), 1);
        world.end().await;
    });
}

#[test]
fn single_part_can_be_retried() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let job = double_part { count: 20, failing: vec![3, 4], run: run.clone() };
        let job = world.ork.submit(job).await.unwrap();
        job.wait().await.unwrap();
        world.ork.retry_part(job.id(), 4).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Failed);
        let counts = outcome.status().parts;
        assert_eq!((counts.succeeded, counts.failed, counts.settled()), (18, 2, 20));
        for number in 0..20 {
            let expected = if number == 4 { 2 } else { 1 };
            assert_eq!(calls(&format!("{run}.{number}")), expected, "part {number}");
        }
        for (index, reason) in [(0, "it succeeded"), (20, "it does not exist, or has not ended")] {
            let refused = world.ork.retry_part(job.id(), index).await.unwrap_err().to_string();
            assert_eq!(refused, format!("part {index} of job {} cannot be retried: {reason}", job.id()));
        }
        world.ork.retry(job.id()).await.unwrap();
        job.wait().await.unwrap();
        assert_eq!([3, 4].map(|number| calls(&format!("{run}.{number}"))), [2, 3]);
        world.end().await;
    });
}

/// A part that was skipped because others failed can be run, too.
#[test]
fn skipped_part_can_be_retried() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let job = world.ork.submit(strict_part { count: 1_000, run: run.clone() }).await.unwrap();
        Gate::of(&format!("{run}.0")).entered().await;
        world.until(job.id(), |status| status.total == Some(1_000)).await;
        Gate::of(&format!("{run}.0")).open();
        world.until(job.id(), |status| status.parts.skipped > 0).await;
        for _ in 1..1_000 {
            Gate::of(&format!("{run}.1")).open();
        }
        let status = job.wait().await.unwrap().status().clone();
        assert!(status.state == JobState::Failed && status.parts.skipped > 0, "{status:?}");
        let skipped = world.ork.part_outputs(job.id(), 0, 1_000).await.unwrap();
        let skipped = skipped.iter().find(|part| part.how == ork_core::ledger::PartResult::Skipped).unwrap().index;
        let ran = calls(&format!("{run}.ran"));
        Gate::of(&format!("{run}.1")).open();
        world.ork.retry_part(job.id(), skipped).await.unwrap();
        let again = job.wait().await.unwrap().status().clone();
        assert_eq!((again.state, calls(&format!("{run}.ran"))), (JobState::Failed, ran + 1));
        assert_eq!(
            (again.parts.succeeded, again.parts.skipped),
            (status.parts.succeeded + 1, status.parts.skipped - 1)
        );
        world.end().await;
    });
}

#[test]
fn cancelled_job_can_be_retried() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        world.ork.retry(job.id()).await.unwrap();
        Gate::of(&key).entered().await;
        Gate::of(&key).open();
        Gate::of(&key).open();
        assert_eq!(job.wait().await.unwrap().status().state, JobState::Succeeded);
        world.end().await;
    });
}

/// The notice of the failure arrives while the job runs again, and must not stop that run. When it stopped every call
/// of the job, the second run was cancelled, and the job stayed `running` forever.
#[test]
fn notice_of_a_failure_does_not_stop_a_job_that_is_retried_at_once() {
    each(|world| async move {
        for _ in 0..100 {
            let key = ork::JobId::new().to_string();
            let job = world.ork.submit(heals { key: key.clone() }).await.unwrap();
            assert_eq!(job.wait().await.unwrap().status().state, JobState::Failed);
            world.ork.retry(job.id()).await.unwrap();
            assert!(job.result().await.unwrap(), "it was stopped");
            assert_eq!(calls(&key), 2);
        }
        world.end().await;
    });
}

/// The job was submitted by an older program, or by one that does not check its messages.
#[cfg(feature = "sqlite")]
#[test]
fn retry_is_refused_if_the_task_no_longer_takes_the_input() {
    use ork_core::tx::{Actor, NewJob, Submit};
    use ork_ports::store::Store;
    use ork_sqlite::{Sqlite, Synchronous};

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = super::world::World::new("sqlite").await;
        let store = Sqlite::open(&world.folder.path().join("ork.db"), Synchronous::Full).unwrap();
        let id = ork::JobId::new();
        let new =
            NewJob { job: ork_core::job::Job::new(id, "add", ork::Timestamp::default()), input: "{\"a\":1}".into() };
        let by = Actor {
            worker: ork::WorkerId::new("old"),
            now: ork::Timestamp::default(),
            hold: false,
            events: ork_core::event::EventRouting::Off,
        };
        let store: &dyn Store = &store;
        drop(store.apply(Submit::new(new, by)).await.unwrap());
        assert_eq!(world.outcome(id).await.status().state, JobState::Failed);
        let message = world.ork.retry(id).await.unwrap_err().to_string();
        assert!(message.contains("does not match the schema of `add`") && message.contains("`b`"), "{message}");
        assert_eq!(world.ork.status(id).await.unwrap().state, JobState::Failed);
        store.close().await;
        world.end().await;
    });
}

#[test]
fn running_or_succeeded_job_cannot_be_retried() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let running = world.ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let message = world.ork.retry(running.id()).await.unwrap_err().to_string();
        let refused =
            format!("job {} is running and cannot be retried, because it is still in progress: ", running.id());
        assert!(message.starts_with(&refused) && message.contains(": running on "), "{message}");
        Gate::of(&key).open();
        assert_eq!(running.result().await.unwrap(), key);
        let job = world.ork.submit(add { a: 1, b: 1 }).await.unwrap();
        job.result().await.unwrap();
        let message = world.ork.retry(job.id()).await.unwrap_err().to_string();
        assert_eq!(message, format!("job {} is succeeded and cannot be retried", job.id()));
        world.end().await;
    });
}
