//! Jobs that wait for a message that is nowhere: which they are, and that they are sent again.
//!
//! The code before had no such question, and no such answer.

use std::time::Duration;

use ork::job::Phase;
use ork::store::Heartbeat;
use ork::tx::{
    Actor, Cancel, Claimed, ControlResult, PartAttemptOutcome, PartKey, Resend, Retry, StartWorkflow, Started,
};
use ork::workflow_run::{RunStep, WorkflowRun};
use ork::{Failure, FailureKind, JobId, JobState, Policy};

use super::world::{START, World, each, ok, part};

impl World {
    /// Jobs of these tasks that nothing is under way for, as a process is told that works on `running`.
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

    /// Takes what is in the outbox, and forgets it: a broker has confirmed it.
    async fn send(&self) -> usize {
        let owed = self.take(1_000).await;
        let sent = owed.iter().map(|owed| owed.messages.len()).sum();
        self.store.delete_outbox(owed.iter().map(|owed| owed.id).collect(), self.by()).await.unwrap();
        sent
    }

    async fn resend(&self, job: JobId, attempt: u32) -> bool {
        self.store.apply(Resend { job, attempt, actor: self.by() }).await.unwrap().is_some()
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
        // A process says that it works on it; another one is asked.
        let other = world.other();
        world.unattended(&[one], &[]).await;
        assert_eq!(other.unattended(&[], &["one"]).await, []);
        world.unattended(&[], &[]).await;
        assert_eq!(other.unattended(&[], &["one"]).await, [one]);
        // A process holds a message of it, for which it has no slot yet.
        let (ttl, running, holding) = (Duration::from_secs(10), Vec::new(), vec![one]);
        world
            .store
            .heartbeat(Heartbeat { ttl, running, holding, waiting: Vec::new(), actor: world.by() })
            .await
            .unwrap();
        assert_eq!(other.unattended(&[], &["one"]).await, []);
        // Its worker lives, though it has not said that it works on it.
        assert!(matches!(world.claim(one, Phase::Start, 1).await, Claimed::Granted { .. }));
        assert_eq!(other.unattended(&[], &["one"]).await, []);
        // Its worker is known to have ended.
        world.store.leave(world.by()).await.unwrap();
        assert_eq!(other.unattended(&[], &["one"]).await, [one]);
    });
}

#[test]
fn job_of_which_parts_have_not_ended_is_unattended_and_one_that_has_ended_is_not() {
    each(|world| async move {
        let id = world.with_parts(3, Policy::default(), false).await;
        assert_eq!(world.unattended(&[], &["many"]).await, []);
        world.send().await;
        assert_eq!(world.unattended(&[], &["many"]).await, [id]);
        // The next attempt at a part is due later: it is in the outbox.
        let failure = Failure::new(FailureKind::Task, "no");
        let again = PartAttemptOutcome::Failed { failure, again: Some(START + Duration::from_mins(1)) };
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

/// Fails on the code before: the end of the run fixed the number of its parts, of which it has none.
#[test]
fn run_that_was_cancelled_and_retried_is_not_unattended_while_it_waits_for_its_tasks() {
    each(|world| async move {
        let run = world.submit("one").await;
        assert!(matches!(world.store.apply(Cancel::new(run, world.by())).await.unwrap(), ControlResult::Done(_)));
        assert!(matches!(world.store.apply(Retry::new(run, world.by())).await.unwrap(), ControlResult::Done(_)));
        world.send().await;
        assert_eq!(world.unattended(&[], &["one"]).await, [run]);
        let attempt = world.store.job(run).await.unwrap().unwrap().job.attempt;
        assert!(matches!(world.claim(run, Phase::Start, attempt).await, Claimed::Granted { .. }));
        let flow = WorkflowRun { workflow: "flow".into(), steps: vec![RunStep::new("task".into(), "two".into())] };
        world.store.apply(StartWorkflow { job: run, attempt, flow, actor: world.by() }).await.unwrap();
        world.send().await;
        let view = world.store.job(run).await.unwrap().unwrap();
        assert_eq!((view.job.state, view.job.tree.open_children), (JobState::Waiting, 1));
        let task = view.job.workflow_run().unwrap().steps[0].job(run);
        assert_eq!(world.unattended(&[], &["one"]).await, []);
        assert_eq!(world.unattended(&[], &["one", "two"]).await, [task]);
    });
}

#[test]
fn message_that_is_sent_again_fences_off_the_one_that_was_lost() {
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
        // Its worker died, and its message was lost: one call was, too.
        assert!(world.resend(id, 2).await);
        let job = world.store.job(id).await.unwrap().unwrap().job;
        assert_eq!((job.state, job.attempt, job.phase_attempt(), job.losses), (JobState::Ready, 3, 1, 1));
    });
}

#[test]
fn parts_that_have_not_ended_are_sent_again_at_their_attempts() {
    each(|world| async move {
        let id = world.with_parts(6, Policy::default(), true).await;
        assert_eq!(world.send().await, 6 + 1);
        world.settle(part(id, 2), ok()).await;
        let failure = Failure::new(FailureKind::Task, "no");
        world.settle(part(id, 4), PartAttemptOutcome::Failed { failure, again: Some(START) }).await;
        assert_eq!(world.send().await, 1);
        let seen = world.store.job(id).await.unwrap().unwrap().job.attempt;
        assert!(world.resend(id, seen).await);
        assert!(!world.resend(id, seen).await, "another process was faster");
        assert_eq!(world.send().await, 5);
        assert_eq!(world.start(part(id, 2)).await, Started::Stale(Vec::new()));
        assert_eq!(world.start(part(id, 4)).await, Started::Stale(Vec::new()), "an older attempt");
        let second = PartKey { attempt: 2, ..part(id, 4) };
        assert!(matches!(world.start(second).await, Started::Run { .. }));
        for key in [0, 1, 3, 5].map(|index| part(id, index)).into_iter().chain([second]) {
            world.settle(key, ok()).await;
        }
        let job = world.store.job(id).await.unwrap().unwrap().job;
        assert_eq!((job.phase, job.state), (Phase::Join, JobState::Ready));
        // Its join is sent, and lost.
        assert_eq!(world.send().await, 1);
        assert_eq!(world.unattended(&[], &["many"]).await, [id]);
        assert!(world.resend(id, job.attempt).await);
        assert_eq!(world.send().await, 1);
        assert_eq!(world.claim(id, Phase::Join, job.attempt).await, Claimed::Stale);
        assert!(matches!(world.claim(id, Phase::Join, job.attempt + 1).await, Claimed::Granted { .. }));
    });
}

#[test]
fn job_that_has_ended_is_not_sent_again() {
    each(|world| async move {
        let id = world.submit("one").await;
        let by = Actor { now: START, ..world.by() };
        world.store.apply(Cancel::new(id, by)).await.unwrap();
        assert!(!world.resend(id, 1).await && !world.resend(JobId::new(), 1).await);
    });
}
