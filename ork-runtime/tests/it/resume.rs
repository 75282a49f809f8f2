//! Retrying: exactly what is not ok, then the join.

use ork::JobState;

use super::tasks::*;
use super::world::each;

#[test]
fn retry_runs_exactly_the_parts_that_are_not_ok() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let job = double_part { count: 300, failing: vec![7, 8, 250], run: run.clone() };
        let job = world.ork.submit(job).await.unwrap();
        assert_eq!(job.outcome().await.unwrap().status().state, JobState::Failed);
        world.ork.retry(job.id()).await.unwrap();
        let outcome = job.outcome().await.unwrap();
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
fn a_cancelled_job_can_be_taken_up_again() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        job.cancel().await.unwrap();
        world.ork.retry(job.id()).await.unwrap();
        Gate::of(&key).entered().await;
        Gate::of(&key).open();
        Gate::of(&key).open();
        assert_eq!(job.outcome().await.unwrap().status().state, JobState::Success);
        world.end().await;
    });
}

/// The news of the failure comes while the job runs again: it must not stop what it does not speak of. When it stopped
/// whatever ran of the job, the second run was told to stop, and left its job `running` for ever.
#[test]
fn a_job_that_is_retried_at_once_is_not_stopped_by_the_news_of_its_failure() {
    each(|world| async move {
        for _ in 0..100 {
            let key = ork::JobId::new().to_string();
            let job = world.ork.submit(heals { key: key.clone() }).await.unwrap();
            assert_eq!(job.outcome().await.unwrap().status().state, JobState::Failed);
            world.ork.retry(job.id()).await.unwrap();
            assert!(job.wait().await.unwrap(), "it was told to stop");
            assert_eq!(calls(&key), 2);
        }
        world.end().await;
    });
}

/// A program from before a change has submitted it, or one that does not check what it sends.
#[cfg(feature = "sqlite")]
#[test]
fn a_job_whose_task_does_not_take_its_input_any_more_stays_as_it_is() {
    use ork::accounting::{By, NewJob, Submit};
    use ork::store::Store;
    use ork::store::sqlite::{Sqlite, Synchronous};

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = super::world::World::new("sqlite").await;
        let store = Sqlite::open(&world.folder.path().join("ork.db"), Synchronous::Full).unwrap();
        let id = ork::JobId::new();
        let new = NewJob { job: ork::job::Job::new(id, "add", ork::Timestamp::default()), input: "{\"a\":1}".into() };
        let by = By { worker: ork::WorkerId::new("old"), now: ork::Timestamp::default(), hold: false };
        let store: &dyn Store = &store;
        store.apply(Submit::new(new, by)).await.unwrap();
        assert_eq!(world.outcome(id).await.status().state, JobState::Failed);
        let words = world.ork.retry(id).await.unwrap_err().to_string();
        assert!(words.contains("`add` does not take its input (any more)") && words.contains("`b`"), "{words}");
        assert_eq!(world.ork.status(id).await.unwrap().state, JobState::Failed);
        store.close().await;
        world.end().await;
    });
}

#[test]
fn what_runs_or_succeeded_cannot_be_retried() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let running = world.ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let words = world.ork.retry(running.id()).await.unwrap_err().to_string();
        assert_eq!(words, format!("job {} is running and cannot be retried", running.id()));
        Gate::of(&key).open();
        assert_eq!(running.wait().await.unwrap(), key);
        let job = world.ork.submit(add { a: 1, b: 1 }).await.unwrap();
        job.wait().await.unwrap();
        let words = world.ork.retry(job.id()).await.unwrap_err().to_string();
        assert_eq!(words, format!("job {} is success and cannot be retried", job.id()));
        world.end().await;
    });
}
