//! Losses count calls: a delivery whose worker died before it claimed the job costs nothing.
//!
//! Before, each death of a process that held the message counted, so that work failed as "lost" that had been called a
//! few times, or never. The tests use an interface that the earlier code did not have, so they cannot be run on it.

use std::time::Duration;

use ork::{Failure, FailureKind, JobId, Policy};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::tx::{Claim, Claimed, NewJob, PartAttemptOutcome, PartStart, Settle, SettleResult, StartParts};

use super::world::{START, World, each, part};

/// Claims a job for a message that was redelivered.
async fn claimed_again(world: &World, id: JobId, attempt: u32) -> Job {
    let unknown = NewJob { job: Job::new(id, "task", START), input: "null".into() };
    let claim = Claim { durable: true, ..Claim::new(unknown, Phase::Start, attempt, world.by()) };
    match world.apply(claim).await {
        Claimed::Granted { job, .. } => *job,
        other => panic!("{other:?}"),
    }
}

async fn started_again(world: &World, job: JobId, index: u64, attempt: u32) -> u32 {
    let part = ork_core::tx::PartKey { attempt, ..part(job, index) };
    match world.apply(StartParts::one(part, true, world.by())).await.parts[0] {
        PartStart::Run { losses } => losses,
        other => panic!("{other:?}"),
    }
}

fn failure() -> Failure {
    Failure::new(FailureKind::Task, "no")
}

#[test]
fn job_held_by_dead_processes_and_never_called_has_no_losses() {
    each(|world| async move {
        let id = world.submit("task").await;
        for death in 1..=5 {
            let other = world.other();
            other.beat_at(Duration::from_secs(20 * death), Vec::new()).await;
            assert_eq!(other.take(10).await.len(), 1);
            world.beat_at(Duration::from_secs(20 * death + 11), Vec::new()).await;
        }
        let taken = world.take(10).await;
        assert_eq!(taken[0].losses, 5, "deliveries");
        assert_eq!(claimed_again(&world, id, 1).await.losses, 0);
    });
}

#[test]
fn each_lost_call_of_a_job_counts_and_the_next_attempt_starts_at_zero() {
    each(|world| async move {
        let id = world.submit("task").await;
        assert_eq!(claimed_again(&world, id, 1).await.losses, 0);
        assert_eq!(claimed_again(&world.other(), id, 1).await.losses, 1);
        assert_eq!(claimed_again(&world, id, 1).await.losses, 2);
        let known = world.store.job(id).await.unwrap().unwrap().job;
        assert_eq!(known.losses, 2, "it is kept");
        let how = AttemptOutcome::Failed { failure: failure(), retry_at: Some(START + Duration::from_secs(1)) };
        let settle = Settle {
            job: id,
            phase: Phase::Start,
            attempt: 1,
            outcome: how,
            output: None,
            permit: None,
            actor: world.by(),
        };
        assert!(matches!(world.apply(settle).await, SettleResult::Applied));
        assert_eq!(claimed_again(&world, id, 2).await.losses, 0);
    });
}

/// Before, a store that failed between a claim and the first write of a split made the same process claim again, and
/// each time counted as a lost call.
#[test]
fn process_that_claims_again_what_it_runs_itself_has_lost_no_call() {
    each(|world| async move {
        let id = world.submit("task").await;
        assert_eq!(claimed_again(&world, id, 1).await.losses, 0);
        assert_eq!(claimed_again(&world, id, 1).await.losses, 0);
        assert_eq!(claimed_again(&world.other(), id, 1).await.losses, 1);
    });
}

#[test]
fn each_lost_call_of_a_part_counts_and_the_next_attempt_starts_at_zero() {
    each(|world| async move {
        let id = world.with_parts(3, Policy::default(), false).await;
        assert_eq!(started_again(&world, id, 1, 1).await, 0);
        assert_eq!(started_again(&world, id, 1, 1).await, 1);
        assert_eq!(started_again(&world, id, 2, 1).await, 0, "its neighbour was not called");
        assert_eq!(started_again(&world, id, 1, 1).await, 2);
        // A call that was interrupted has not died.
        world.settle(part(id, 1), PartAttemptOutcome::Interrupted).await;
        assert_eq!(started_again(&world, id, 1, 1).await, 2);
        let again = PartAttemptOutcome::Failed { failure: failure(), retry_at: Some(START) };
        world.settle(part(id, 1), again).await;
        assert_eq!(started_again(&world, id, 1, 2).await, 0);
    });
}
