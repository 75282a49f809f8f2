//! Leases: they replace a delivery as long as its worker lives.

use std::time::Duration;

use ork::{JobId, Policy};
use ork_core::job::Phase;
use ork_core::message::{Outgoing, WorkKind};
use ork_core::tx::{Actor, Claimed, Lease, OutboxKind, PartAttemptOutcome, PartKey};
use ork_ports::store::{Heartbeat, Take};

use super::world::{START, World, each, open};

const TTL: Duration = Duration::from_secs(15);

async fn lease(world: &World, job: JobId, row_kind: OutboxKind, attempt: u32) -> Option<u64> {
    world.apply(Lease { job, kind: row_kind, attempt, actor: world.by() }).await
}

async fn beat(world: &World, after: Duration) {
    let by = Actor { now: START + after, ..world.by() };
    world
        .store
        .heartbeat(Heartbeat { ttl: TTL, running: Vec::new(), holding: Vec::new(), waiting: Vec::new(), actor: by })
        .await
        .unwrap();
}

/// Submits a job that this process runs, and whose message was handed to the broker.
async fn running(world: &World) -> JobId {
    let id = world.submit("long").await;
    let sent: Vec<_> = world.take(10).await.iter().map(|row| row.id).collect();
    world.store.delete_outbox(sent, world.by()).await.unwrap();
    assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
    id
}

#[test]
fn a_lease_is_not_taken_while_its_holder_lives() {
    each(|world| async move {
        let (id, other) = (running(&world).await, world.other());
        beat(&world, Duration::ZERO).await;
        lease(&world, id, OutboxKind::Start, 1).await.unwrap();
        beat(&other, TTL).await;
        assert!(other.take(10).await.is_empty());
        assert!(world.take(10).await.is_empty());
    });
}

/// Without `lost` in the message, work that crashes its worker under a lease would be started again forever.
#[test]
fn a_lease_of_a_dead_holder_is_redelivered_with_its_number_of_losses() {
    each(|world| async move {
        let (id, other) = (running(&world).await, world.other());
        beat(&world, Duration::ZERO).await;
        let row = lease(&world, id, OutboxKind::Start, 1).await.unwrap();
        let late = TTL + Duration::from_millis(1);
        beat(&other, late).await;
        let by = Actor { now: START + late, ..other.by() };
        let taken = other.store.take_outbox(Take { limit: 10, tasks: None, actor: by }).await.unwrap().rows;
        let [taken] = taken.try_into().unwrap();
        let [Outgoing::Work(message)] = &taken.messages[..] else { panic!("no work") };
        assert_eq!((taken.id, taken.losses), (row, 1));
        assert_eq!((message.job, message.kind, message.attempt, message.losses), (id, WorkKind::Job, 1, 1));
        assert_eq!(&message.body[..], b"{}");
        // The process that was presumed dead has lost the lease.
        world.store.delete_outbox(vec![row], world.by()).await.unwrap();
        other.store.release_outbox(vec![row], other.by()).await.unwrap();
        assert_eq!(other.take(10).await.len(), 1);
    });
}

#[test]
fn only_the_current_attempt_of_a_job_is_leased() {
    each(|world| async move {
        let id = running(&world).await;
        assert_eq!(lease(&world, id, OutboxKind::Start, 2).await, None);
        assert_eq!(lease(&world, id, OutboxKind::Join, 1).await, None);
        assert_eq!(lease(&world, JobId::new(), OutboxKind::Start, 1).await, None);
        world.apply(ork_core::tx::Cancel::new(id, world.by())).await;
        assert_eq!(lease(&world, id, OutboxKind::Start, 1).await, None);
    });
}

#[test]
fn only_the_current_attempt_of_a_part_is_leased() {
    each(|world| async move {
        let job = world.with_parts(3, Policy::default(), true).await;
        let part = PartKey { job, epoch: 1, index: 1, attempt: 1 };
        let parts_row = |epoch, first| OutboxKind::Parts { epoch, first, len: 1, waited: false };
        world.start(part).await;
        assert_eq!(lease(&world, job, parts_row(2, 1), 1).await, None);
        assert_eq!(lease(&world, job, parts_row(1, 3), 1).await, None);
        assert_eq!(lease(&world, job, parts_row(1, 1), 2).await, None);
        lease(&world, job, parts_row(1, 1), 1).await.unwrap();
        world.settle(part, PartAttemptOutcome::Succeeded("1".into())).await;
        assert_eq!(lease(&world, job, parts_row(1, 1), 1).await, None);
    });
}

/// User code may block all threads of the runtime; the process is alive all the same.
#[test]
fn heartbeats_are_written_while_the_runtime_that_opened_the_store_is_blocked() {
    for name in ["memory", "sqlite", "postgres"] {
        let folder = tempfile::tempdir().unwrap();
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime().block_on(async {
            let Some(store) = open(name, folder.path()).await else { return };
            let (world, (beaten, news)) = (World::over(store), std::sync::mpsc::channel());
            let other = world.other();
            let heart = std::thread::spawn(move || {
                runtime().block_on(beat(&other, Duration::ZERO));
                beaten.send(()).unwrap();
            });
            // This blocks the only thread of the runtime.
            news.recv_timeout(Duration::from_mins(1)).unwrap();
            heart.join().unwrap();
            world.store.close().await;
        });
    }
}
