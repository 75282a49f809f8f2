//! Rejected jobs: a job whose message no process can run fails, unless a live process is running it.

use ork::{Failure, FailureKind, JobId, JobState, Policy};
use ork_core::job::{Job, Phase};
use ork_core::tx::{Claimed, JobRejection, NewJob, OutboxKind, RejectJob};

use super::world::{START, World, each};

/// Rejects a message that starts a job.
async fn refuse(world: &World, job: (JobId, &str), attempt: u32, dead: Option<&World>) -> JobRejection {
    let unknown = NewJob { job: Job::new(job.0, job.1, START), input: "null".into() };
    let failure = Failure::new(FailureKind::Input, "nobody knows this");
    let dead = dead.map(|world| world.worker.to_string());
    let refuse = RejectJob { unknown, requested: Some((Phase::Start, attempt)), dead, failure, actor: world.by() };
    world.apply(refuse).await
}

async fn running(world: &World) -> JobId {
    let id = world.submit("one").await;
    assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
    id
}

async fn state(world: &World, id: JobId) -> JobState {
    world.store.job(id).await.unwrap().unwrap().job.state
}

#[test]
fn a_rejection_does_not_change_a_job_that_a_live_process_runs() {
    each(|world| async move {
        let (id, other) = (running(&world).await, world.other());
        let runs = JobRejection::RunningElsewhere(world.worker.to_string());
        assert_eq!(refuse(&other, (id, "one"), 1, None).await, runs);
        // The process that died is not the one that runs the job.
        assert_eq!(refuse(&other, (id, "one"), 1, Some(&other)).await, runs);
        assert_eq!(state(&world, id).await, JobState::Running);
        // A process that can run the job has claimed it.
        assert!(matches!(other.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        assert_eq!(
            refuse(&world, (id, "one"), 1, Some(&world)).await,
            JobRejection::RunningElsewhere(other.worker.to_string())
        );
        assert_eq!(state(&world, id).await, JobState::Running);
    });
}

#[test]
fn a_rejection_fails_a_job_whose_process_died() {
    each(|world| async move {
        let (id, other) = (running(&world).await, world.other());
        // The job waits neither for another attempt nor for another task.
        assert_eq!(refuse(&other, (id, "one"), 2, Some(&world)).await, JobRejection::Ignored);
        assert_eq!(refuse(&other, (id, "two"), 1, Some(&world)).await, JobRejection::Ignored);
        assert_eq!(state(&world, id).await, JobState::Running);
        assert_eq!(refuse(&other, (id, "one"), 1, Some(&world)).await, JobRejection::Failed);
        let job = world.store.job(id).await.unwrap().unwrap().job;
        assert_eq!((job.state, job.failure.unwrap().kind), (JobState::Failed, FailureKind::Input));
        assert_eq!(refuse(&other, (id, "one"), 1, Some(&world)).await, JobRejection::Ignored);
        assert_eq!(world.claim(id, Phase::Start, 1).await, Claimed::Stale);
    });
}

#[test]
fn rejecting_a_split_whose_process_died_leaves_no_open_parts() {
    each(|world| async move {
        let (id, other) = (world.submit("many").await, world.other());
        let epoch = world.opened(id, Policy::default(), true).await;
        world.append(id, epoch, 0, 3).await;
        assert_eq!(refuse(&other, (id, "many"), 1, Some(&world)).await, JobRejection::Failed);
        let view = world.store.job(id).await.unwrap().unwrap();
        assert_eq!((view.job.state, view.counts.skipped), (JobState::Failed, 3));
        // Operations of the dead process have no effect.
        world.seal(id, epoch, 3).await;
        assert_eq!(state(&world, id).await, JobState::Failed);
        let lease = ork_core::tx::Lease { job: id, kind: OutboxKind::Start, attempt: 1, actor: world.by() };
        assert_eq!(world.apply(lease).await, None);
    });
}
