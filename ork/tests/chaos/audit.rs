//! Final checks after a round of chaos: nothing is lost, nothing is duplicated, nothing is left over.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use ork::{Clock as _, JobId, JobState, WorkerId};
use ork_core::tx::Actor;
use ork_ports::store::{Heartbeat, Store, Take};
use ork_postgres::Postgres;
use ork_sqlite::{Sqlite, Synchronous};

use super::processes::Place;
use super::proof;
use super::tasks::last;

/// Opens the store at this URL.
async fn open(url: &str) -> std::sync::Arc<dyn Store> {
    match url.split_once(':') {
        Some(("sqlite", path)) => std::sync::Arc::new(Sqlite::open(path.as_ref(), Synchronous::Full).unwrap()),
        Some(("postgres", _)) => std::sync::Arc::new(Postgres::open(url).await.unwrap()),
        other => panic!("no store for the audit: {other:?}"),
    }
}

fn auditor() -> Actor {
    let later = ork_runtime::clock::system::SystemClock.now() + Duration::from_hours(1);
    Actor { worker: WorkerId::new("auditor"), now: later, hold: true, events: ork_core::event::EventRouting::Off }
}

/// Presumes every process dead, so that the rows of killed processes are free.
async fn free(store: &dyn Store) {
    let by = auditor();
    store
        .heartbeat(Heartbeat {
            ttl: Duration::from_secs(1),
            running: Vec::new(),
            holding: Vec::new(),
            waiting: Vec::new(),
            actor: by.clone(),
        })
        .await
        .unwrap();
    store.leave(by).await.unwrap();
}

/// Removes the rows that killed processes held for work which others have done: they stay until a process reads them,
/// and no longer cause any work.
async fn drain(store: &dyn Store) {
    loop {
        let left = store.take_outbox(Take { limit: 1_000, tasks: None, actor: auditor() }).await.unwrap();
        let done = left.rows.iter().all(|row| row.losses > 0 && row.messages.is_empty());
        assert!(done && left.next_due.is_none(), "left in the outbox: {left:?}");
        if left.rows.is_empty() {
            return;
        }
        store.delete_outbox(left.rows.iter().map(|row| row.id).collect(), auditor()).await.unwrap();
    }
}

/// Returns how many messages wait in a queue.
async fn waiting(place: &Place, queue: &str) -> u32 {
    let connection = Connection::connect(&place.broker, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let name = format!("{}.{queue}", place.prefix);
    channel.queue_declare(name.into(), passive, FieldTable::default()).await.unwrap().message_count()
}

/// Checks a job after all workers have ended. Panics if anything is wrong.
pub(crate) async fn audit(place: &Place, id: JobId, parts: u64) {
    let store = open(&place.store).await;
    free(&*store).await;
    // Messages that the killed processes had started to send are sent again, and have no effect.
    let ork = place.builder().build().await.unwrap();
    ork.spawn_worker();
    assert_eq!(ork.submit(last { number: 7 }).result().await.unwrap(), 7);
    ork.shutdown().await;

    let view = store.job(id).await.unwrap().unwrap();
    assert_eq!((view.job.state, &view.job.failure), (JobState::Succeeded, &None));
    assert_eq!(view.output.as_deref(), Some((parts * (parts - 1) / 2).to_string().as_bytes()));
    let counts = view.counts;
    let settled = store.parts(id, 0, usize::MAX).await.unwrap();
    let distinct: std::collections::BTreeSet<_> = settled.iter().map(|part| part.index).collect();
    let n_distinct = u64::try_from(distinct.len()).unwrap();
    let lost = parts - n_distinct;
    let doubled = counts.settled() - n_distinct + u64::try_from(settled.len()).unwrap() - n_distinct;
    println!("{parts} parts: {lost} lost, {doubled} doubled, {counts:?}");
    assert_eq!((lost, doubled, counts.succeeded, counts.running), (0, 0, parts, 0));
    // A join that was enqueued again would be another attempt.
    assert!(view.job.phase_attempt() == 1, "the join was enqueued {} times", view.job.phase_attempt());

    for queue in ["task.storm", "task.last", "dead"] {
        assert_eq!(waiting(place, queue).await, 0, "messages are left in {queue}");
    }
    free(&*store).await;
    drain(&*store).await;
    store.close().await;
    for (what, n) in [("chaos_rounds", 1), ("parts", parts), ("lost", lost), ("doubled", doubled)] {
        proof::note(what, usize::try_from(n).unwrap());
    }
}
