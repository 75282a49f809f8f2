//! Concurrency limits: permits, the processes that hold them, and the rows that wait for them.

use std::sync::Arc;
use std::time::Duration;

use ork::{JobId, Policy};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::message::WorkKind;
use ork_core::tx::{
    Claim, Claimed, Limit, NewJob, PartAttemptOutcome, PartKey, PartStart, Permit, Settle, SettleParts, StartParts,
};

use super::world::{START, World, each, ok, part};

/// Longer than a process is considered alive after [`World::beat_at`].
const DEAD: Duration = Duration::from_secs(11);

fn limit(permits: u32) -> Limit {
    Limit { name: "narrow[tenant = 1]".into(), permits }
}

/// A permit that was taken by a process that had none before.
fn permit() -> Permit {
    Permit { limit: limit(1), since: START }
}

/// Starts these parts under a limit, as far as there are permits. Returns those that run, and those that wait.
async fn run(world: &World, job: JobId, indices: impl Iterator<Item = u64>, permits: u32) -> (Vec<u64>, Vec<u64>) {
    start(world, job, indices, permits, false).await
}

/// As [`run`], for parts that have waited.
async fn run_woken(
    world: &World,
    job: JobId,
    indices: impl Iterator<Item = u64>,
    permits: u32,
) -> (Vec<u64>, Vec<u64>) {
    start(world, job, indices, permits, true).await
}

async fn start(
    world: &World,
    job: JobId,
    indices: impl Iterator<Item = u64>,
    permits: u32,
    waited: bool,
) -> (Vec<u64>, Vec<u64>) {
    let (indices, limit) = (indices.collect::<Vec<_>>(), Some(limit(permits)));
    let first = PartKey { job, epoch: 1, index: 0, attempt: 1 };
    let start =
        StartParts { first, indices: indices.clone(), durable: false, limit, losses: 0, waited, actor: world.by() };
    let started = world.apply(start).await;
    let of = |is: fn(&PartStart) -> bool| {
        indices.iter().zip(&started.parts).filter(|(_, part)| is(part)).map(|(index, _)| *index).collect()
    };
    (of(|part| matches!(part, PartStart::Run { .. })), of(|part| *part == PartStart::Waiting))
}

/// Settles these parts, which releases their permits.
async fn settle(world: &World, job: JobId, indices: impl Iterator<Item = u64>) {
    let ended: Arc<[_]> = indices.map(|index| (index, ok())).collect();
    let first = PartKey { job, epoch: 1, index: 0, attempt: 1 };
    world.apply(SettleParts { first, ended, permit: Some(permit()), actor: world.by() }).await;
}

async fn waiting(world: &World, job: JobId) -> (u64, u32) {
    let outbox = world.store.diagnostics(job).await.unwrap().outbox;
    (outbox.waiting, outbox.limit.map_or(0, |(_, taken)| taken))
}

/// Submits a job with `n` parts, none of which is still in the outbox.
async fn parts(world: &World, n: u64) -> JobId {
    let job = world.with_parts(n, Policy::default(), false).await;
    let taken: Vec<_> = world.take(usize::MAX).await.iter().map(|row| row.id).collect();
    let by = ork_core::tx::Actor { hold: true, ..world.by() };
    world.store.delete_outbox(taken, by).await.unwrap();
    job
}

/// Without a count over all processes, each process would start as many calls as it likes.
#[test]
fn no_more_calls_start_than_there_are_permits_over_all_processes() {
    each(|world| async move {
        let (job, other) = (parts(&world, 10).await, world.other());
        assert_eq!(run(&world, job, 0..3, 4).await, (vec![0, 1, 2], vec![]));
        assert_eq!(run(&other, job, 3..6, 4).await, (vec![3], vec![4, 5]));
        assert_eq!(run(&world, job, 6..8, 4).await, (vec![], vec![6, 7]));
        assert_eq!(waiting(&world, job).await, (4, 4));
        assert!(world.take(10).await.is_empty(), "what waits is not handed out");
        // Another limit has separate permits.
        let limit = Some(Limit { name: "narrow[tenant = 2]".into(), permits: 1 });
        let start = StartParts { limit, ..StartParts::one(part(job, 9), false, world.by()) };
        assert!(matches!(world.apply(start).await.parts[..], [PartStart::Run { .. }]));
    });
}

/// If permits did not wake rows in the same transaction, rows would wait forever, or until a process polls.
#[test]
fn as_many_rows_are_woken_as_permits_are_released() {
    each(|world| async move {
        let job = parts(&world, 10).await;
        run(&world, job, 0..10, 4).await;
        assert_eq!(waiting(&world, job).await, (6, 4));
        settle(&world, job, 0..3).await;
        assert_eq!(waiting(&world, job).await, (3, 1));
        let woken = world.take(10).await;
        assert_eq!(woken.iter().map(|row| row.messages.len()).sum::<usize>(), 3);
        // They arrive in the order in which they started to wait.
        assert_eq!(run_woken(&world, job, 4..7, 4).await, (vec![4, 5, 6], vec![]));
        assert_eq!(waiting(&world, job).await, (3, 4));
    });
}

/// A row that is woken but no longer needed must wake the next one, as the rest would wait forever otherwise.
#[test]
fn a_woken_row_that_is_no_longer_needed_passes_its_permit_on() {
    each(|world| async move {
        let (job, gone) = (parts(&world, 3).await, parts(&world, 1).await);
        run(&world, job, 0..1, 1).await;
        run(&world, gone, 0..1, 1).await;
        run(&world, job, 1..3, 1).await;
        world.apply(ork_core::tx::Cancel::new(gone, world.by())).await;
        settle(&world, job, 0..1).await;
        assert_eq!((waiting(&world, gone).await, waiting(&world, job).await.0), ((0, 0), 2));
        assert_eq!(run(&world, gone, 0..1, 1).await, (vec![], vec![]));
        assert_eq!(waiting(&world, job).await, (1, 0));
    });
}

#[test]
fn permits_of_a_dead_process_are_freed() {
    each(|world| async move {
        let (job, other) = (parts(&world, 5).await, world.other());
        world.beat_at(Duration::ZERO, Vec::new()).await;
        run(&world, job, 0..2, 2).await;
        run(&other, job, 2..5, 2).await;
        assert_eq!(waiting(&other, job).await, (3, 2));
        other.beat_at(Duration::from_secs(1), Vec::new()).await;
        assert_eq!(waiting(&other, job).await, (3, 2), "it lives");
        other.beat_at(DEAD, Vec::new()).await;
        assert_eq!(waiting(&other, job).await, (1, 0));
        assert_eq!(run_woken(&other, job, 2..4, 2).await, (vec![2, 3], vec![]));
        // The process was alive after all. What it releases is not taken from others.
        settle(&world, job, 0..2).await;
        assert_eq!(run_woken(&other, job, 4..5, 2).await, (vec![], vec![4]));
    });
}

#[test]
fn permits_of_a_leaving_process_are_freed() {
    each(|world| async move {
        let (job, other) = (parts(&world, 4).await, world.other());
        run(&world, job, 0..2, 2).await;
        run(&other, job, 2..4, 2).await;
        world.store.leave(world.by()).await.unwrap();
        assert_eq!(waiting(&other, job).await, (0, 0));
        assert_eq!(run_woken(&other, job, 2..4, 2).await, (vec![2, 3], vec![]));
    });
}

/// A message that was woken and then lost in a broker wakes no other row. Heartbeats find the free permits.
#[test]
fn a_heartbeat_wakes_rows_after_a_message_with_a_permit_was_lost() {
    each(|world| async move {
        let job = parts(&world, 3).await;
        run(&world, job, 0..3, 1).await;
        settle(&world, job, 0..1).await;
        let lost: Vec<_> = world.take(10).await.iter().map(|row| row.id).collect();
        world.store.delete_outbox(lost, world.by()).await.unwrap();
        assert_eq!(waiting(&world, job).await, (1, 0));
        world.beat_at(Duration::ZERO, Vec::new()).await;
        assert_eq!((waiting(&world, job).await, world.take(10).await.len()), ((0, 0), 1));
    });
}

#[test]
fn rows_wake_by_priority_and_then_by_age() {
    each(|world| async move {
        let claim = async |id: JobId, priority: u8| {
            let mut job = Job::new(id, "narrow", START);
            job.priority = priority;
            let unknown = NewJob { job, input: "{}".into() };
            let claim = Claim { limit: Some(limit(1)), ..Claim::new(unknown, Phase::Start, 1, world.by()) };
            world.apply(claim).await
        };
        // Each message comes from another program, so the job is created whether there is a permit or not.
        let ids: Vec<_> = (0..4).map(|_| JobId::new()).collect();
        assert!(matches!(claim(ids[0], 0).await, Claimed::Granted { .. }));
        for (id, priority) in [(ids[1], 0), (ids[2], 9), (ids[3], 0)] {
            assert_eq!(claim(id, priority).await, Claimed::Waiting);
            assert_eq!(waiting(&world, id).await, (1, 1));
        }
        let mut came = Vec::new();
        let mut running = ids[0];
        for _ in 0..3 {
            let (phase, how) = (Phase::Start, AttemptOutcome::Succeeded);
            let (output, permit) = (Some("1".into()), Some(permit()));
            world
                .apply(Settle { job: running, phase, attempt: 1, outcome: how, output, permit, actor: world.by() })
                .await;
            let [row] = world.take(10).await.try_into().unwrap();
            let ork_core::message::Outgoing::Work(message) = &row.messages[0] else { panic!("no work") };
            running = message.job;
            came.push(running);
            assert!(matches!(claim(running, 0).await, Claimed::Granted { .. }));
        }
        assert_eq!(came, [ids[2], ids[1], ids[3]]);
    });
}

/// Otherwise work that crashes its workers would do so forever.
#[test]
fn a_waiting_row_keeps_its_number_of_losses() {
    each(|world| async move {
        let job = parts(&world, 2).await;
        run(&world, job, 0..1, 1).await;
        let start = StartParts::one(part(job, 1), true, world.by());
        let started = world.apply(StartParts { limit: Some(limit(1)), losses: 3, ..start }).await;
        assert_eq!(started.parts, [PartStart::Waiting]);
        settle(&world, job, 0..1).await;
        let [row] = world.take(10).await.try_into().unwrap();
        let ork_core::message::Outgoing::Work(message) = &row.messages[0] else { panic!("no work") };
        assert_eq!((row.losses, message.losses), (3, 3));
    });
}

/// A settlement that is too late has no effect, but its permit is released.
#[test]
fn a_late_settlement_releases_its_permit() {
    each(|world| async move {
        let job = parts(&world, 2).await;
        run(&world, job, 0..1, 1).await;
        world.apply(ork_core::tx::Cancel::new(job, world.by())).await;
        let settle = SettleParts::one(part(job, 0), PartAttemptOutcome::Interrupted, world.by());
        world.apply(SettleParts { permit: Some(permit()), ..settle }).await;
        let other = parts(&world, 1).await;
        assert_eq!(run(&world, other, 0..1, 1).await, (vec![0], vec![]));
    });
}

/// A process that was presumed dead has lost its permits. If it is alive, its earlier calls must not give back the
/// permits of later ones: more calls would run than there are permits.
#[test]
fn call_of_a_process_that_was_presumed_dead_gives_back_no_permit() {
    each(|world| async move {
        let (job, other) = (parts(&world, 3).await, world.other());
        world.beat_at(Duration::ZERO, Vec::new()).await;
        assert_eq!(run(&world, job, 0..1, 1).await, (vec![0], vec![]));
        other.beat_at(DEAD, Vec::new()).await;
        world.beat_at(DEAD, Vec::new()).await;
        let later = ork_core::tx::Actor { now: START + DEAD, ..world.by() };
        let start = StartParts { limit: Some(limit(1)), ..StartParts::one(part(job, 1), false, later) };
        let started = world.apply(start).await;
        assert_eq!(started.permit, Some(Permit { limit: limit(1), since: START + DEAD }));
        settle(&world, job, 0..1).await;
        assert_eq!(run(&other, job, 2..3, 1).await, (vec![], vec![2]));
        let settle = SettleParts::one(part(job, 1), PartAttemptOutcome::Succeeded("1".into()), world.by());
        world.apply(SettleParts { permit: started.permit, ..settle }).await;
        assert_eq!(run_woken(&other, job, 2..3, 1).await, (vec![2], vec![]));
    });
}

/// A process may release, or lose, the row from which a part was delivered before it waited. If that message started
/// the part too, two processes would call it.
#[test]
fn part_that_has_waited_is_started_by_its_own_row_only() {
    each(|world| async move {
        let job = world.with_parts(2, Policy::default(), false).await;
        let [_start, row] = world.take(10).await.try_into().unwrap();
        assert_eq!(run(&world, job, 0..2, 1).await, (vec![0], vec![1]));
        assert_eq!(run(&world, job, 1..2, 1).await, (vec![], vec![]), "it waits once");
        settle(&world, job, 0..1).await;
        world.store.release_outbox(vec![row.id], world.by()).await.unwrap();
        let mut waited: Vec<_> = Vec::new();
        for message in world.take(10).await.into_iter().flat_map(|row| row.messages) {
            let ork_core::message::Outgoing::Work(message) = message else { panic!("no work") };
            waited.push((message.kind, message.waited));
        }
        let part = |index| WorkKind::Part { epoch: 1, index };
        waited.sort_by_key(|(_, waited)| *waited);
        assert_eq!(waited, [(part(1), false), (part(1), true)], "an ended part is sent no more");
        assert_eq!(run(&world, job, 1..2, 1).await, (vec![], vec![]));
        assert_eq!(run_woken(&world, job, 1..2, 1).await, (vec![1], vec![]));
        assert_eq!(run(&world, job, 1..2, 2).await, (vec![], vec![]), "it runs");
        settle(&world, job, 1..2).await;
        assert_eq!(waiting(&world, job).await, (0, 0));
    });
}
