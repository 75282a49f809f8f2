//! Retention: removes exactly the jobs that ended long ago, with all data about them.

use std::collections::BTreeSet;

use ork::{Failure, FailureKind, JobId, JobState, Policy, Timestamp};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::tx::{Actor, Cancel, ControlResult, NewJob, Retry, Settle, Submit};
use ork_ports::store::{Expired, Prune, Pruned};

use super::world::{START, World, each, failed, ok, on, part};

const fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + 1_000 * secs.cast_signed())
}

/// Cancels a job at a time after the start.
async fn end(world: &World, job: JobId, secs: u64) {
    let by = Actor { now: at(secs), ..world.by() };
    assert!(matches!(world.apply(Cancel::new(job, by)).await, ControlResult::Done));
}

/// Submits a child of another job.
async fn child(world: &World, root: JobId) -> JobId {
    let job = Job { root, parent: Some(root), ..Job::new(JobId::new(), "child", START) };
    world.submit_with(job).await
}

async fn expired(world: &World, secs: u64) -> (BTreeSet<JobId>, Option<Timestamp>) {
    let Expired { jobs, next } = world.store.expired(at(secs), 1_000).await.unwrap();
    (jobs.into_iter().collect(), next)
}

async fn prune(world: &World, jobs: &[JobId], secs: u64, parts: u64) -> Pruned {
    world.store.prune(Prune { jobs: jobs.to_vec(), before: at(secs), parts }).await.unwrap()
}

async fn left(world: &World) -> BTreeSet<JobId> {
    let all = ork::Filter { limit: 1_000, ..ork::Filter::default() };
    world.store.jobs(all).await.unwrap().into_iter().map(|view| view.job.id).collect()
}

#[test]
fn exactly_the_expired_jobs_are_found_and_removed() {
    each(|world| async move {
        let [old, edge, young, open] = [(); 4].map(|()| world.submit("one"));
        let (old, edge, young, open) = (old.await, edge.await, young.await, open.await);
        end(&world, old, 1).await;
        end(&world, edge, 10).await;
        end(&world, young, 20).await;
        assert_eq!(expired(&world, 10).await, ([old].into(), Some(at(10))));
        // Only expired jobs are removed, whatever jobs are requested.
        let all = [old, edge, young, open, JobId::new()];
        assert_eq!(prune(&world, &all, 10, 100).await, Pruned { jobs: 1, parts: 0, done: 5 });
        assert_eq!(left(&world).await, [edge, young, open].into());
        assert_eq!(expired(&world, 10).await, (BTreeSet::new(), Some(at(10))));
        assert_eq!(expired(&world, 100).await, ([edge, young].into(), None));
        assert_eq!(prune(&world, &all, 10, 100).await.jobs, 0);
    });
}

#[test]
fn a_tree_is_kept_until_its_last_job_has_ended() {
    each(|world| async move {
        let root = world.submit("root").await;
        let (first, second) = (child(&world, root).await, child(&world, root).await);
        end(&world, root, 1).await;
        end(&world, first, 2).await;
        assert_eq!(expired(&world, 100).await, (BTreeSet::new(), None));
        end(&world, second, 50).await;
        assert_eq!(expired(&world, 50).await, (BTreeSet::new(), Some(at(50))));
        let Expired { jobs, .. } = world.store.expired(at(51), 1_000).await.unwrap();
        assert_eq!((jobs.len(), jobs.last()), (3, Some(&root)), "the root comes last: {jobs:?}");
        assert_eq!(prune(&world, &jobs, 51, 100).await.jobs, 3);
        assert!(left(&world).await.is_empty());

        // A job below a root that has not ended is kept, too, even if its removal is requested.
        let root = world.submit("root").await;
        let below = child(&world, root).await;
        end(&world, below, 1).await;
        assert_eq!(prune(&world, &[below], 100, 100).await.jobs, 0);
        // The rest of a tree that was removed partially is found again.
        end(&world, root, 2).await;
        assert_eq!(prune(&world, &[root], 100, 100).await.jobs, 1);
        assert_eq!(expired(&world, 100).await.0, [below].into());
        assert_eq!(prune(&world, &[below], 100, 100).await.jobs, 1);
    });
}

#[test]
fn parts_are_removed_page_by_page_without_residue() {
    each(|world| async move {
        let id = world.with_parts(1_000, Policy::default(), false).await;
        end(&world, id, 1).await;
        let keeper = world.submit("one").await;
        let (mut pages, mut parts) = (0, 0);
        loop {
            let pruned = prune(&world, &[id], 10, 300).await;
            (pages, parts) = (pages + 1, parts + pruned.parts);
            assert!(pruned.parts <= 300);
            if pruned.done == 1 {
                assert_eq!(pruned.jobs, 1);
                break;
            }
        }
        // The memory store removes everything at once.
        assert!((pages, parts) == (4, 1_000) || (pages, parts) == (1, 0), "{pages} pages, {parts} parts");
        assert_eq!(left(&world).await, [keeper].into());
        assert!(world.store.parts(id, 0, 10).await.unwrap().is_empty());
        // A process that takes the remaining rows of the job gets no messages, and what it settles has no effect.
        let taken = world.take(10_000).await;
        let messages: Vec<_> = taken.iter().flat_map(|row| &row.messages).collect();
        assert!(taken.len() > 1 && messages.len() == 1, "only the message of the other job: {taken:?}");
        world.store.delete_outbox(taken.iter().map(|row| row.id).collect(), world.by()).await.unwrap();
        assert_eq!(world.settle(part(id, 3), ok()).await, ork_core::tx::SettleResult::Stale);
        assert!(world.take(10).await.is_empty());
    });
}

/// In an `SQLite` file, jobs have row numbers, which are reused.
#[test]
fn outbox_rows_of_a_removed_job_do_not_pass_to_the_next_job() {
    each(|world| async move {
        let id = world.with_parts(10, Policy::default(), false).await;
        end(&world, id, 1).await;
        assert_eq!(prune(&world, &[id], 10, 100).await.jobs, 1);
        let next = world.with_parts(3, Policy::default(), false).await;
        let mut n = 0;
        for row in world.take(100).await {
            for message in row.messages {
                let ork_core::message::Outgoing::Work(message) = message else { panic!("{message:?}") };
                assert_eq!(message.job, next);
                n += 1;
            }
        }
        assert_eq!(n, 4, "its split and its three parts");
    });
}

#[test]
fn a_job_retried_during_its_removal_starts_from_the_beginning() {
    each(|world| async move {
        let id = world.with_parts(100, Policy::default(), false).await;
        world.start(part(id, 3)).await;
        world.settle(part(id, 3), failed()).await;
        end(&world, id, 1).await;
        let pruned = prune(&world, &[id], 10, 30).await;
        if pruned.done == 1 {
            return;
        }
        let retry = Retry::new(id, world.by());
        assert!(matches!(world.apply(retry).await, ControlResult::Done));
        assert_eq!(prune(&world, &[id], 10, 30).await, Pruned { done: 1, ..Pruned::default() }, "it has not ended");
        let job = world.store.job(id).await.unwrap().unwrap().job;
        assert_eq!((job.state, job.phase), (JobState::Ready, Phase::Start));
        // Its split runs again, and no parts of the previous run are left.
        world.claim(id, Phase::Start, job.attempt).await;
        let open = ork_core::tx::OpenParts {
            job: id,
            attempt: job.attempt,
            policy: Policy::default(),
            has_join: false,
            schema: None,
        };
        let epoch = world.apply(open).await.unwrap();
        world.append(id, epoch, 0, 50).await;
        world.seal(id, epoch, 50).await;
        let view = world.store.job(id).await.unwrap().unwrap();
        assert_eq!((view.head.sealed, view.counts.settled()), (Some(50), 0));
    });
}

/// The jobs that a process has cached are dropped when it removes them.
#[test]
fn a_removed_job_is_not_served_from_a_cache() {
    each(|world| async move {
        let id = world.submit("one").await;
        world.claim(id, Phase::Start, 1).await;
        let failure = Failure::new(FailureKind::Task, "no");
        let settle = || Settle {
            job: id,
            phase: Phase::Start,
            attempt: 1,
            outcome: AttemptOutcome::Failed { failure: failure.clone(), retry_at: None },
            output: None,
            permit: None,
            actor: world.by(),
        };
        world.apply(settle()).await;
        assert_eq!(prune(&world, &[id], 10, 10).await.jobs, 1);
        let retry = Retry::new(id, world.by());
        assert_eq!(world.apply(retry).await, ControlResult::NotFound);
        assert_eq!(world.apply(settle()).await, ork_core::tx::SettleResult::Stale);
        // The id can be reused.
        let new = NewJob { job: Job::new(id, "one", START), input: "{}".into() };
        world.apply(Submit::new(new, world.by())).await;
        assert_eq!(world.store.job(id).await.unwrap().unwrap().job.state, JobState::Ready);
    });
}

/// Two processes remove the same jobs at the same time, while a third works on others.
async fn race(worlds: [World; 3]) {
    let [one, two, three] = &worlds;
    let mut ids = Vec::new();
    for n in 0..40 {
        let id = one.with_parts(if n % 4 == 0 { 500 } else { 3 }, Policy::default(), false).await;
        end(one, id, 1).await;
        ids.push(id);
    }
    let alive = three.with_parts(300, Policy::default(), false).await;
    let sweep = async |world: &World| {
        let mut jobs = world.store.expired(at(10), 1_000).await.unwrap().jobs;
        let mut removed = 0;
        while !jobs.is_empty() {
            let pruned = prune(world, &jobs[..jobs.len().min(7)], 10, 100).await;
            removed += pruned.jobs;
            jobs.drain(..pruned.done);
        }
        removed
    };
    let work = async {
        for index in 0..299 {
            three.start(part(alive, index)).await;
            three.settle(part(alive, index), ok()).await;
        }
    };
    let (first, second, ()) = tokio::join!(sweep(one), sweep(two), work);
    // Each process skipped jobs that the other had locked; a last look-up finds those that both have left.
    let rest = sweep(one).await;
    assert_eq!(first + second + rest, 40, "each was removed once");
    assert_eq!(left(one).await, [alive].into());
    three.start(part(alive, 299)).await;
    three.settle(part(alive, 299), ok()).await;
    assert_eq!(three.store.job(alive).await.unwrap().unwrap().job.state, JobState::Succeeded);
    for world in worlds {
        world.store.close().await;
    }
}

#[test]
fn concurrent_removal_of_the_same_jobs_is_safe_over_sqlite() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.db");
        let world = || {
            let store = ork_sqlite::Sqlite::open(&path, ork_sqlite::Synchronous::Full).unwrap();
            World::over(std::sync::Arc::new(store))
        };
        race([world(), world(), world()]).await;
    });
}

#[test]
fn concurrent_removal_of_the_same_jobs_is_safe_over_postgres() {
    on(async {
        let Some(url) = super::postgres::database().await else { return };
        let worlds = [World::postgres(&url).await, World::postgres(&url).await, World::postgres(&url).await];
        race(worlds).await;
    });
}

#[test]
fn other_work_continues_while_a_large_job_is_removed() {
    each(|world| async move {
        let large = world.with_parts(100_000, Policy::default(), false).await;
        end(&world, large, 1).await;
        let between = std::cell::Cell::new(0);
        let remove = async {
            let mut pages = 0;
            while prune(&world, &[large], 10, 10_000).await.done == 0 {
                pages += 1;
            }
            pages
        };
        let others = async {
            for _ in 0..50 {
                let id = world.submit("one").await;
                world.claim(id, Phase::Start, 1).await;
                end(&world, id, 60).await;
                between.set(between.get() + usize::from(world.store.job(large).await.unwrap().is_some()));
            }
        };
        let (pages, ()) = tokio::join!(remove, others);
        // The memory store removes everything at once. Other stores handled other work while the job still existed.
        assert!(pages == 0 || (pages == 10 && between.get() > 0), "{pages} pages, {} jobs between", between.get());
        assert_eq!(left(&world).await.len(), 50);
    });
}
