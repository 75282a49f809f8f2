//! Diagnostic information about a job: its rows in the outbox, the live processes, and its open parts.

use std::time::Duration;

use ork::{Failure, FailureKind, JobId, Policy};
use ork_core::event::{EventRouting, EventScope};
use ork_core::hook::{Hooks, OnComplete, StoredHooks};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::tx::{Actor, Claimed, PartAttemptOutcome, Settle, SettleResult};
use ork_ports::store::{OPEN, PendingOutbox};

use super::world::{START, World, each, ok, part};

async fn pending(world: &World, id: JobId) -> PendingOutbox {
    world.store.diagnostics(id).await.unwrap().outbox
}

#[test]
fn a_message_is_free_then_held_then_gone() {
    each(|world| async move {
        let (id, other) = (world.submit("one").await, world.submit("other").await);
        assert_eq!(pending(&world, id).await, PendingOutbox { free: 1, ..PendingOutbox::default() });
        let taken = world.take(10).await;
        let boot = world.worker.boot();
        for id in [id, other] {
            assert_eq!(pending(&world, id).await, PendingOutbox { held: vec![(boot, 1)], ..PendingOutbox::default() });
        }
        world.store.delete_outbox(vec![taken[0].id], world.by()).await.unwrap();
        assert_eq!(pending(&world, id).await, PendingOutbox::default());
        assert_eq!(pending(&world, JobId::new()).await, PendingOutbox::default());
    });
}

#[test]
fn messages_of_parts_are_counted_by_holder_and_due_time() {
    each(|world| async move {
        let id = world.with_parts(1_000, Policy::default(), false).await;
        let other = world.other();
        // One process takes 30 of the free messages. Another one takes 20 and dies.
        world.beat_at(Duration::ZERO, Vec::new()).await;
        world.take(30).await;
        other.take(20).await;
        for index in [5, 7] {
            world.start(part(id, index)).await;
            let due = START + Duration::from_secs(60 - index);
            let failure = Failure::new(FailureKind::Task, "no");
            world.settle(part(id, index), PartAttemptOutcome::Failed { failure, retry_at: Some(due) }).await;
        }
        let mut pending_outbox = pending(&world, id).await;
        pending_outbox.held.sort_by_key(|(_, n)| *n);
        let expected = PendingOutbox {
            // One of these is the message of the split, which was never taken.
            free: 951,
            held: vec![(other.worker.boot(), 20), (world.worker.boot(), 30)],
            later: 2,
            next_due: Some(START + Duration::from_secs(53)),
            ..PendingOutbox::default()
        };
        assert_eq!(pending_outbox, expected);
    });
}

/// Regression: over PostgreSQL, hooks and events that were not sent yet counted as messages of the job.
#[test]
fn hooks_and_events_are_no_messages_of_the_job() {
    each(|world| async move {
        let on_complete = vec![OnComplete::new("any", None)];
        let hooks = StoredHooks::new(&Hooks { part: None, on_complete });
        let id = world.submit_with(Job { hooks, ..Job::new(JobId::new(), "one", START) }).await;
        assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        let actor = Actor { events: EventRouting::Outbox(EventScope::Jobs), ..world.by() };
        let (phase, outcome, output) = (Phase::Start, AttemptOutcome::Succeeded, Some("1".into()));
        let settle = Settle { job: id, phase, attempt: 1, outcome, output, permit: None, actor };
        assert_eq!(world.apply(settle).await, SettleResult::Applied);
        // The message of the job itself was never taken.
        assert_eq!(pending(&world, id).await, PendingOutbox { free: 1, hooks: 1, ..PendingOutbox::default() });
    });
}

#[test]
fn losses_and_live_processes_are_reported() {
    each(|world| async move {
        let other = world.other();
        world.beat_at(Duration::ZERO, Vec::new()).await;
        other.beat_at(Duration::from_secs(2), Vec::new()).await;
        let id = world.submit("one").await;
        world.take(10).await;
        let known = world.store.diagnostics(id).await.unwrap().processes;
        assert_eq!(known.len(), 2);
        for (process, (world, secs)) in known.iter().zip([(&world, 10), (&other, 12)]) {
            assert_eq!((&process.worker, process.boot), (&world.worker.to_string(), world.worker.boot()));
            // A heartbeat that had to wait before it was written is valid for longer by that time.
            let waited = process.expires_at - (START + Duration::from_secs(secs));
            assert!(
                process.expires_at >= START + Duration::from_secs(secs) && waited < Duration::from_mins(1),
                "{process:?}"
            );
        }

        other.beat_at(Duration::from_secs(11), Vec::new()).await;
        let situation = world.store.diagnostics(id).await.unwrap();
        assert_eq!(situation.outbox, PendingOutbox { free: 1, losses: 1, ..PendingOutbox::default() });
        assert_eq!(situation.processes.len(), 1);
    });
}

#[test]
fn the_first_open_parts_are_reported_across_shards() {
    each(|world| async move {
        let id = world.with_parts(65_538, Policy::default(), false).await;
        let open = async || world.store.diagnostics(id).await.unwrap().open;
        assert_eq!(open().await, [0, 1, 2, 3, 4]);
        assert_eq!(open().await.len(), OPEN);
        // Settles all parts of the first shard except three, and one part of the second shard.
        let (left, of_second) = ([7, 100, 65_535], 65_536);
        let done: Vec<_> = (0..=of_second).filter(|index| !left.contains(index)).collect();
        for page in done.chunks(4_096) {
            let starts = page.iter().map(|index| world.start(part(id, *index)));
            futures_util::future::join_all(starts).await;
            let settles = page.iter().map(|index| world.settle(part(id, *index), ok()));
            futures_util::future::join_all(settles).await;
        }
        assert_eq!(open().await, [7, 100, 65_535, 65_537]);
        let empty = world.submit("one").await;
        assert!(world.store.diagnostics(empty).await.unwrap().open.is_empty());
    });
}
