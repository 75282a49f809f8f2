//! Jobs that follow several others: they start once, after the last of those has ended, however each of them ended.

use ork::{CancelMode, Error, Handle, JobId, JobState, Result, WaitsFor, task};

use super::tasks::*;
use super::world::{World, each};

/// Waits at the gate, then succeeds or fails as its input requests.
#[task]
async fn ends(key: String, fails: bool) -> Result<String> {
    Gate::of(&key).pass().await;
    if fails { Err(Error::permanent("failed on request")) } else { Ok(key) }
}

#[task]
async fn comes_after(key: String) -> u32 {
    called(&key)
}

fn key() -> String {
    JobId::new().to_string()
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Succeeded,
    Failed,
    Cancelled,
}

/// Starts a job that waits at its gate, and that is to end this way.
async fn start_job(world: &World, end: End) -> (Handle<ends>, String) {
    let key = key();
    let job = world.ork.submit(ends { key: key.clone(), fails: end == End::Failed }).await.unwrap();
    Gate::of(&key).entered().await;
    (job, key)
}

async fn end_job(world: &World, job: &Handle<ends>, key: &str, end: End) {
    match end {
        End::Succeeded | End::Failed => Gate::of(key).open(),
        End::Cancelled => world.ork.cancel(job.id(), CancelMode::Immediate).await.unwrap(),
    }
    let state = job.wait().await.unwrap().status().state;
    let expected = match end {
        End::Succeeded => JobState::Succeeded,
        End::Failed => JobState::Failed,
        End::Cancelled => JobState::Cancelled,
    };
    assert_eq!(state, expected);
}

/// Regression: a job with several `after` used to be refused, and before that it waited for the last one only.
#[test]
fn follower_of_several_jobs_starts_once_after_the_last_one_however_each_ended() {
    each(|world| async move {
        let orders = [
            [End::Succeeded, End::Failed, End::Cancelled],
            [End::Cancelled, End::Succeeded, End::Failed],
            [End::Failed, End::Cancelled, End::Succeeded],
        ];
        for order in orders {
            let (mut jobs, after) = (Vec::new(), key());
            let mut submission = world.ork.submit(comes_after { key: after.clone() });
            for end in order {
                let (job, key) = start_job(&world, end).await;
                submission = submission.after(job.id());
                jobs.push((job, key, end));
            }
            let follower = submission.await.unwrap();
            let mut left: Vec<JobId> = jobs.iter().map(|(job, ..)| job.id()).collect();
            for (job, key, end) in &jobs {
                let why = world.ork.why(follower.id()).await.unwrap();
                left.sort_unstable();
                assert_eq!((why.waits_for, &why.follows), (WaitsFor::Job, &left), "{why}");
                let expected = match left.as_slice() {
                    [one] => format!("its message is waiting for job {one}, which it follows, to end"),
                    several => format!("its message is waiting for {} jobs that it follows to end: ", several.len()),
                };
                assert!(why.sentence.contains(&expected), "{why}");
                assert!(left.iter().all(|job| why.sentence.contains(&job.to_string())), "{why}");
                assert_eq!(follower.status().await.unwrap().started, None);
                end_job(&world, job, key, *end).await;
                left.retain(|id| *id != job.id());
            }
            assert_eq!(follower.result().await.unwrap(), 1);
            let started = follower.status().await.unwrap().started;
            for (job, ..) in &jobs {
                assert!(started >= job.status().await.unwrap().ended);
            }
            assert_eq!(calls(&after), 1, "{order:?}");
        }
        world.end().await;
    });
}

#[test]
fn ended_or_repeated_jobs_do_not_delay_a_follower() {
    each(|world| async move {
        let (open, open_key) = start_job(&world, End::Succeeded).await;
        let (ended, ended_key) = start_job(&world, End::Failed).await;
        end_job(&world, &ended, &ended_key, End::Failed).await;
        let follow = || world.ork.submit(comes_after { key: key() });
        let first = follow().after(ended.id()).after(open.id()).after(open.id()).await.unwrap();
        let why = world.ork.why(first.id()).await.unwrap();
        assert_eq!(why.follows, [open.id()], "{why}");
        // The same job again, together with a job that follows it and has its own follower.
        let second = follow().after(open.id()).after(first.id()).await.unwrap();
        // All of them have ended, so it starts at once.
        assert_eq!(follow().after(ended.id()).after(ended.id()).result().await.unwrap(), 1);
        assert_eq!(world.ork.why(second.id()).await.unwrap().follows.len(), 2);
        end_job(&world, &open, &open_key, End::Succeeded).await;
        assert_eq!((first.result().await.unwrap(), second.result().await.unwrap()), (1, 1));
        let started = second.status().await.unwrap().started;
        assert!(started >= first.status().await.unwrap().ended);
        world.end().await;
    });
}

#[test]
fn follower_of_an_unknown_job_is_refused_without_side_effects() {
    each(|world| async move {
        let (open, open_key) = start_job(&world, End::Succeeded).await;
        let (unknown, after) = (JobId::new(), key());
        let follow = || world.ork.submit(comes_after { key: after.clone() }).unique(after.as_str());
        let refused = follow().after(open.id()).after(unknown).await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("there is no job {unknown}")), "{refused}");
        let many = (0..1_001).fold(follow(), |submission, _| submission.after(JobId::new()));
        let refused = many.await.unwrap_err().to_string();
        assert!(refused.contains("a job can follow at most 1000 jobs, not 1001"), "{refused}");
        // Its unique key is free.
        let follower = follow().after(open.id()).await.unwrap();
        end_job(&world, &open, &open_key, End::Succeeded).await;
        assert_eq!(follower.result().await.unwrap(), 1);
        world.end().await;
    });
}

#[test]
fn follower_of_several_jobs_can_be_cancelled_before_it_starts() {
    each(|world| async move {
        let (one, one_key) = start_job(&world, End::Succeeded).await;
        let (two, two_key) = start_job(&world, End::Succeeded).await;
        let (after, other) = (key(), key());
        let follow = |key: &String| world.ork.submit(comes_after { key: key.clone() }).after(one.id()).after(two.id());
        let (follower, other) = (follow(&after).await.unwrap(), follow(&other).await.unwrap());
        end_job(&world, &one, &one_key, End::Succeeded).await;
        world.ork.cancel(follower.id(), CancelMode::Immediate).await.unwrap();
        end_job(&world, &two, &two_key, End::Succeeded).await;
        assert_eq!(other.result().await.unwrap(), 1);
        assert_eq!(follower.wait().await.unwrap().status().state, JobState::Cancelled);
        assert_eq!(calls(&after), 0);
        world.end().await;
    });
}

/// Regression: the retried job used to start at once.
#[test]
fn retried_follower_waits_again_if_it_was_cancelled_while_waiting() {
    each(|world| async move {
        let ((one, one_key), (two, two_key)) =
            (start_job(&world, End::Succeeded).await, start_job(&world, End::Succeeded).await);
        let (single, several) = (key(), key());
        let follow = |key: &String| world.ork.submit(comes_after { key: key.clone() }).after(one.id());
        let jobs = [follow(&single).await.unwrap(), follow(&several).after(two.id()).await.unwrap()];
        for job in &jobs {
            job.cancel(CancelMode::Immediate).await.unwrap();
            assert_eq!(job.wait().await.unwrap().status().state, JobState::Cancelled);
            world.ork.retry(job.id()).await.unwrap();
        }
        for (job, first) in jobs.iter().zip([vec![one.id()], vec![one.id(), two.id()]]) {
            let why = world.ork.why(job.id()).await.unwrap();
            assert_eq!((why.waits_for, why.state), (WaitsFor::Job, JobState::Ready), "{}", why.sentence);
            assert_eq!(why.follows, first);
        }
        end_job(&world, &one, &one_key, End::Succeeded).await;
        jobs[0].wait().await.unwrap();
        assert_eq!((calls(&single), calls(&several)), (1, 0));
        end_job(&world, &two, &two_key, End::Succeeded).await;
        jobs[1].wait().await.unwrap();
        assert_eq!((calls(&single), calls(&several)), (1, 1));
        // It does not wait for jobs that have ended.
        let third = follow(&key()).await.unwrap();
        third.wait().await.unwrap();
        world.end().await;
    });
}
