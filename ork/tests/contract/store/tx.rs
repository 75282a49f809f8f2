//! Transactions, through a store: the ledger, epochs, attempts, and rows of the outbox that are created exactly once.

use std::time::Duration;

use ork::{JobId, JobState, OnError, Policy, Tolerate};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::ledger::AppendResult;
use ork_core::message::{Outgoing, WorkKind};
use ork_core::tx::{
    Cancel, Claim, Claimed, ControlResult, NewJob, PartAttemptOutcome, PartKey, PartStart, Retry, Settle, SettleResult,
};

use super::world::{START, World, each, failed, ok, part};

fn kinds_of(rows: &[ork_core::tx::HeldRow]) -> Vec<WorkKind> {
    let kind_of = |message: &Outgoing| match message {
        Outgoing::Work(message) => message.kind,
        other => panic!("no work: {other:?}"),
    };
    rows.iter().flat_map(|row| row.messages.iter().map(kind_of)).collect()
}

async fn state(world: &World, id: JobId) -> JobState {
    world.store.job(id).await.unwrap().unwrap().job.state
}

async fn end(world: &World, id: JobId, phase: Phase, attempt: u32, how: AttemptOutcome) -> SettleResult {
    let settle =
        Settle { job: id, phase, attempt, outcome: how, output: Some("2".into()), permit: None, actor: world.by() };
    world.apply(settle).await
}

#[test]
fn an_ended_job_is_not_claimed_again() {
    each(|world| async move {
        let id = world.submit("one").await;
        assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        // Delivered twice: both deliveries may run, and the first to settle counts.
        assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        assert!(matches!(end(&world, id, Phase::Start, 1, AttemptOutcome::Succeeded).await, SettleResult::Applied));
        assert_eq!(end(&world, id, Phase::Start, 1, AttemptOutcome::Succeeded).await, SettleResult::Stale);
        assert_eq!(world.claim(id, Phase::Start, 1).await, Claimed::Stale);
        assert_eq!(state(&world, id).await, JobState::Succeeded);
    });
}

#[test]
fn an_unknown_job_is_created_when_it_is_claimed() {
    each(|world| async move {
        let id = JobId::new();
        assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        assert_eq!(state(&world, id).await, JobState::Running);
        assert_eq!(world.claim(JobId::new(), Phase::Join, 1).await, Claimed::NotFound);
        assert_eq!(world.claim(JobId::new(), Phase::Start, 2).await, Claimed::NotFound);
    });
}

#[test]
fn an_older_attempt_changes_nothing() {
    each(|world| async move {
        let id = world.submit("one").await;
        world.claim(id, Phase::Start, 1).await;
        let failure = ork::Failure::new(ork::FailureKind::Task, "no");
        let how = AttemptOutcome::Failed { failure, retry_at: Some(START + Duration::from_secs(5)) };
        assert_eq!(end(&world, id, Phase::Start, 1, how).await, SettleResult::Applied);
        assert_eq!(state(&world, id).await, JobState::Retrying);
        assert_eq!(world.claim(id, Phase::Start, 1).await, Claimed::Stale);
        assert_eq!(end(&world, id, Phase::Start, 1, AttemptOutcome::Succeeded).await, SettleResult::Stale);
        assert!(matches!(world.claim(id, Phase::Start, 2).await, Claimed::Granted { .. }));
        assert!(matches!(end(&world, id, Phase::Start, 2, AttemptOutcome::Succeeded).await, SettleResult::Applied));
    });
}

#[test]
fn the_last_part_enqueues_the_join_exactly_once() {
    each(|world| async move {
        let id = world.with_parts(3, Policy::default(), true).await;
        assert_eq!(world.take(100).await.len(), 2, "the job's start and the run of its parts");
        for index in [2, 0, 0, 2] {
            world.start(part(id, index)).await;
            world.settle(part(id, index), ok()).await;
        }
        assert_eq!(state(&world, id).await, JobState::Waiting);
        assert!(world.take(100).await.is_empty());
        world.start(part(id, 1)).await;
        assert!(matches!(world.settle(part(id, 1), failed()).await, SettleResult::Applied));
        assert_eq!(world.settle(part(id, 1), ok()).await, SettleResult::Stale);
        assert_eq!(kinds_of(&world.take(100).await), [WorkKind::Join]);
        assert!(world.take(100).await.is_empty());
        let counts = world.store.job(id).await.unwrap().unwrap().counts;
        assert_eq!((counts.succeeded, counts.failed, counts.running), (2, 1, 0));
    });
}

#[test]
fn a_split_without_parts_completes_at_once() {
    each(|world| async move {
        let joined = world.with_parts(0, Policy::default(), true).await;
        let plain = world.with_parts(0, Policy::default(), false).await;
        assert_eq!((state(&world, joined).await, state(&world, plain).await), (JobState::Ready, JobState::Succeeded));
    });
}

#[test]
fn only_a_sealed_job_completes() {
    each(|world| async move {
        let id = world.submit("many").await;
        let epoch = world.opened(id, Policy::default(), false).await;
        world.append(id, epoch, 0, 2).await;
        for index in 0..2 {
            world.start(part(id, index)).await;
            world.settle(part(id, index), ok()).await;
        }
        assert_eq!(state(&world, id).await, JobState::Running);
        assert!(!world.seal(id, epoch, 3).await, "a seal names the number that was appended");
        assert!(world.seal(id, epoch, 2).await);
        assert!(world.seal(id, epoch, 2).await);
        assert_eq!(state(&world, id).await, JobState::Succeeded);
    });
}

/// A worker loses its connection, another one runs the split again, and then the first one is interrupted. Regression:
/// the job became ready again, and a third process could run it in parallel with the second.
#[test]
fn interrupted_attempt_that_was_superseded_is_stale() {
    each(|world| async move {
        let (id, other) = (world.submit("many").await, world.other());
        world.opened(id, Policy::default(), false).await;
        let epoch = other.opened(id, Policy::default(), false).await;
        assert_eq!(end(&world, id, Phase::Start, 1, AttemptOutcome::Interrupted).await, SettleResult::Stale);
        assert_eq!(state(&world, id).await, JobState::Running);
        other.append(id, epoch, 0, 1).await;
        assert!(other.seal(id, epoch, 1).await);
        assert_eq!(state(&world, id).await, JobState::Waiting);
        let key = PartKey { epoch, ..part(id, 0) };
        other.start(key).await;
        other.settle(key, ok()).await;
        assert_eq!(state(&world, id).await, JobState::Succeeded);
    });
}

#[test]
fn a_repeated_page_is_added_once_and_a_gap_is_rejected() {
    each(|world| async move {
        let id = world.submit("many").await;
        let epoch = world.opened(id, Policy::default(), false).await;
        assert_eq!(world.append(id, epoch, 0, 10).await, AppendResult::Added);
        assert_eq!(world.append(id, epoch, 0, 10).await, AppendResult::Already);
        assert_eq!(world.append(id, epoch, 20, 10).await, AppendResult::Stale);
        assert_eq!(world.append(id, epoch, 10, 1).await, AppendResult::Added);
        assert_eq!(world.store.job(id).await.unwrap().unwrap().head.appended, 11);
    });
}

#[test]
fn operations_of_an_older_epoch_are_ignored() {
    each(|world| async move {
        let id = world.submit("many").await;
        let first = world.opened(id, Policy::default(), false).await;
        world.append(id, first, 0, 5).await;
        world.start(part(id, 0)).await;
        world.settle(part(id, 0), ok()).await;
        let second = world.opened(id, Policy::default(), false).await;
        assert_eq!(second, first + 1);
        assert_eq!(world.append(id, first, 5, 5).await, AppendResult::Stale);
        assert_eq!(world.start(part(id, 1)).await, PartStart::Stale);
        assert_eq!(world.settle(part(id, 1), ok()).await, SettleResult::Stale);
        assert!(!world.seal(id, first, 5).await);
        let view = world.store.job(id).await.unwrap().unwrap();
        assert_eq!((view.head.appended, view.counts.settled()), (0, 0));
        assert!(world.store.parts(id, 0, 10).await.unwrap().is_empty());
    });
}

#[test]
fn a_part_that_does_not_exist_is_not_run() {
    each(|world| async move {
        let id = world.with_parts(10, Policy::default(), false).await;
        assert_eq!(world.start(part(id, 10)).await, PartStart::NotFound { parts: Some(10) });
        assert_eq!(world.start(PartKey { epoch: 2, ..part(id, 0) }).await, PartStart::NotFound { parts: Some(10) });
        assert_eq!(world.start(part(JobId::new(), 0)).await, PartStart::NotFound { parts: None });
        assert_eq!(world.settle(part(id, 10), ok()).await, SettleResult::Stale);
        assert_eq!(world.store.job(id).await.unwrap().unwrap().counts, ork::Counts::default());
    });
}

#[test]
fn the_old_attempt_of_a_retried_part_is_stale_and_the_new_one_arrives_when_due() {
    each(|world| async move {
        let id = world.with_parts(1, Policy::default(), false).await;
        world.take(10).await;
        world.start(part(id, 0)).await;
        let failure = ork::Failure::new(ork::FailureKind::Task, "no");
        let due = START + Duration::from_secs(3);
        let how = PartAttemptOutcome::Failed { failure, retry_at: Some(due) };
        assert_eq!(world.settle(part(id, 0), how).await, SettleResult::Applied);
        assert_eq!(world.start(part(id, 0)).await, PartStart::Stale);
        assert_eq!(world.settle(part(id, 0), ok()).await, SettleResult::Stale);
        let early = world.take_at(10, Duration::from_secs(2)).await;
        assert_eq!((early.rows.len(), early.next_due), (0, Some(due)));
        let taken = world.take_at(10, Duration::from_secs(3)).await.rows;
        let Outgoing::Work(message) = &taken[0].messages[0] else { panic!("no work") };
        assert_eq!((message.attempt, &*message.body), (2, &b"0"[..]));
        let again = PartKey { attempt: 2, ..part(id, 0) };
        assert!(matches!(world.start(again).await, PartStart::Run { .. }));
        assert!(matches!(world.settle(again, ok()).await, SettleResult::Applied));
        assert_eq!(state(&world, id).await, JobState::Succeeded);
    });
}

#[test]
fn stop_skips_parts_that_have_not_started_and_waits_for_running_ones() {
    each(|world| async move {
        let policy = Policy { on_error: OnError::Stop, tolerate: Tolerate::Count(0) };
        let id = world.with_parts(10, policy, false).await;
        world.start(part(id, 0)).await;
        world.start(part(id, 1)).await;
        world.settle(part(id, 0), failed()).await;
        assert_eq!(state(&world, id).await, JobState::Waiting);
        assert_eq!(world.start(part(id, 5)).await, PartStart::Stale);
        world.settle(part(id, 1), ok()).await;
        let view = world.store.job(id).await.unwrap().unwrap();
        assert_eq!(view.job.state, JobState::Failed);
        assert_eq!((view.counts.succeeded, view.counts.failed, view.counts.skipped), (1, 1, 8));
    });
}

#[test]
fn a_redelivered_part_of_a_stopped_job_is_skipped() {
    each(|world| async move {
        let policy = Policy { on_error: OnError::Stop, tolerate: Tolerate::Count(0) };
        let id = world.with_parts(2, policy, false).await;
        world.start(part(id, 0)).await;
        world.start(part(id, 1)).await;
        world.settle(part(id, 0), failed()).await;
        assert_eq!(world.start(part(id, 1)).await, PartStart::Stale);
        assert_eq!(state(&world, id).await, JobState::Failed);
    });
}

#[test]
fn cancelling_settles_all_parts_at_once() {
    each(|world| async move {
        let id = world.with_parts(70_000, Policy::default(), true).await;
        world.start(part(id, 69_999)).await;
        let cancel = Cancel::new(id, world.by());
        assert_eq!(world.apply(cancel.clone()).await, ControlResult::Done);
        assert_eq!(world.apply(cancel).await, ControlResult::InvalidState(JobState::Cancelled));
        assert_eq!(world.settle(part(id, 69_999), ok()).await, SettleResult::Stale);
        let view = world.store.job(id).await.unwrap().unwrap();
        assert_eq!((view.counts.cancelled, view.counts.running), (70_000, 0));
        let unknown = Cancel::new(JobId::new(), world.by());
        assert_eq!(world.apply(unknown).await, ControlResult::NotFound);
    });
}

#[test]
fn retrying_enqueues_exactly_the_failed_parts() {
    each(|world| async move {
        let id = world.with_parts(6, Policy::default(), false).await;
        world.take(100).await;
        for index in 0..6 {
            world.start(part(id, index)).await;
            world.settle(part(id, index), if [1, 2, 5].contains(&index) { failed() } else { ok() }).await;
        }
        assert_eq!(state(&world, id).await, JobState::Failed);
        assert!(matches!(world.apply(Retry::new(id, world.by())).await, ControlResult::Done));
        assert_eq!(state(&world, id).await, JobState::Waiting);
        let again = |index| WorkKind::Part { epoch: 2, index };
        assert_eq!(kinds_of(&world.take(100).await), [again(1), again(2), again(5)]);
        for index in [1, 2, 5] {
            assert_eq!(world.settle(part(id, index), ok()).await, SettleResult::Stale, "of the epoch before");
            let part = PartKey { epoch: 2, ..part(id, index) };
            world.start(part).await;
            world.settle(part, ok()).await;
        }
        let view = world.store.job(id).await.unwrap().unwrap();
        assert_eq!((view.job.state, view.counts.succeeded), (JobState::Succeeded, 6));
    });
}

#[test]
fn an_interrupted_attempt_costs_nothing() {
    each(|world| async move {
        let id = world.with_parts(1, Policy::default(), false).await;
        world.start(part(id, 0)).await;
        world.settle(part(id, 0), PartAttemptOutcome::Interrupted).await;
        assert_eq!(world.store.job(id).await.unwrap().unwrap().counts.running, 0);
        assert!(matches!(world.start(part(id, 0)).await, PartStart::Run { .. }));
        let one = world.submit("one").await;
        world.claim(one, Phase::Start, 1).await;
        end(&world, one, Phase::Start, 1, AttemptOutcome::Interrupted).await;
        assert_eq!(state(&world, one).await, JobState::Ready);
        assert!(matches!(world.claim(one, Phase::Start, 1).await, Claimed::Granted { .. }));
    });
}

#[test]
fn concurrent_duplicate_settlements_count_once() {
    each(|world| async move {
        let id = world.with_parts(2_000, Policy::default(), true).await;
        world.take(10_000).await;
        let settle = |index: u64| {
            let world = &world;
            async move {
                world.start(part(id, index)).await;
                let first = world.settle(part(id, index), ok()).await;
                let second = world.settle(part(id, index), failed()).await;
                (first, second)
            }
        };
        // A stride that is coprime to the count visits every index once, far from its neighbors.
        let answers = futures_util::future::join_all((0..2_000_u64).map(|n| settle(n * 1_013 % 2_000))).await;
        assert!(answers.iter().all(|(first, second)| *first != SettleResult::Stale && *second == SettleResult::Stale));
        assert_eq!(kinds_of(&world.take(10_000).await), [WorkKind::Join]);
        assert_eq!(world.store.job(id).await.unwrap().unwrap().counts.succeeded, 2_000);
    });
}

/// A store may lose a claim that it acknowledged before it was committed. Its worker does not know this, and settles.
/// Regression: the settlement was stale, the message was acknowledged, and the job waited forever. Found by the model
/// checker.
#[test]
fn a_settlement_counts_although_its_claim_was_lost() {
    each(|world| async move {
        let id = world.submit("one").await;
        assert!(matches!(end(&world, id, Phase::Start, 1, AttemptOutcome::Succeeded).await, SettleResult::Applied));
        assert_eq!(state(&world, id).await, JobState::Succeeded);
        let id = world.submit("many").await;
        let open =
            ork_core::tx::OpenParts { job: id, attempt: 1, policy: Policy::default(), has_join: false, schema: None };
        assert_eq!(world.apply(open).await, Some(1));
        assert!(world.seal(id, 1, 0).await);
        assert_eq!(state(&world, id).await, JobState::Succeeded);
    });
}

/// Regression: a split from before a cancel still ran when the job was retried. Its seal ended the wait of the new run,
/// and the join ran over cancelled parts. Found by the model checker.
#[test]
fn a_retry_makes_the_previous_run_of_the_split_stale() {
    each(|world| async move {
        let id = world.submit("many").await;
        let epoch = world.opened(id, Policy::default(), true).await;
        world.append(id, epoch, 0, 2).await;
        world.start(part(id, 0)).await;
        let steer = |retry: bool| {
            let (by, store) = (world.by(), std::sync::Arc::clone(&world.store));
            async move {
                if retry {
                    store.apply(Retry::new(id, by)).await.unwrap()
                } else {
                    store.apply(Cancel::new(id, by)).await.unwrap()
                }
            }
        };
        assert!(matches!(steer(false).await.output, ControlResult::Done));
        assert!(matches!(steer(true).await.output, ControlResult::Done));
        assert!(matches!(world.claim(id, Phase::Start, 2).await, Claimed::Granted { .. }));
        assert_eq!(world.append(id, epoch, 2, 1).await, AppendResult::Stale);
        assert!(!world.seal(id, epoch, 2).await);
        assert_eq!(state(&world, id).await, JobState::Running);
    });
}

/// Regression: a late message of an older attempt took a part of a stopped job away from the worker that ran it. Found
/// by the model checker.
#[test]
fn an_older_attempt_does_not_skip_a_part_that_runs() {
    each(|world| async move {
        let policy = Policy { on_error: OnError::Stop, tolerate: Tolerate::Count(0) };
        let id = world.with_parts(2, policy, false).await;
        world.start(part(id, 0)).await;
        let failure = ork::Failure::new(ork::FailureKind::Task, "no");
        world.settle(part(id, 0), PartAttemptOutcome::Failed { failure, retry_at: Some(START) }).await;
        let again = PartKey { attempt: 2, ..part(id, 0) };
        assert!(matches!(world.start(again).await, PartStart::Run { .. }));
        world.start(part(id, 1)).await;
        world.settle(part(id, 1), failed()).await;
        assert_eq!(world.start(part(id, 0)).await, PartStart::Stale);
        assert!(matches!(world.settle(again, ok()).await, SettleResult::Applied));
        assert_eq!(state(&world, id).await, JobState::Failed);
    });
}

/// Regression: a process that received the duplicate ran the job in parallel with the process that was already running
/// it.
#[test]
fn a_duplicate_does_not_take_a_job_from_the_process_that_runs_it() {
    each(|world| async move {
        let (id, other) = (world.submit("one").await, world.other());
        let claim = |by, may_be_copy| {
            let unknown = NewJob { job: Job::new(id, "one", START), input: "{}".into() };
            let phase = Phase::Start;
            let claim = Claim { may_be_duplicate: may_be_copy, ..Claim::new(unknown, phase, 1, by) };
            async { world.apply(claim).await }
        };
        // A job that no process runs is claimed, also twice by the same process.
        for _ in 0..2 {
            assert!(matches!(claim(world.by(), true).await, Claimed::Granted { .. }));
        }
        assert_eq!(claim(other.by(), true).await, Claimed::RunningElsewhere(world.worker.to_string()));
        let worker = world.store.job(id).await.unwrap().unwrap().job.worker;
        assert_eq!(worker, Some(world.worker.to_string()), "nothing changed");
        // A delivery that the broker has made before shows that the first worker has lost it.
        let Claimed::Granted { job, reclaimed: again, .. } = claim(other.by(), false).await else {
            panic!("it is in the outbox")
        };
        assert!(again && job.worker == Some(other.worker.to_string()));
        // A job that has ended is not waited for.
        world.apply(Cancel::new(id, world.by())).await;
        assert_eq!(claim(world.by(), true).await, Claimed::Stale);
    });
}
