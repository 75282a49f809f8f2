//! Unattended jobs wait for a message that exists nowhere. They are detected, and their message is sent again.
//!
//! The tests cannot be run on earlier code, which had no interface for this.

use std::time::Duration;

use ork::{Failure, FailureKind, JobId, JobState, Policy};
use ork_core::job::Phase;
use ork_core::tx::{
    Actor, Cancel, Claimed, ControlResult, PartAttemptOutcome, PartKey, PartStart, Resend, Retry, StartWorkflow,
};
use ork_core::workflow_run::{RunStep, WorkflowRun};
use ork_ports::store::Heartbeat;

use super::world::{START, World, each, ok, part};

impl World {
    /// Returns the unattended jobs of these tasks, as reported in the reply to a heartbeat of a process that works on
    /// `running`.
    async fn unattended(&self, running: &[JobId], tasks: &[&str]) -> Vec<JobId> {
        let waiting = tasks.iter().map(|task| (*task).to_owned()).collect();
        let beat = Heartbeat {
            ttl: Duration::from_secs(10),
            running: running.to_vec(),
            holding: Vec::new(),
            waiting,
            actor: self.by(),
        };
        self.store.heartbeat(beat).await.unwrap().unattended
    }

    /// Takes all rows of the outbox and deletes them, as if a broker had confirmed them.
    async fn send(&self) -> usize {
        let rows = self.take(1_000).await;
        let sent = rows.iter().map(|row| row.messages.len()).sum();
        self.store.delete_outbox(rows.iter().map(|row| row.id).collect(), self.by()).await.unwrap();
        sent
    }

    async fn resend(&self, job: JobId, attempt: u32) -> bool {
        self.apply(Resend { job, attempt, actor: self.by() }).await
    }
}

#[test]
fn job_is_unattended_while_its_message_is_not_in_the_outbox_and_no_process_works_on_it() {
    each(|world| async move {
        let (one, _another) = (world.submit("one").await, world.submit("another").await);
        assert_eq!(world.unattended(&[], &["one"]).await, [], "its message is in the outbox");
        assert_eq!(world.send().await, 2);
        assert_eq!(world.unattended(&[], &["one"]).await, [one]);
        assert_eq!(world.unattended(&[], &["else"]).await, []);
        assert_eq!(world.unattended(&[], &[]).await, [], "it was not asked for");
        // One process reports that it works on the job; another one queries.
        let other = world.other();
        world.unattended(&[one], &[]).await;
        assert_eq!(other.unattended(&[], &["one"]).await, []);
        world.unattended(&[], &[]).await;
        assert_eq!(other.unattended(&[], &["one"]).await, [one]);
        // A process holds a delivery of the job, but has no free slot for it.
        let (ttl, running, holding) = (Duration::from_secs(10), Vec::new(), vec![one]);
        world
            .store
            .heartbeat(Heartbeat { ttl, running, holding, waiting: Vec::new(), actor: world.by() })
            .await
            .unwrap();
        assert_eq!(other.unattended(&[], &["one"]).await, []);
        // The worker that is recorded in the job lives, although its heartbeat does not list the job.
        assert!(matches!(world.claim(one, Phase::Start, 1).await, Claimed::Granted { .. }));
        assert_eq!(other.unattended(&[], &["one"]).await, []);
        // The worker is known to have ended.
        world.store.leave(world.by()).await.unwrap();
        assert_eq!(other.unattended(&[], &["one"]).await, [one]);
    });
}

#[test]
fn job_with_open_parts_is_unattended_and_ended_job_is_not() {
    each(|world| async move {
        let id = world.with_parts(3, Policy::default(), false).await;
        assert_eq!(world.unattended(&[], &["many"]).await, []);
        world.send().await;
        assert_eq!(world.unattended(&[], &["many"]).await, [id]);
        // The next attempt at a part is due later, so it is in the outbox.
        let failure = Failure::new(FailureKind::Task, "no");
        let again = PartAttemptOutcome::Failed { failure, retry_at: Some(START + Duration::from_mins(1)) };
        world.settle(part(id, 0), again).await;
        assert_eq!(world.unattended(&[], &["many"]).await, []);
        world.settle(PartKey { attempt: 2, ..part(id, 0) }, ok()).await;
        for index in 1..3 {
            world.settle(part(id, index), ok()).await;
        }
        assert_eq!(world.store.job(id).await.unwrap().unwrap().job.state, JobState::Succeeded);
        world.send().await;
        assert_eq!(world.unattended(&[], &["many"]).await, []);
    });
}

/// Regression: the cancel fixed the number of parts of the workflow run, which has none.
#[test]
fn cancelled_and_retried_workflow_run_is_not_unattended_while_it_waits_for_its_steps() {
    each(|world| async move {
        let run = world.submit("one").await;
        assert!(matches!(world.apply(Cancel::new(run, world.by())).await, ControlResult::Done));
        assert!(matches!(world.apply(Retry::new(run, world.by())).await, ControlResult::Done));
        world.send().await;
        assert_eq!(world.unattended(&[], &["one"]).await, [run]);
        let attempt = world.store.job(run).await.unwrap().unwrap().job.attempt;
        assert!(matches!(world.claim(run, Phase::Start, attempt).await, Claimed::Granted { .. }));
        let state = WorkflowRun { workflow: "flow".into(), steps: vec![RunStep::new("task".into(), "two".into())] };
        world.apply(StartWorkflow { job: run, attempt, run: state, actor: world.by() }).await;
        world.send().await;
        let view = world.store.job(run).await.unwrap().unwrap();
        assert_eq!((view.job.state, view.job.tree.open_children), (JobState::Waiting, 1));
        let task = view.job.workflow_run().unwrap().steps[0].job(run);
        assert_eq!(world.unattended(&[], &["one"]).await, []);
        assert_eq!(world.unattended(&[], &["one", "two"]).await, [task]);
    });
}

#[test]
fn resent_message_makes_the_lost_one_stale() {
    each(|world| async move {
        let id = world.submit("one").await;
        world.send().await;
        assert!(world.resend(id, 1).await);
        assert!(!world.resend(id, 1).await, "another process was faster");
        let job = world.store.job(id).await.unwrap().unwrap().job;
        assert_eq!((job.state, job.attempt, job.phase_attempt()), (JobState::Ready, 2, 1));
        assert_eq!(world.send().await, 1);
        assert_eq!(world.claim(id, Phase::Start, 1).await, Claimed::Stale, "it turned up");
        assert!(matches!(world.claim(id, Phase::Start, 2).await, Claimed::Granted { .. }));
        // Its worker died, and its message was lost: this counts as one loss of a call.
        assert!(world.resend(id, 2).await);
        let job = world.store.job(id).await.unwrap().unwrap().job;
        assert_eq!((job.state, job.attempt, job.phase_attempt(), job.losses), (JobState::Ready, 3, 1, 1));
    });
}

#[test]
fn open_parts_are_resent_with_their_current_attempts() {
    each(|world| async move {
        let id = world.with_parts(6, Policy::default(), true).await;
        assert_eq!(world.send().await, 6 + 1);
        world.settle(part(id, 2), ok()).await;
        let failure = Failure::new(FailureKind::Task, "no");
        world.settle(part(id, 4), PartAttemptOutcome::Failed { failure, retry_at: Some(START) }).await;
        assert_eq!(world.send().await, 1);
        let seen = world.store.job(id).await.unwrap().unwrap().job.attempt;
        assert!(world.resend(id, seen).await);
        assert!(!world.resend(id, seen).await, "another process was faster");
        assert_eq!(world.send().await, 5);
        assert_eq!(world.start(part(id, 2)).await, PartStart::Stale);
        assert_eq!(world.start(part(id, 4)).await, PartStart::Stale, "an older attempt");
        let second = PartKey { attempt: 2, ..part(id, 4) };
        assert!(matches!(world.start(second).await, PartStart::Run { .. }));
        for key in [0, 1, 3, 5].map(|index| part(id, index)).into_iter().chain([second]) {
            world.settle(key, ok()).await;
        }
        let job = world.store.job(id).await.unwrap().unwrap().job;
        assert_eq!((job.phase, job.state), (Phase::Join, JobState::Ready));
        // Its join is sent, and the message is lost.
        assert_eq!(world.send().await, 1);
        assert_eq!(world.unattended(&[], &["many"]).await, [id]);
        assert!(world.resend(id, job.attempt).await);
        assert_eq!(world.send().await, 1);
        assert_eq!(world.claim(id, Phase::Join, job.attempt).await, Claimed::Stale);
        assert!(matches!(world.claim(id, Phase::Join, job.attempt + 1).await, Claimed::Granted { .. }));
    });
}

#[test]
fn ended_job_is_not_resent() {
    each(|world| async move {
        let id = world.submit("one").await;
        let by = Actor { now: START, ..world.by() };
        world.apply(Cancel::new(id, by)).await;
        assert!(!world.resend(id, 1).await && !world.resend(JobId::new(), 1).await);
    });
}
