//! Unique keys: of all jobs with one key, only one at a time can be active.

use std::time::Duration;

use ork::{CancelMode, ClientError, Context, JobId, JobState, Result, Timestamp, Unique, task};
use ork_core::clock::Clock as _;

use super::clock::Manual;
use super::tasks::*;
use super::world::each;

/// The pause of a process after it has written a heartbeat.
const REST: Duration = Duration::from_millis(200);

#[task(unique = "the-only-one")]
async fn only(key: String) -> String {
    Gate::of(&key).pass().await;
    key
}

/// Submits a child job that waits at the gate.
#[task]
async fn keeper(key: String, context: Context) -> Result<JobId> {
    context.submit(gated { key }).await
}

/// Submits the same job twice, under one key.
#[task]
async fn twice(key: String, context: Context) -> Result<Vec<JobId>> {
    let unique = format!("twice {key}");
    let one = context.submit_unique(unique.as_str(), gated { key: key.clone() }).await?;
    let two = context.submit_unique(unique, gated { key }).await?;
    Ok(vec![one, two])
}

fn fresh() -> String {
    JobId::new().to_string()
}

#[test]
fn second_job_with_a_key_is_refused_until_the_tree_of_the_first_has_ended() {
    each(|world| async move {
        let (ork, key) = (&world.ork, fresh());
        let first = ork.submit(keeper { key: key.clone() }).unique(key.as_str()).await.unwrap();
        Gate::of(&key).entered().await;
        world.until(first.id(), |status| status.state == JobState::Waiting).await;
        match ork.submit(greet { name: "Ada".into() }).unique(key.as_str()).await.unwrap_err() {
            ClientError::KeyTaken { key: named, by } => assert_eq!((named, by), (key.clone(), first.id())),
            other => panic!("{other}"),
        }
        // Another key is free.
        ork.submit(greet { name: "Ada".into() }).unique(fresh()).result().await.unwrap();
        Gate::of(&key).open();
        first.result().await.unwrap();
        assert_eq!(ork.submit(greet { name: "Ada".into() }).unique(key).result().await.unwrap(), "hello Ada");
        world.end().await;
    });
}

#[test]
fn task_with_a_unique_key_runs_one_job_at_a_time() {
    each(|world| async move {
        let (ork, key) = (&world.ork, fresh());
        let first = ork.submit(only { key: key.clone() }).await.unwrap();
        let refused = ork.submit(only { key: key.clone() }).await.unwrap_err();
        assert!(matches!(&refused, ClientError::KeyTaken { key, by } if key == "the-only-one" && *by == first.id()));
        let many = ork.submit_all((0..2).map(|_| only { key: key.clone() })).await.unwrap_err();
        let expected = "2 jobs cannot be submitted at once with the unique key `the-only-one`";
        assert!(many.to_string().contains(expected), "{many}");
        let one = ork.submit_all([only { key: key.clone() }]).await.unwrap_err();
        assert_eq!(one.to_string(), refused.to_string());
        // A key given at submission replaces the key of the task.
        let other = ork.submit(only { key: key.clone() }).unique(key.as_str()).await.unwrap();
        Gate::of(&key).open();
        Gate::of(&key).open();
        first.result().await.unwrap();
        other.result().await.unwrap();
        Gate::of(&key).open();
        ork.submit(only { key: key.clone() }).result().await.unwrap();
        world.end().await;
    });
}

#[test]
fn or_join_returns_the_job_that_holds_the_key() {
    each(|world| async move {
        let (ork, key) = (&world.ork, fresh());
        let submit = || ork.submit(gated { key: key.clone() }).unique(Unique::new(key.as_str()).or_existing());
        let (first, second) = (submit().await.unwrap(), submit().await.unwrap());
        assert_eq!(first.id(), second.id());
        Gate::of(&key).entered().await;
        let (third, ()) = tokio::join!(submit().result(), async { Gate::of(&key).open() });
        assert_eq!((third.unwrap(), calls(&key)), (key.clone(), 1));
        world.end().await;
    });
}

/// Regression: the age of a key alone used to allow another job to take it, and the old job ran beside the new one.
#[test]
fn key_of_a_job_in_progress_is_kept_however_old_it_is() {
    each(|world| async move {
        let clock = Manual::new(Timestamp::from_millis(1_000_000));
        let world = world.with_clock(&clock).await;
        let (ork, keys) = (&world.ork, [fresh(), fresh()]);
        let works = ork.submit(gated { key: keys[0].clone() }).unique(keys[0].as_str()).await.unwrap();
        // This job has finished its own work, and its child job runs.
        let above = ork.submit(keeper { key: keys[1].clone() }).unique(keys[1].as_str()).await.unwrap();
        for key in &keys {
            Gate::of(key).entered().await;
        }
        clock.wait_for_timer(clock.now() + REST).await;
        clock.advance(Duration::from_hours(1));
        // The next heartbeat has been written.
        clock.wait_for_timer(clock.now() + REST).await;
        for (key, job) in keys.iter().zip([works.id(), above.id()]) {
            let submit = |unique: Unique| ork.submit(greet { name: "Ada".into() }).unique(unique);
            let refused = submit(Unique::new(key.as_str()).stale_after(Duration::ZERO)).await.unwrap_err();
            assert!(matches!(refused, ClientError::KeyTaken { by, .. } if by == job), "{refused}");
            Gate::of(key).open();
            world.outcome(job).await;
            submit(Unique::new(key.as_str())).result().await.unwrap();
            assert_eq!(calls(key), 1);
        }
        world.end().await;
    });
}

#[test]
fn stale_job_is_cancelled_before_its_key_is_taken_over() {
    each(|world| async move {
        let clock = Manual::new(Timestamp::from_millis(1_000_000));
        let world = world.with_clock(&clock).await;
        let (ork, key, late) = (&world.ork, fresh(), fresh());
        let first = ork.submit(gated { key: key.clone() }).await.unwrap();
        let waits = ork.submit(gated { key: late.clone() }).unique(late.as_str()).after(first.id()).await.unwrap();
        Gate::of(&key).entered().await;
        clock.advance(Duration::from_secs(20));
        let again =
            |stale| ork.submit(greet { name: "Ada".into() }).unique(Unique::new(late.as_str()).stale_after(stale));
        let taken = again(Duration::from_secs(21)).await.unwrap_err();
        assert!(matches!(taken, ClientError::KeyTaken { by, .. } if by == waits.id()), "{taken}");
        let second = again(Duration::from_secs(20)).await.unwrap();
        assert_eq!(world.outcome(waits.id()).await.status().state, JobState::Cancelled);
        second.result().await.unwrap();
        Gate::of(&key).open();
        first.result().await.unwrap();
        assert_eq!(calls(&late), 0);
        world.end().await;
    });
}

/// Regression: both used to run at once.
#[test]
fn retried_job_takes_its_key_again_or_is_refused() {
    each(|world| async move {
        let (ork, key) = (&world.ork, fresh());
        let submit = || ork.submit(gated { key: key.clone() }).unique(key.as_str());
        let first = submit().await.unwrap();
        Gate::of(&key).entered().await;
        ork.cancel(first.id(), CancelMode::Immediate).await.unwrap();
        let second = submit().await.unwrap();
        let refused = ork.retry(first.id()).await.unwrap_err();
        assert!(matches!(&refused, ClientError::KeyTaken { key: taken, by } if *taken == key && *by == second.id()));
        ork.cancel(second.id(), CancelMode::Immediate).await.unwrap();
        ork.retry(first.id()).await.unwrap();
        let refused = submit().await.unwrap_err();
        assert!(matches!(refused, ClientError::KeyTaken { by, .. } if by == first.id()), "{refused}");
        for _ in 0..3 {
            Gate::of(&key).open();
        }
        first.result().await.unwrap();
        world.end().await;
    });
}

/// Regression: the first of them used to be submitted, and its handle was lost.
#[test]
fn submit_all_with_a_repeated_key_submits_none_of_the_jobs() {
    each(|world| async move {
        let (ork, key) = (&world.ork, fresh());
        let jobs = || async { ork.jobs(ork::Filter { limit: 100, ..ork::Filter::default() }).await.unwrap().len() };
        let before = jobs().await;
        let refused = ork.submit_all((0..3).map(|_| only { key: key.clone() })).await.unwrap_err();
        assert!(refused.to_string().contains("3 jobs cannot be submitted at once with the unique key"), "{refused}");
        assert_eq!(jobs().await, before);
        // The key is free.
        Gate::of(&key).open();
        let [job]: [_; 1] = ork.submit_all([only { key: key.clone() }]).await.unwrap().try_into().unwrap();
        job.result().await.unwrap();
        assert_eq!(jobs().await, before + 1);
        world.end().await;
    });
}

/// Regression: `or_existing` used to count only after `unique`, and the last `after` replaced the others.
#[test]
fn submission_options_do_not_depend_on_their_order() {
    each(|world| async move {
        let (ork, key) = (&world.ork, fresh());
        let greet = || ork.submit(greet { name: "Ada".into() });
        let first = ork.submit(gated { key: key.clone() }).unique(key.as_str()).await.unwrap();
        Gate::of(&key).entered().await;
        let join = Unique::new(key.as_str()).or_existing();
        let joined = ork.submit(gated { key: key.clone() }).unique(join).await.unwrap();
        assert_eq!(joined.id(), first.id());
        let refused = greet().unique(Unique::of_task().or_existing()).await.unwrap_err().to_string();
        assert!(refused.contains("the task `greet` has no option `unique`: set it, or name the key"), "{refused}");
        let second = ork.submit(gated { key: key.clone() }).await.unwrap();
        let both = greet().after(first.id()).after(second.id()).await.unwrap();
        assert_eq!(ork.why(both.id()).await.unwrap().follows.len(), 2);
        Gate::of(&key).open();
        Gate::of(&key).open();
        first.result().await.unwrap();
        second.result().await.unwrap();
        both.result().await.unwrap();
        world.end().await;
    });
}

#[test]
fn one_of_many_concurrent_submissions_gets_the_key() {
    each(|world| async move {
        let other = world.another().await;
        for _ in 0..20 {
            let key = fresh();
            let submit = |at: usize| {
                let ork = other.as_ref().filter(|_| at % 2 == 1).unwrap_or(&world.ork);
                let submission = ork.submit(gated { key: key.clone() }).unique(key.as_str());
                async move { submission.await }
            };
            let handles = futures_util::future::join_all((0..8).map(submit)).await;
            let (won, lost): (Vec<_>, Vec<_>) = handles.into_iter().partition(Result::is_ok);
            let won: Vec<_> = won.into_iter().map(|handle| handle.unwrap().id()).collect();
            assert_eq!((won.len(), lost.len()), (1, 7));
            for lost in lost {
                assert!(matches!(lost.unwrap_err(), ClientError::KeyTaken { by, .. } if by == won[0]));
            }
            Gate::of(&key).open();
            world.outcome(won[0]).await;
        }
        if let Some(other) = other {
            other.shutdown().await;
        }
        world.end().await;
    });
}

#[test]
fn task_that_submits_a_unique_job_gets_the_job_that_holds_the_key() {
    each(|world| async move {
        let key = fresh();
        let root = world.ork.submit(twice { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        Gate::of(&key).open();
        let ids = root.result().await.unwrap();
        assert_eq!((ids[0], calls(&key), root.status().await.unwrap().below), (ids[1], 1, 1));
        world.end().await;
    });
}

#[test]
fn key_that_no_index_can_hold_is_refused() {
    each(|world| async move {
        for key in [String::new(), "k".repeat(10_000)] {
            let refused = world.ork.submit(greet { name: "Ada".into() }).unique(key.as_str()).await.unwrap_err();
            let expected = format!("a unique key must have 1 to 512 bytes, this one has {}", key.len());
            assert_eq!(refused.to_string(), expected);
        }
        world.end().await;
    });
}
