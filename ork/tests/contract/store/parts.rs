//! The listing of parts: the state, attempts, failure and progress of each part.

use ork::{Failure, FailureKind, JobId, OnError, PartFilter, PartState, PartStatus, Policy, Tolerate};
use ork_core::progress::Progress;
use ork_core::tx::{Cancel, PartAttemptOutcome, PartKey, Retry};

use super::world::{START, World, each, failed, ok, part};

fn at(percent: f64, info: &str) -> Progress {
    Progress { percent, info: info.into() }
}

fn busy() -> Failure {
    Failure::new(FailureKind::Task, "busy")
}

/// The status of a part without failure and progress.
fn bare(index: u64, state: PartState, attempts: u32) -> PartStatus {
    PartStatus { index, state, attempts, failure: None, progress: None }
}

async fn list(world: &World, job: JobId, filter: PartFilter) -> Vec<PartStatus> {
    world.store.list_parts(job, filter).await.unwrap()
}

async fn only(world: &World, job: JobId, index: u64) -> PartStatus {
    list(world, job, PartFilter { from: index, limit: 1, ..PartFilter::default() }).await.pop().unwrap()
}

/// Fails the first attempt at a part, so that another one is pending.
async fn fails_once(world: &World, part: PartKey) {
    world.start(part).await;
    world.settle(part, PartAttemptOutcome::Failed { failure: busy(), retry_at: Some(START) }).await;
}

#[test]
fn every_yielded_part_is_listed_with_its_status() {
    each(|world| async move {
        let id = world.with_parts(70_000, Policy::default(), false).await;
        world.start(part(id, 1)).await;
        world.settle(part(id, 1), ok()).await;
        world.start(part(id, 2)).await;
        world.settle(part(id, 2), failed()).await;
        fails_once(&world, part(id, 3)).await;
        world.start(part(id, 4)).await;
        world.store.progress(id, Some(4), at(10.0, "reading")).await.unwrap();
        world.store.progress(id, Some(4), at(40.0, "writing")).await.unwrap();
        let second = PartKey { attempt: 2, ..part(id, 65_536) };
        fails_once(&world, part(id, 65_536)).await;
        world.start(second).await;
        world.start(part(id, 69_999)).await;
        world.settle(part(id, 69_999), PartAttemptOutcome::Interrupted).await;

        let retried = PartStatus { failure: Some(busy()), ..bare(3, PartState::Retrying, 1) };
        let runs = PartStatus { progress: Some(at(40.0, "writing")), ..bare(4, PartState::Running, 1) };
        let runs_again = PartStatus { failure: Some(busy()), ..bare(65_536, PartState::Running, 2) };
        let no = Failure::new(FailureKind::Task, "no");
        let expected = [
            bare(0, PartState::Ready, 0),
            bare(1, PartState::Succeeded, 1),
            PartStatus { failure: Some(no), ..bare(2, PartState::Failed, 1) },
            retried,
            runs.clone(),
            bare(5, PartState::Ready, 0),
        ];
        assert_eq!(list(&world, id, PartFilter { limit: 6, ..PartFilter::default() }).await, expected);
        assert_eq!(only(&world, id, 69_999).await, bare(69_999, PartState::Ready, 0), "released: that cost nothing");
        let running = PartFilter { states: vec![PartState::Running], from: 0, limit: 10 };
        assert_eq!(list(&world, id, running.clone()).await, [runs.clone(), runs_again.clone()]);
        assert_eq!(list(&world, id, PartFilter { limit: 1, ..running.clone() }).await, [runs]);
        assert_eq!(list(&world, id, PartFilter { from: 5, ..running.clone() }).await, [runs_again]);
        assert!(list(&world, id, PartFilter { from: 70_000, ..running.clone() }).await.is_empty());
        assert!(list(&world, id, PartFilter { states: vec![PartState::Skipped], ..running.clone() }).await.is_empty());
        assert!(list(&world, JobId::new(), running).await.is_empty());
        // The progress of the job itself is independent.
        assert_eq!(world.store.job(id).await.unwrap().unwrap().progress, None);
    });
}

#[test]
fn progress_of_a_part_belongs_to_its_attempt() {
    each(|world| async move {
        let id = world.with_parts(2, Policy::default(), false).await;
        let first = part(id, 0);
        world.start(first).await;
        world.store.progress(id, Some(0), at(50.0, "first")).await.unwrap();
        world.settle(first, PartAttemptOutcome::Failed { failure: busy(), retry_at: Some(START) }).await;
        assert_eq!(only(&world, id, 0).await.progress, None);
        let second = PartKey { attempt: 2, ..first };
        world.start(second).await;
        assert_eq!(only(&world, id, 0).await.progress, None, "that was another attempt's");
        world.store.progress(id, Some(0), at(75.0, "second")).await.unwrap();
        assert_eq!(only(&world, id, 0).await.progress, Some(at(75.0, "second")));
        world.settle(second, ok()).await;
        assert_eq!(only(&world, id, 0).await, bare(0, PartState::Succeeded, 2));
        // A late report, and reports for a part and a job that do not exist.
        world.store.progress(id, Some(0), at(80.0, "late")).await.unwrap();
        world.store.progress(id, Some(7), at(1.0, "nowhere")).await.unwrap();
        world.store.progress(JobId::new(), Some(0), at(1.0, "nowhere")).await.unwrap();
        assert_eq!(only(&world, id, 0).await, bare(0, PartState::Succeeded, 2));
        assert_eq!(only(&world, id, 1).await, bare(1, PartState::Ready, 0));
    });
}

#[test]
fn skipped_and_cancelled_parts_are_listed_until_their_job_is_retried() {
    each(|world| async move {
        let policy = Policy { on_error: OnError::Stop, tolerate: Tolerate::Count(0) };
        let id = world.with_parts(4, policy, false).await;
        fails_once(&world, part(id, 0)).await;
        let second = PartKey { attempt: 2, ..part(id, 0) };
        world.start(second).await;
        world.start(part(id, 1)).await;
        world.settle(part(id, 1), ok()).await;
        world.settle(second, failed()).await;
        let all = PartFilter { limit: 10, ..PartFilter::default() };
        let no = Some(Failure::new(FailureKind::Task, "no"));
        let success = bare(1, PartState::Succeeded, 1);
        let expected = [
            PartStatus { failure: no, ..bare(0, PartState::Failed, 2) },
            success.clone(),
            bare(2, PartState::Skipped, 0),
            bare(3, PartState::Skipped, 0),
        ];
        assert_eq!(list(&world, id, all.clone()).await, expected);
        world.apply(Retry::new(id, world.by())).await;
        let ready = [0, 2, 3].map(|index| bare(index, PartState::Ready, 0));
        let expected = [ready[0].clone(), success.clone(), ready[1].clone(), ready[2].clone()];
        assert_eq!(list(&world, id, all.clone()).await, expected);
        world.apply(Cancel::new(id, world.by())).await;
        let states: Vec<_> = list(&world, id, all).await.iter().map(|part| part.state).collect();
        let cancelled = PartState::Cancelled;
        assert_eq!(states, [cancelled, PartState::Succeeded, cancelled, cancelled]);
    });
}

#[test]
fn parts_are_listed_while_their_split_still_yields() {
    each(|world| async move {
        let id = world.submit("many").await;
        let all = PartFilter { limit: 10, ..PartFilter::default() };
        assert!(list(&world, id, all.clone()).await.is_empty());
        let epoch = world.opened(id, Policy::default(), false).await;
        for first in [0, 2] {
            world.append(id, epoch, first, 2).await;
            let seen: Vec<_> = list(&world, id, all.clone()).await.iter().map(|part| part.index).collect();
            assert_eq!(seen, (0..first + 2).collect::<Vec<_>>());
        }
    });
}
