//! Large outputs are stored as objects, are read where they are needed, and are removed with their jobs.

use std::sync::Arc;
use std::time::Duration;

use ork::{CancelMode, ClientError, Context, JobId, JobState, Ork, OrkBuilder, Parts, Result, Timestamp, task};
use ork_core::clock::Clock as _;
use ork_ports::objects::ObjectErrorKind;
use ork_runtime::clock::system::SystemClock;

use super::clock::Manual;
use super::objects::Shelf;
use super::tasks::{Gate, add, called, calls};
use super::world::{builder, each, why};

/// An output with more bytes than this is stored as an object in these tests.
const LARGE: &str = "100";

fn letters(number: u64, length: usize) -> String {
    char::from(b'a' + u8::try_from(number % 26).unwrap()).to_string().repeat(length)
}

#[task]
async fn long(length: usize) -> String {
    letters(0, length)
}

/// The output of every part with an even number is large.
#[task]
async fn longs(number: u64) -> String {
    letters(number, if number.is_multiple_of(2) { 1_000 } else { 10 })
}

#[task(part)]
fn longs_part(count: u64) -> impl Iterator<Item = longs> {
    (0..count).map(|number| longs { number })
}

/// A synchronous join, whose result is large, too.
#[task(join)]
fn longs_join(parts: Parts<String>) -> Result<Vec<String>> {
    parts.all_ok()?.into_iter().collect()
}

#[task]
async fn odd(number: u64) -> Result<String> {
    if number.is_multiple_of(2) { Ok(letters(number, 1_000)) } else { Err("odd".into()) }
}

#[task(part, tolerate = "100%")]
fn odd_part(count: u64) -> impl Iterator<Item = odd> {
    (0..count).map(|number| odd { number })
}

/// Reads only the failures.
#[task(join)]
async fn odd_join(parts: Parts<String>) -> Result<usize> {
    Ok(parts.failed().collect().await?.len())
}

/// Its join waits at a gate before it reads the parts.
#[task]
async fn held(number: u64) -> String {
    letters(number, 998)
}

#[task(part)]
fn held_part(count: u64) -> impl Iterator<Item = held> {
    (0..count).map(|number| held { number })
}

#[task(join)]
async fn held_join(parts: Parts<String>, context: Context) -> Result<usize> {
    let key = context.job_id().to_string();
    called(&key);
    Gate::of(&key).pass().await;
    let mut parts = parts.all_ok()?;
    let mut length = 0;
    while let Some(part) = parts.next().await {
        length += part?.len() + 2;
    }
    Ok(length)
}

/// A process that stores large outputs in this object store.
fn shelved(store: &str, shelf: &Arc<Shelf>) -> OrkBuilder {
    builder(store).objects(Arc::<Shelf>::clone(shelf)).set("large_output_bytes", LARGE).set("shutdown", "10m")
}

/// Runs a test over each store, with an object store.
fn each_shelved<F: Future<Output = ()>>(case: impl Fn(Ork, Arc<Shelf>, String) -> F) {
    each(|world| async {
        let (first, store, folder) = world.parts();
        first.shutdown().await;
        let shelf = Shelf::new();
        let ork = shelved(&store, &shelf).build().await.unwrap();
        ork.spawn_worker();
        case(ork, shelf, store).await;
        drop(folder);
    });
}

#[test]
fn large_output_is_stored_as_an_object_and_read_back() {
    each_shelved(|ork, shelf, store| async move {
        assert_eq!(ork.submit(long { length: 98 }).result().await.unwrap().len(), 98);
        assert_eq!(shelf.names(), Vec::<String>::new());
        let job = ork.submit(long { length: 99 }).await.unwrap();
        assert_eq!(job.result().await.unwrap(), letters(0, 99));
        let [name] = &shelf.names()[..] else { panic!("{:?}", shelf.names()) };
        assert!(name.contains(&format!("/{}/job-1-", job.id())), "{name}");
        if store != "memory:" {
            // A process without this object store.
            let other = builder(&store).build().await.unwrap();
            assert_eq!(other.status(job.id()).await.unwrap().state, JobState::Succeeded);
            let Err(ClientError::Objects(error)) = other.wait(job.id()).await else { panic!("it was read") };
            let message = error.to_string();
            assert_eq!(error.kind(), ObjectErrorKind::Config);
            assert!(message.contains(&job.id().to_string()) && message.contains("set ORK_LARGE_OUTPUTS"), "{message}");
            other.shutdown().await;
        }
        ork.shutdown().await;
    });
}

#[test]
fn large_part_outputs_are_joined_in_order_a_few_at_a_time() {
    each_shelved(|ork, shelf, _| async move {
        let job = ork.submit(longs_part { count: 41 }).await.unwrap();
        let joined = job.result().await.unwrap();
        let expected: Vec<_> = (0..41_u64).map(|n| letters(n, if n.is_multiple_of(2) { 1_000 } else { 10 })).collect();
        assert_eq!(joined, expected);
        // The outputs of the parts, and that of the join.
        assert_eq!(shelf.names().len(), 21 + 1);
        let most = shelf.most_read_at_once();
        assert!((2..=8).contains(&most), "{most} were read at once");
        let parts = ork.part_outputs(job.id(), 0, 100).await.unwrap();
        let outputs = parts.into_iter().map(|part| serde_json::from_slice::<String>(&part.output.unwrap()).unwrap());
        assert!(outputs.eq(expected));
        ork.shutdown().await;
    });
}

#[test]
fn outputs_that_are_not_requested_are_not_read() {
    each_shelved(|ork, shelf, _| async move {
        assert_eq!(ork.submit(odd_part { count: 20 }).result().await.unwrap(), 10);
        assert_eq!((shelf.names().len(), shelf.most_read_at_once()), (10, 0));
        ork.shutdown().await;
    });
}

#[test]
fn outputs_wait_while_the_object_store_is_down() {
    each_shelved(|ork, shelf, _| async move {
        shelf.broken.send_replace(true);
        let job = ork.submit(long { length: 1_000 }).await.unwrap();
        let parts = ork.submit(longs_part { count: 10 }).await.unwrap();
        shelf.has_refused().await;
        assert!(!job.status().await.unwrap().state.is_final());
        // Small outputs are not affected.
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        shelf.broken.send_replace(false);
        assert_eq!(job.result().await.unwrap().len(), 1_000);
        assert_eq!(parts.result().await.unwrap().len(), 10);
        assert_eq!(job.status().await.unwrap().attempt, 1);
        assert_eq!(parts.status().await.unwrap().parts.succeeded, 10);
        ork.shutdown().await;
    });
}

#[test]
fn join_waits_for_outputs_that_cannot_be_read_yet() {
    each_shelved(|ork, shelf, _| async move {
        let job = ork.submit(held_part { count: 4 }).await.unwrap();
        let gate = Gate::of(&job.id().to_string());
        gate.entered().await;
        shelf.broken.send_replace(true);
        gate.open();
        shelf.has_refused().await;
        shelf.broken.send_replace(false);
        assert_eq!(job.result().await.unwrap(), 4_000);
        assert_eq!(calls(&job.id().to_string()), 1);
        ork.shutdown().await;
    });
}

#[test]
fn waiting_join_is_requeued_when_its_worker_stops() {
    each_shelved(|ork, shelf, store| async move {
        if store == "memory:" {
            return ork.shutdown().await;
        }
        let id = ork.submit(held_part { count: 4 }).await.unwrap().id();
        let gate = Gate::of(&id.to_string());
        gate.entered().await;
        shelf.broken.send_replace(true);
        gate.open();
        shelf.has_refused().await;
        ork.worker().kill();
        ork.shutdown().await;
        shelf.broken.send_replace(false);
        let next = shelved(&store, &shelf).build().await.unwrap();
        next.spawn_worker();
        gate.entered().await;
        gate.open();
        assert_eq!(next.wait(id).await.unwrap().into_output::<usize>().unwrap(), 4_000);
        next.shutdown().await;
    });
}

#[test]
fn job_with_an_unwritten_output_is_requeued_when_its_worker_stops() {
    each_shelved(|ork, shelf, store| async move {
        shelf.broken.send_replace(true);
        let id = ork.submit(long { length: 1_000 }).await.unwrap().id();
        shelf.has_refused().await;
        ork.worker().kill();
        ork.shutdown().await;
        if store == "memory:" {
            return;
        }
        shelf.broken.send_replace(false);
        let next = shelved(&store, &shelf).build().await.unwrap();
        next.spawn_worker();
        let outcome = next.wait(id).await.unwrap();
        assert_eq!((outcome.status().attempt, outcome.output().unwrap().len()), (1, 1_002));
        next.shutdown().await;
    });
}

#[test]
fn cancelled_job_does_not_wait_for_the_object_store() {
    each_shelved(|ork, shelf, _| async move {
        shelf.broken.send_replace(true);
        let job = ork.submit(long { length: 1_000 }).await.unwrap();
        shelf.has_refused().await;
        ork.cancel(job.id(), CancelMode::Immediate).await.unwrap();
        // The drain would last longer than a test may take.
        ork.shutdown().await;
        assert_eq!(shelf.names(), Vec::<String>::new());
    });
}

#[test]
fn lost_or_damaged_object_is_named_in_the_error() {
    each_shelved(|ork, shelf, _| async move {
        let job = ork.submit(long { length: 1_000 }).await.unwrap();
        job.result().await.unwrap();
        let held = ork.submit(held_part { count: 4 }).await.unwrap();
        let gate = Gate::of(&held.id().to_string());
        gate.entered().await;
        for (left, kind, expected) in
            [(Some(5), ObjectErrorKind::Damaged, "expected 1002 bytes"), (None, ObjectErrorKind::Missing, "is lost")]
        {
            shelf.damage(left);
            let Err(ClientError::Objects(error)) = job.result().await else { panic!("it was read") };
            assert_eq!(error.kind(), kind);
            let message = error.to_string();
            assert!(message.contains(expected) && message.contains(&job.id().to_string()), "{message}");
        }
        gate.open();
        let message = why(&held.wait().await.unwrap());
        let object = format!("{}/part-1-0-1-", held.id());
        assert!(message.contains(&format!("the output of part 0 of job {} is lost", held.id())), "{message}");
        assert!(message.contains(&object) && message.contains("the shelf"), "{message}");
        ork.shutdown().await;
    });
}

#[test]
fn removed_jobs_take_their_large_outputs_with_them() {
    each_shelved(|ork, shelf, _| async move {
        let kept = ork.submit(held_part { count: 4 }).await.unwrap();
        let gate = Gate::of(&kept.id().to_string());
        gate.entered().await;
        let of_kept = shelf.names();
        let home = of_kept[0].split('/').next().unwrap().to_owned();
        ork.submit(longs_part { count: 10 }).result().await.unwrap();
        // Left by a process that died, by another store, and too recent to decide: its job may be about to be stored.
        let unknown = JobId::new();
        shelf.leave(&format!("{home}/{unknown}/job-1-old"), Timestamp::default());
        let young = format!("{home}/{unknown}/job-1-young");
        shelf.leave(&young, SystemClock.now());
        let foreign = format!("{unknown}/{unknown}/job-1-foreign");
        shelf.leave(&foreign, Timestamp::default());

        let mut left = [of_kept, vec![young, foreign]].concat();
        left.sort();
        while shelf.names() != left {
            // A row that was locked is removed by the next call.
            ork.prune(Duration::ZERO).await.unwrap();
        }
        gate.open();
        assert_eq!(kept.result().await.unwrap(), 4_000);
        shelf.broken.send_replace(true);
        let Err(ClientError::Objects(error)) = ork.prune(Duration::ZERO).await else {
            panic!("the objects were listed")
        };
        assert_eq!(error.kind(), ObjectErrorKind::Unavailable);
        ork.shutdown().await;
    });
}

#[test]
fn worker_with_retention_removes_large_outputs() {
    each(|world| async {
        let (first, store, folder) = world.parts();
        first.shutdown().await;
        let start = Timestamp::from_millis(1_000_000_000);
        let (shelf, clock) = (Shelf::new(), Manual::new(start));
        let builder = shelved(&store, &shelf).clock(Arc::<Manual>::clone(&clock)).set("retention", "2h");
        let ork = builder.build().await.unwrap();
        ork.spawn_worker();
        let job = ork.submit(long { length: 1_000 }).await.unwrap();
        let id = job.id();
        job.result().await.unwrap();
        assert_eq!(shelf.names().len(), 1);
        // Both services that remove something wait now: one for jobs that are due, one for orphaned objects.
        for first in [1, 2] {
            clock.wait_for_timer(start + Duration::from_mins(first)).await;
        }
        clock.advance(Duration::from_hours(3));
        while ork.status(id).await.is_ok() {
            tokio::task::yield_now().await;
        }
        // The service that has just looked for orphaned objects looks again within the hour.
        clock.advance(Duration::from_hours(2));
        while !shelf.names().is_empty() {
            tokio::task::yield_now().await;
        }
        ork.shutdown().await;
        drop(folder);
    });
}
