//! Dynamic splits, through a store: the seal stores the output of the function, and the reply contains it.

use std::sync::Arc;

use ork::{JobId, JobState, Policy};
use ork_core::job::{AttemptOutcome, Job, Phase, ReplyTo};
use ork_core::ledger;
use ork_core::message::{Outgoing, Reply, WorkKind};
use ork_core::tree::CancelMode;
use ork_core::tx::{
    Actor, AppendParts, Cancel, Claim, Claimed, HeldRow, Limit, NewJob, OpenParts, PartKey, PartPage, PartStart,
    Permit, Retry, SealParts, Settle, SettleResult,
};
use ork_ports::store::{Committed, JobView};

use super::world::{START, World, each, failed, ok, part};

/// Submits a job with a reply.
async fn submit_with_reply(world: &World) -> JobId {
    let to = ReplyTo { queue: "q".into(), correlation: "c".into() };
    world.submit_with(Job { reply: Some(to), ..Job::new(JobId::new(), "many", START) }).await
}

async fn seal(world: &World, job: JobId, epoch: u32, n: u64) -> SettleResult {
    let seal = SealParts { job, epoch, n, output: Some("\"returned\"".into()), permit: None, actor: world.by() };
    world.apply(seal).await
}

async fn view(world: &World, id: JobId) -> JobView {
    world.store.job(id).await.unwrap().unwrap()
}

fn output(view: &JobView) -> Option<&[u8]> {
    view.output.as_deref()
}

/// Returns the pending replies.
async fn take_replies(world: &World) -> Vec<Reply> {
    let reply = |message| match message {
        Outgoing::Reply(reply) => Some(reply),
        _ => None,
    };
    world.take(100).await.into_iter().flat_map(|row: HeldRow| row.messages).filter_map(reply).collect()
}

#[test]
fn the_output_of_the_function_is_replied_once_the_last_part_has_ended() {
    each(|world| async move {
        // Sealed before the last part has ended, after it, and without parts.
        for (n, before) in [(2, true), (2, false), (0, true)] {
            let id = submit_with_reply(&world).await;
            let epoch = world.opened(id, Policy::default(), false).await;
            if n > 0 {
                world.append(id, epoch, 0, n).await;
            }
            if before {
                assert!(matches!(seal(&world, id, epoch, n).await, SettleResult::Applied));
                assert_eq!(output(&view(&world, id).await), Some(&b"\"returned\""[..]));
            }
            for index in 0..n {
                world.start(part(id, index)).await;
                world.settle(part(id, index), ok()).await;
            }
            if !before {
                assert_eq!(
                    (view(&world, id).await.job.state, take_replies(&world).await),
                    (JobState::Running, Vec::new())
                );
                assert!(matches!(seal(&world, id, epoch, n).await, SettleResult::Applied));
            }
            let view = view(&world, id).await;
            assert_eq!((view.job.state, output(&view)), (JobState::Succeeded, Some(&b"\"returned\""[..])));
            let replies = take_replies(&world).await;
            assert_eq!(replies.len(), 1);
            assert_eq!(replies[0].output.as_deref(), Some(&b"\"returned\""[..]));
        }
    });
}

#[test]
fn the_output_of_a_join_replaces_that_of_the_function() {
    each(|world| async move {
        let id = submit_with_reply(&world).await;
        let epoch = world.opened(id, Policy::default(), true).await;
        assert!(matches!(seal(&world, id, epoch, 0).await, SettleResult::Applied));
        assert_eq!(view(&world, id).await.output, None);
        assert!(matches!(world.claim(id, Phase::Join, 2).await, Claimed::Granted { .. }));
        let output = Some("\"joined\"".into());
        let how = AttemptOutcome::Succeeded;
        let settle =
            Settle { job: id, phase: Phase::Join, attempt: 2, outcome: how, output, permit: None, actor: world.by() };
        world.apply(settle).await;
        let replies = take_replies(&world).await;
        assert_eq!(replies[0].output.as_deref(), Some(&b"\"joined\""[..]));
    });
}

/// The work of the job itself succeeded. Its output is kept until its parts succeed as well.
#[test]
fn a_job_failed_by_its_parts_keeps_its_output_and_does_not_reply_with_it() {
    each(|world| async move {
        let id = submit_with_reply(&world).await;
        let epoch = world.opened(id, Policy::default(), false).await;
        world.append(id, epoch, 0, 1).await;
        assert!(matches!(seal(&world, id, epoch, 1).await, SettleResult::Applied));
        world.start(part(id, 0)).await;
        world.settle(part(id, 0), failed()).await;
        let first_replies = take_replies(&world).await;
        assert_eq!((first_replies[0].state, &first_replies[0].output), (JobState::Failed, &None));
        world.apply(Retry::new(id, world.by())).await;
        let again = PartKey { epoch: 2, ..part(id, 0) };
        world.start(again).await;
        world.settle(again, ok()).await;
        let replies = take_replies(&world).await;
        assert_eq!((replies[0].state, replies[0].output.as_deref()), (JobState::Succeeded, Some(&b"\"returned\""[..])));
    });
}

#[test]
fn an_older_epoch_and_a_cancelled_job_are_not_sealed() {
    each(|world| async move {
        let id = submit_with_reply(&world).await;
        let first = world.opened(id, Policy::default(), false).await;
        world.append(id, first, 0, 1).await;
        let open = OpenParts { job: id, attempt: 1, policy: Policy::default(), has_join: false, schema: None };
        let second = world.apply(open).await.unwrap();
        assert_eq!(seal(&world, id, first, 1).await, SettleResult::Stale);
        world.apply(Cancel::new(id, world.by())).await;
        assert_eq!(seal(&world, id, second, 0).await, SettleResult::Applied);
        let view = view(&world, id).await;
        assert_eq!((view.job.state, view.output), (JobState::Cancelled, None));
    });
}

/// The current run of the split yields no parts.
#[test]
fn parts_of_an_interrupted_run_are_dropped_if_the_next_run_yields_none() {
    each(|world| async move {
        let id = submit_with_reply(&world).await;
        let epoch = world.opened(id, Policy::default(), false).await;
        world.append(id, epoch, 0, 3).await;
        world.start(part(id, 0)).await;
        world.settle(part(id, 0), ok()).await;
        let settle = |how, output| Settle {
            job: id,
            phase: Phase::Start,
            attempt: 1,
            outcome: how,
            output,
            permit: None,
            actor: world.by(),
        };
        world.apply(settle(AttemptOutcome::Interrupted, None)).await;
        assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        let answer = world.apply(settle(AttemptOutcome::Succeeded, Some("1".into()))).await;
        assert!(matches!(answer, SettleResult::Applied));
        let view = view(&world, id).await;
        assert_eq!((view.job.state, output(&view)), (JobState::Succeeded, Some(&b"1"[..])));
        assert_eq!((view.head.appended, view.head.sealed, view.counts), (0, None, ledger::Counts::default()));
        assert!(world.store.parts(id, 0, 10).await.unwrap().is_empty());
        // They are not run either if a process still has their messages.
        assert_eq!(world.start(part(id, 1)).await, PartStart::Stale);
        let left = world.take(100).await;
        let parts = left.iter().flat_map(|row| &row.messages).filter(
            |message| matches!(message, Outgoing::Work(message) if matches!(message.kind, WorkKind::Part { .. })),
        );
        assert_eq!(parts.count(), 0, "{left:?}");
    });
}

/// The job was cancelled gracefully before it opened its dynamic split.
#[test]
fn a_gracefully_cancelled_job_accepts_no_parts() {
    each(|world| async move {
        let id = submit_with_reply(&world).await;
        assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        let cancel = Cancel { job: id, mode: CancelMode::Graceful, from_ancestor: false, actor: world.by() };
        world.apply(cancel).await;
        let open = OpenParts { job: id, attempt: 1, policy: Policy::default(), has_join: false, schema: None };
        let epoch = world.apply(open).await.unwrap();
        let page = PartPage { job: id, epoch, first: 0, inputs: vec!["1".into()] };
        let append = AppendParts { page, actor: Actor { hold: true, ..world.by() } };
        let Committed { output: appended, rows } = world.store.apply(append).await.unwrap();
        assert_eq!((appended, rows), (ledger::AppendResult::Halted, vec![]));
        assert!(matches!(seal(&world, id, epoch, 0).await, SettleResult::Applied));
        assert_eq!(view(&world, id).await.job.state, JobState::Cancelled);
    });
}

/// The transaction of the seal releases the permit of the call, and wakes a row that waits for it.
#[test]
fn a_seal_releases_its_permit() {
    each(|world| async move {
        let limit = Limit { name: Arc::from("many"), permits: 1 };
        let claim = |id| {
            let unknown = NewJob { job: Job::new(id, "many", START), input: "{}".into() };
            Claim { limit: Some(limit.clone()), ..Claim::new(unknown, Phase::Start, 1, world.by()) }
        };
        let (one, two) = (submit_with_reply(&world).await, submit_with_reply(&world).await);
        let begun = world.apply(claim(one)).await;
        assert!(matches!(begun, Claimed::Granted { .. }), "{begun:?}");
        assert_eq!(world.apply(claim(two)).await, Claimed::Waiting);
        world.take(100).await;
        let open = OpenParts { job: one, attempt: 1, policy: Policy::default(), has_join: false, schema: None };
        let epoch = world.apply(open).await.unwrap();
        let permit = Some(Permit { limit: limit.clone(), since: START });
        let seal = SealParts { job: one, epoch, n: 0, output: None, permit, actor: world.by() };
        assert_eq!(world.apply(seal).await, SettleResult::Applied);
        let begun = world.apply(claim(two)).await;
        assert!(matches!(begun, Claimed::Granted { .. }), "{begun:?}");
    });
}
