//! The outbox: each row is held by one process, split to fit a limit, freed when its holder dies, and never lost.

use std::sync::Arc;
use std::time::Duration;

use ork::{JobId, Policy};
use ork_core::job::{Job, ReplyTo};
use ork_core::message::{Outgoing, WorkKind};
use ork_core::tx::{Actor, Cancel, NewJob, SettleResult, Submit, Submitted};
use ork_ports::store::Take;

use super::world::{START, World, each, ok, part};

fn ids(rows: &[ork_core::tx::HeldRow]) -> Vec<u64> {
    rows.iter().map(|row| row.id).collect()
}

fn tasks(rows: &[ork_core::tx::HeldRow]) -> Vec<String> {
    let task = |message: &Outgoing| match message {
        Outgoing::Work(message) => message.task.clone(),
        Outgoing::Reply(_) => "reply".into(),
        Outgoing::Hook(_) | Outgoing::Hooks { .. } => "hooks".into(),
        Outgoing::Event(_) | Outgoing::PendingEvent { .. } => "event".into(),
    };
    rows.iter().flat_map(|row| row.messages.iter().map(task)).collect()
}

#[test]
fn a_duplicate_submit_adds_no_row() {
    each(|world| async move {
        let job = Job::new(JobId::new(), "one", START);
        world.submit_with(job.clone()).await;
        let new = NewJob { job, input: "{}".into() };
        let again = world.apply(Submit::new(new, world.by())).await;
        assert_eq!(again, Submitted::Exists);
        assert_eq!(world.take(10).await.len(), 1);
    });
}

#[test]
fn rows_taken_by_one_process_are_not_given_to_another() {
    each(|world| async move {
        let other = world.other();
        for _ in 0..10 {
            world.submit("one").await;
        }
        let (mine, theirs) = tokio::join!(world.take(5), other.take(100));
        assert_eq!(mine.len() + theirs.len(), 10);
        assert!(ids(&mine).iter().all(|id| !ids(&theirs).contains(id)));
        assert!(world.take(100).await.is_empty());
        // A process cannot delete rows that another one holds.
        world.store.delete_outbox(ids(&theirs), world.by()).await.unwrap();
        other.store.release_outbox(ids(&theirs), other.by()).await.unwrap();
        assert_eq!(world.take(100).await.len(), theirs.len());
    });
}

#[test]
fn deleted_rows_never_return_and_released_rows_do() {
    each(|world| async move {
        world.submit("one").await;
        world.submit("two").await;
        let taken = world.take(10).await;
        world.store.delete_outbox(vec![taken[0].id], world.by()).await.unwrap();
        world.store.release_outbox(vec![taken[1].id], world.by()).await.unwrap();
        let again = world.take(10).await;
        assert_eq!(tasks(&again), ["two"]);
        assert_eq!(again[0].losses, 0);
    });
}

#[test]
fn rows_of_a_dead_process_are_freed_and_counted_as_lost() {
    each(|world| async move {
        let other = world.other();
        other.beat_at(Duration::ZERO, Vec::new()).await;
        world.submit("one").await;
        assert_eq!(other.take(10).await.len(), 1);
        world.beat_at(Duration::from_secs(9), Vec::new()).await;
        assert!(world.take(10).await.is_empty());
        world.beat_at(Duration::from_secs(11), Vec::new()).await;
        let taken = world.take(10).await;
        assert_eq!(taken[0].losses, 1);
        // The process that was presumed dead continues, and tries to delete rows that it no longer holds.
        other.store.delete_outbox(ids(&taken), other.by()).await.unwrap();
        world.store.release_outbox(ids(&taken), world.by()).await.unwrap();
        assert_eq!(world.take(10).await.len(), 1);
    });
}

#[test]
fn rows_of_a_leaving_process_are_freed_and_not_counted_as_lost() {
    each(|world| async move {
        let other = world.other();
        other.beat_at(Duration::ZERO, Vec::new()).await;
        world.submit("one").await;
        other.take(10).await;
        other.store.leave(other.by()).await.unwrap();
        assert_eq!(world.take(10).await[0].losses, 0);
    });
}

/// Regression: such a row was held forever.
#[test]
fn rows_taken_after_a_process_was_presumed_dead_are_freed_when_it_dies() {
    each(async |world| {
        let other = world.other();
        world.submit("any").await;
        world.beat_at(Duration::ZERO, Vec::new()).await;
        other.beat_at(Duration::from_mins(1), Vec::new()).await;
        // It continues, takes a row, and dies before its next heartbeat.
        assert_eq!(world.take(10).await.len(), 1);
        assert!(other.take(10).await.is_empty());
        other.beat_at(Duration::from_mins(1), Vec::new()).await;
        let taken = other.take(10).await;
        assert_eq!(taken.iter().map(|row| row.losses).collect::<Vec<_>>(), [1]);
    });
}

#[test]
fn a_row_of_parts_is_split_to_fit_without_loss_or_duplicates() {
    each(|world| async move {
        let id = world.with_parts(100, Policy::default(), false).await;
        let mut seen = Vec::new();
        for limit in [1, 7, 30, 1_000] {
            for row in world.take(limit).await {
                assert!(row.messages.len() <= limit);
                for message in row.messages {
                    let Outgoing::Work(message) = message else { panic!("a reply") };
                    if let WorkKind::Part { index, .. } = message.kind {
                        assert_eq!((message.job, &*message.body), (id, index.to_string().as_bytes()));
                        seen.push(index);
                    }
                }
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_lost_row_of_parts_returns_part_by_part() {
    each(|world| async move {
        let other = world.other();
        other.beat_at(Duration::ZERO, Vec::new()).await;
        world.with_parts(3, Policy::default(), false).await;
        other.take(10).await;
        world.beat_at(Duration::from_secs(11), Vec::new()).await;
        // One of the parts may have crashed the process. Delivered alone, it does not affect the other parts.
        let taken = world.take(10).await;
        assert!(taken.iter().all(|row| row.messages.len() == 1 && row.losses == 1), "{taken:?}");
    });
}

#[test]
fn higher_priority_goes_first_and_older_before_newer() {
    each(|world| async move {
        for (task, priority) in [("a", 0), ("b", 5), ("c", 9), ("d", 5)] {
            let mut job = Job::new(JobId::new(), task, START);
            job.priority = priority;
            world.submit_with(job).await;
        }
        assert_eq!(tasks(&world.take(10).await), ["c", "b", "d", "a"]);
    });
}

#[test]
fn only_known_tasks_are_taken() {
    each(|world| async move {
        for task in ["a", "b", "c"] {
            world.submit(task).await;
        }
        let known: Arc<[String]> = Arc::from(["a".to_owned(), "c".to_owned()]);
        let taken = world.store.take_outbox(Take { limit: 10, tasks: Some(known), actor: world.by() }).await.unwrap();
        assert_eq!(tasks(&taken.rows), ["a", "c"]);
        assert_eq!(tasks(&world.take(10).await), ["b"]);
    });
}

/// The number of messages does not show whether the limit was reached. Regression: a worker that relied on it stalled
/// after such a row was released.
#[test]
fn a_page_reports_more_rows_even_if_some_of_its_parts_have_ended() {
    each(|world| async move {
        let id = world.with_parts(20, Policy::default(), false).await;
        let [start] = &world.take(1).await[..] else { panic!("the row that began it") };
        world.store.delete_outbox(vec![start.id], world.by()).await.unwrap();
        let taken = world.take_at(10, Duration::ZERO).await;
        assert!(taken.more && taken.rows.len() == 1, "{taken:?}");
        for index in 0..7 {
            world.start(part(id, index)).await;
            assert!(matches!(world.settle(part(id, index), ok()).await, SettleResult::Applied));
        }
        world.store.release_outbox(vec![taken.rows[0].id], world.by()).await.unwrap();
        let again = world.take_at(20, Duration::ZERO).await;
        let messages: usize = again.rows.iter().map(|row| row.messages.len()).sum();
        assert_eq!((messages, again.more), (13, true));
        assert!(!world.take_at(20, Duration::ZERO).await.more);
    });
}

/// Regression: the memory store examined only as many rows as the limit of messages.
#[test]
fn rows_of_wanted_tasks_are_found_behind_others() {
    each(|world| async move {
        for task in ["a", "a", "a", "b"] {
            world.submit(task).await;
        }
        let known: Arc<[String]> = Arc::from(["b".to_owned()]);
        let taken = world.store.take_outbox(Take { limit: 1, tasks: Some(known), actor: world.by() }).await.unwrap();
        assert_eq!(tasks(&taken.rows), ["b"]);
    });
}

#[test]
fn a_row_held_from_the_start_is_returned_by_submit() {
    each(|world| async move {
        let job = Job::new(JobId::new(), "one", START);
        let by = Actor { hold: true, ..world.by() };
        let submit = Submit::new(NewJob { job, input: "[1]".into() }, by);
        let [row] = world.store.apply(submit).await.unwrap().rows.try_into().unwrap();
        let Outgoing::Work(message) = &row.messages[0] else { panic!("a reply") };
        assert_eq!((&*message.body, message.kind), (&b"[1]"[..], WorkKind::Job));
        assert!(world.take(10).await.is_empty());
    });
}

#[test]
fn a_requested_reply_is_added_to_the_outbox() {
    each(|world| async move {
        let mut job = Job::new(JobId::new(), "one", START);
        job.reply = Some(ReplyTo { queue: "q".into(), correlation: "c".into() });
        let id = world.submit_with(job).await;
        world.take(10).await;
        world.apply(Cancel::new(id, world.by())).await;
        let taken = world.take(10).await;
        let Outgoing::Reply(reply) = &taken[0].messages[0] else { panic!("no reply") };
        assert_eq!((reply.to.queue.as_str(), reply.to.correlation.as_str()), ("q", "c"));
        let body: serde_json::Value = serde_json::from_slice(&reply.body()).unwrap();
        assert_eq!(body, serde_json::json!({ "job": id.to_string(), "state": "cancelled" }));
    });
}

#[test]
fn a_heartbeat_reply_lists_ended_jobs() {
    each(|world: World| async move {
        let (one, two) = (world.submit("one").await, world.submit("two").await);
        world.apply(Cancel::new(two, world.by())).await;
        assert_eq!(world.beat_at(Duration::ZERO, vec![one, two]).await, [two]);
    });
}
