//! Trees of jobs: children of children, ends that wait for each other, graceful cancels, and followers.

use std::time::Duration;

use ork::{CancelMode, Context, Error, JobId, JobState, Result, Status, Timestamp, task};

use super::clock::Manual;
use super::tasks::*;
use super::world::{World, each, why};

/// Submits `width` child jobs, which do the same one level lower; those at the bottom wait at the gate.
#[task]
async fn grow(key: String, levels: u32, width: u32, context: Context) -> Result<u32> {
    called(&format!("{key}.{levels}"));
    if levels == 0 {
        Gate::of(&key).pass().await;
        return Ok(0);
    }
    for _ in 0..width {
        context.submit(grow { key: key.clone(), levels: levels - 1, width }).await?;
    }
    Ok(width)
}

/// A leaf: waits at the gate, then succeeds or fails as its input requests.
#[task]
async fn leaf(key: String, number: u32, fails: bool) -> Result<u32> {
    called(&format!("{key}.{number}"));
    Gate::of(&key).pass().await;
    // It fails only once.
    if fails && calls(&format!("{key}.{number}")) == 1 {
        return Err(Error::permanent(format!("leaf {number} is rotten")));
    }
    Ok(number)
}

/// A leaf with a concurrency limit of one.
#[task(concurrency(1, key = "key"))]
async fn needle(key: String, number: u32) -> u32 {
    called(&format!("{key}.{number}"));
    Gate::of(&key).pass().await;
    number
}

#[task]
async fn stem(key: String, leaves: u32, context: Context) -> Result<u32> {
    for number in 0..leaves {
        context.submit(needle { key: key.clone(), number }).await?;
    }
    Ok(leaves)
}

/// Submits leaves, some of which fail. If its input requests it, fails itself after that, at its first attempt.
#[task(retries = 1, backoff = "1ms")]
async fn branch(key: String, leaves: u32, failing: Vec<u32>, breaks: bool, context: Context) -> Result<String> {
    for number in 0..leaves {
        context.submit(leaf { key: key.clone(), number, fails: failing.contains(&number) }).await?;
    }
    if breaks && context.attempt() == 1 {
        return Err("the branch broke".into());
    }
    Ok(format!("{leaves} leaves"))
}

/// Waits at the gate, then tries to submit a leaf.
#[task]
async fn late(key: String, context: Context) -> Result<()> {
    Gate::of(&key).pass().await;
    let refused = context.submit(leaf { key: key.clone(), number: 1, fails: false }).await.unwrap_err();
    REFUSED.lock().unwrap().push(format!("{key}: {refused}"));
    Ok(())
}

static REFUSED: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

/// Records the order in which jobs run.
#[task]
async fn note(key: String, word: String, context: Context) -> Result<()> {
    if word == "root" {
        context.submit_after(note { key: key.clone(), word: "after".into() }).await?;
        context.submit(note { key: key.clone(), word: "child".into() }).await?;
    } else if word == "child" {
        Gate::of(&key).pass().await;
    }
    NOTES.lock().unwrap().push(format!("{key}: {word}"));
    Ok(())
}

static NOTES: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

fn noted(key: &str) -> Vec<String> {
    let prefix = format!("{key}: ");
    NOTES.lock().unwrap().iter().filter_map(|note| note.strip_prefix(&prefix).map(str::to_owned)).collect()
}

fn key() -> String {
    JobId::new().to_string()
}

/// Lets `n` calls pass the gate, each once it waits there.
async fn let_pass(key: &str, n: u32) {
    for _ in 0..n {
        Gate::of(key).entered().await;
        Gate::of(key).open();
    }
}

async fn children(world: &World, id: JobId) -> Vec<Status> {
    world.ork.tree(id).await.unwrap().into_iter().filter(|(depth, _)| *depth == 1).map(|(_, job)| job).collect()
}

fn in_state(jobs: &[Status], state: JobState) -> usize {
    jobs.iter().filter(|job| job.state == state).count()
}

#[test]
fn root_ends_only_after_its_whole_tree() {
    each(|world| async move {
        let key = key();
        let root = world.ork.submit(grow { key: key.clone(), levels: 2, width: 3 }).await.unwrap();
        let_pass(&key, 8).await;
        let waits = world.until(root.id(), |status| (status.below, status.below_ended) == (12, 10)).await;
        // One leaf is left, and its parent, which only waits for it.
        assert_eq!(waits.state, JobState::Waiting);
        assert!((waits.percent().unwrap() - 1000.0 / 12.0).abs() < 1e-9);
        let why = world.ork.why(root.id()).await.unwrap();
        assert_eq!(why.waits_for, ork::WaitsFor::Children);
        assert!(why.sentence.starts_with("its own work succeeded; waiting for 1 job that it submitted"), "{why}");
        assert!(why.sentence.contains("10 of 12 jobs in its subtree ended"), "{why}");
        let_pass(&key, 1).await;
        assert_eq!(root.result().await.unwrap(), 3);
        let tree = world.ork.tree(root.id()).await.unwrap();
        assert_eq!(
            tree.iter().map(|(depth, _)| depth).collect::<Vec<_>>(),
            [&0, &1, &2, &2, &2, &1, &2, &2, &2, &1, &2, &2, &2]
        );
        for (depth, job) in tree {
            assert_eq!((job.state, job.root), (JobState::Succeeded, root.id()));
            assert_eq!(job.below, [12, 3, 0][depth]);
        }
        world.end().await;
    });
}

#[test]
fn failed_child_fails_its_parent_and_a_retry_runs_only_that_child() {
    each(|world| async move {
        let key = key();
        let submitted = branch { key: key.clone(), leaves: 3, failing: vec![1], breaks: false };
        let root = world.ork.submit(submitted).await.unwrap();
        let_pass(&key, 3).await;
        let outcome = world.outcome(root.id()).await;
        assert_eq!(why(&outcome), "failed jobs below: 1 of the jobs it submitted failed");
        world.ork.retry(root.id()).await.unwrap();
        let status = world.ork.status(root.id()).await.unwrap();
        assert_eq!((status.state, status.below, status.below_ended), (JobState::Waiting, 3, 2));
        let_pass(&key, 1).await;
        // The parent's own work was done before, and is not repeated.
        assert_eq!(root.result().await.unwrap(), "3 leaves");
        assert_eq!([0, 1, 2].map(|number| calls(&format!("{key}.{number}"))), [1, 2, 1]);
        world.end().await;
    });
}

#[test]
fn failed_child_can_be_retried_alone() {
    each(|world| async move {
        let key = key();
        let submitted = branch { key: key.clone(), leaves: 2, failing: vec![0], breaks: false };
        let root = world.ork.submit(submitted).await.unwrap();
        let_pass(&key, 2).await;
        world.outcome(root.id()).await;
        let failed = children(&world, root.id()).await.into_iter().find(|job| job.state == JobState::Failed).unwrap();
        world.ork.retry(failed.id).await.unwrap();
        let_pass(&key, 1).await;
        assert_eq!(root.result().await.unwrap(), "2 leaves");
        world.end().await;
    });
}

/// If each attempt created new jobs, the work of the first attempt's children would be done twice.
#[test]
fn retried_parent_gets_the_same_children() {
    each(|world| async move {
        let key = key();
        let root = branch { key: key.clone(), leaves: 4, failing: Vec::new(), breaks: true };
        let root = world.ork.submit(root).await.unwrap();
        let_pass(&key, 4).await;
        assert_eq!(root.result().await.unwrap(), "4 leaves");
        let status = root.status().await.unwrap();
        assert_eq!((status.attempt, status.below, status.below_ended), (2, 4, 4));
        assert!((0..4).all(|number| calls(&format!("{key}.{number}")) == 1));
        world.end().await;
    });
}

#[test]
fn equal_submissions_are_distinct_jobs() {
    each(|world| async move {
        let key = key();
        let root = world.ork.submit(grow { key: key.clone(), levels: 1, width: 5 }).await.unwrap();
        let_pass(&key, 5).await;
        assert_eq!(root.result().await.unwrap(), 5);
        assert_eq!(root.status().await.unwrap().below, 5);
        world.end().await;
    });
}

#[test]
fn graceful_cancel_of_a_root_finishes_running_children_and_starts_no_others() {
    each(|world| async move {
        let (ork, key) = (&world.ork, key());
        let root = ork.submit(stem { key: key.clone(), leaves: 5 }).await.unwrap();
        Gate::of(&key).entered().await;
        world.until(root.id(), |status| (status.state, status.below) == (JobState::Waiting, 5)).await;
        ork.cancel(root.id(), CancelMode::Graceful).await.unwrap();
        let status = root.status().await.unwrap();
        assert_eq!(
            (status.state, status.cancel_mode, status.below_ended),
            (JobState::Waiting, Some(CancelMode::Graceful), 4)
        );
        let sentence = ork.why(root.id()).await.unwrap().sentence;
        assert!(sentence.contains("it is being cancelled, so no more jobs in its subtree start"), "{sentence}");
        Gate::of(&key).open();
        assert_eq!(root.wait().await.unwrap().status().state, JobState::Cancelled);
        let below: Vec<_> = ork.tree(root.id()).await.unwrap().into_iter().skip(1).map(|(_, job)| job).collect();
        assert_eq!((in_state(&below, JobState::Succeeded), in_state(&below, JobState::Cancelled)), (1, 4));
        assert_eq!((0..5).map(|number| calls(&format!("{key}.{number}"))).sum::<u32>(), 1);
        // A child that was cancelled with its root cannot be retried without it.
        let one = below.iter().find(|job| job.state == JobState::Cancelled).unwrap();
        let refused = ork.retry(one.id).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("its ancestor {} was cancelled", root.id())), "{refused}");
        ork.retry(root.id()).await.unwrap();
        let_pass(&key, 4).await;
        assert_eq!(root.result().await.unwrap(), 5);
        assert!((0..5).all(|number| calls(&format!("{key}.{number}")) == 1));
        world.end().await;
    });
}

/// Fails once its gate is opened, with a retry that is due much later.
#[task(retries = 3)]
async fn bruised(key: String) -> Result<()> {
    called(&key);
    Gate::of(&key).pass().await;
    Err(Error::new("not yet").retry_after(Duration::from_hours(1)))
}

#[task]
async fn twig(key: String, context: Context) -> Result<()> {
    context.submit(bruised { key }).await?;
    Ok(())
}

/// Regression: the child used to keep its next attempt, which could never start, and the root its unique key for as
/// long. At that time, this test waited for an hour.
#[test]
fn gracefully_cancelled_tree_ends_at_once_when_its_running_child_fails_with_retries_left() {
    each(|world| async move {
        let (ork, key) = (&world.ork, key());
        let submit = || ork.submit(twig { key: key.clone() }).unique(key.clone());
        let root = submit().await.unwrap();
        Gate::of(&key).entered().await;
        world.until(root.id(), |status| (status.state, status.below) == (JobState::Waiting, 1)).await;
        ork.cancel(root.id(), CancelMode::Graceful).await.unwrap();
        Gate::of(&key).open();
        assert_eq!(root.wait().await.unwrap().status().state, JobState::Cancelled);
        let below = children(&world, root.id()).await;
        assert_eq!((below[0].state, calls(&key)), (JobState::Failed, 1));
        // The unique key is free.
        let next = submit().await.unwrap();
        ork.cancel(next.id(), CancelMode::Immediate).await.unwrap();
        world.end().await;
    });
}

/// Graceful cancel of a single child: it finishes if it runs, never starts if it does not, and its siblings continue.
#[test]
fn gracefully_cancelled_child_finishes_if_it_runs_and_never_starts_otherwise() {
    each(|world| async move {
        let (ork, key) = (&world.ork, key());
        let root = ork.submit(stem { key: key.clone(), leaves: 3 }).await.unwrap();
        Gate::of(&key).entered().await;
        world.until(root.id(), |status| (status.state, status.below) == (JobState::Waiting, 3)).await;
        let below = children(&world, root.id()).await;
        let (runs, waits): (Vec<_>, Vec<_>) = below.iter().partition(|job| job.started.is_some());
        assert_eq!((runs.len(), waits.len()), (1, 2));
        ork.cancel(waits[0].id, CancelMode::Graceful).await.unwrap();
        ork.cancel(runs[0].id, CancelMode::Graceful).await.unwrap();
        assert_eq!(ork.status(waits[0].id).await.unwrap().state, JobState::Cancelled);
        assert_eq!(root.status().await.unwrap().state, JobState::Waiting, "the others continue");
        Gate::of(&key).open();
        let_pass(&key, 1).await;
        assert_eq!(root.wait().await.unwrap().status().state, JobState::Cancelled);
        assert_eq!(ork.status(waits[1].id).await.unwrap().state, JobState::Succeeded);
        assert_eq!((0..3).map(|number| calls(&format!("{key}.{number}"))).sum::<u32>(), 2);
        // It was finished, and still counts as cancelled, because a cancel was requested.
        assert_eq!(ork.status(runs[0].id).await.unwrap().state, JobState::Cancelled);
        world.end().await;
    });
}

#[test]
fn cancelled_root_stops_running_jobs_below_it() {
    each(|world| async move {
        let keys: Vec<_> = (0..3).map(|_| key()).collect();
        let root = world.ork.submit(nurse { keys: keys.clone() }).await.unwrap();
        for key in &keys {
            Gate::of(key).entered().await;
        }
        world.ork.cancel(root.id(), CancelMode::Immediate).await.unwrap();
        // Each of them sees the cancel.
        for key in &keys {
            Gate::of(key).entered().await;
        }
        assert_eq!(world.outcome(root.id()).await.status().state, JobState::Cancelled);
        let children = children(&world, root.id()).await;
        assert_eq!(in_state(&children, JobState::Cancelled), 3);
        let again = world.ork.cancel(root.id(), CancelMode::Immediate).await.unwrap_err().to_string();
        assert!(again.contains("is cancelled and cannot be cancelled"), "{again}");
        world.end().await;
    });
}

/// Submits jobs that run until they are stopped.
#[task]
async fn nurse(keys: Vec<String>, context: Context) -> Result<()> {
    for key in keys {
        context.submit(cry { key }).await?;
    }
    Ok(())
}

#[task]
async fn cry(key: String, context: Context) {
    Gate::of(&key).entered_by_one();
    context.cancelled().cancelled().await;
    Gate::of(&key).entered_by_one();
}

#[test]
fn nothing_can_be_submitted_below_a_gracefully_cancelled_job() {
    each(|world| async move {
        let key = key();
        let root = world.ork.submit(late { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        world.ork.cancel(root.id(), CancelMode::Graceful).await.unwrap();
        Gate::of(&key).open();
        assert_eq!(root.wait().await.unwrap().status().state, JobState::Cancelled);
        let expected = format!("{key}: job {} was cancelled: child jobs can no longer be submitted", root.id());
        assert!(REFUSED.lock().unwrap().contains(&expected));
        assert_eq!(root.status().await.unwrap().below, 0);
        world.end().await;
    });
}

#[test]
fn follower_starts_once_the_whole_tree_has_ended() {
    each(|world| async move {
        let key = key();
        let root = world.ork.submit(note { key: key.clone(), word: "root".into() }).await.unwrap();
        Gate::of(&key).entered().await;
        let last = note { key: key.clone(), word: "last".into() };
        let last = world.ork.submit(last).after(root.id()).await.unwrap();
        let why = world.ork.why(last.id()).await.unwrap();
        assert_eq!(why.waits_for, ork::WaitsFor::Job);
        assert!(why.sentence.contains(&format!("is waiting for job {}, which it follows, to end", root.id())), "{why}");
        // The child may wait at the gate before the root has recorded that it ran.
        world.until(root.id(), |status| status.state == JobState::Waiting).await;
        assert_eq!(noted(&key), ["root"]);
        Gate::of(&key).open();
        last.wait().await.unwrap();
        let root_ended = root.wait().await.unwrap().status().ended;
        assert!(last.status().await.unwrap().started >= root_ended);
        // After the end of that job, a follower starts at once.
        let more = world.ork.submit(note { key: key.clone(), word: "more".into() }).after(root.id()).await.unwrap();
        more.wait().await.unwrap();
        let after = world
            .ork
            .jobs(ork::Filter { task: Some("note".into()), limit: 100, ..ork::Filter::default() })
            .await
            .unwrap();
        for job in after {
            world.outcome(job.id).await;
        }
        let mut notes = noted(&key);
        notes[2..].sort();
        assert_eq!(notes, ["root", "child", "after", "last", "more"]);
        let missing = JobId::new();
        let unknown =
            world.ork.submit(note { key, word: "never".into() }).after(missing).await.unwrap_err().to_string();
        assert!(unknown.starts_with(&format!("there is no job {missing}")), "{unknown}");
        world.end().await;
    });
}

#[test]
fn follower_can_be_cancelled_before_it_starts() {
    each(|world| async move {
        let key = key();
        let root = world.ork.submit(leaf { key: key.clone(), number: 0, fails: true }).await.unwrap();
        let follows =
            world.ork.submit(leaf { key: key.clone(), number: 7, fails: false }).after(root.id()).await.unwrap();
        let other = world.ork.submit(greet { name: "Ada".into() }).after(root.id()).await.unwrap();
        world.ork.cancel(follows.id(), CancelMode::Immediate).await.unwrap();
        let_pass(&key, 1).await;
        // A follower starts however the job ended.
        assert_eq!(world.outcome(root.id()).await.status().state, JobState::Failed);
        assert_eq!(other.result().await.unwrap(), "hello Ada");
        assert_eq!(
            (world.outcome(follows.id()).await.status().state, calls(&format!("{key}.7"))),
            (JobState::Cancelled, 0)
        );
        world.end().await;
    });
}

/// No job of a tree is removed before all of them have ended.
#[test]
fn tree_is_pruned_once_all_of_it_has_ended() {
    each(|world| async move {
        let clock = Manual::new(Timestamp::from_millis(1_000_000));
        let world = world.with_clock(&clock).await;
        let key = key();
        let root = world.ork.submit(grow { key: key.clone(), levels: 1, width: 2 }).await.unwrap();
        let_pass(&key, 1).await;
        // Watching a job would wait by the manual clock, so its status is polled.
        while world.ork.status(root.id()).await.unwrap().below_ended < 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.ork.prune(Duration::ZERO).await.unwrap(), 0);
        let_pass(&key, 1).await;
        root.result().await.unwrap();
        clock.advance(Duration::from_millis(1));
        assert_eq!(world.ork.prune(Duration::ZERO).await.unwrap(), 3);
        world.end().await;
    });
}
