//! A connection that is cut exactly at a commit: nothing is done twice, and no result is lost.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use ork::{JobId, Policy, WorkerId};
use ork_core::job::Job;
use ork_core::tx::{Actor, Limit, PartStart, Permit, SettleParts, SettleResult, StartParts, Submit, Submitted};
use ork_ports::store::{StoreError, StoreErrorKind};
use ork_postgres::Postgres;

use super::postgres;
use super::world::{START, World, ok, on, part};

/// What happens to the next commit: it passes; it never arrives; or it is executed, and its reply never arrives.
const PASSES: u8 = 0;
const LOST: u8 = 1;
const UNANSWERED: u8 = 2;

/// Forwards to a server, and cuts the connection at a commit on request.
struct Wire {
    port: u16,
    next: Arc<AtomicU8>,
    /// Whether new connections are refused once it was cut.
    closed: Arc<AtomicBool>,
}

impl Wire {
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let next = Arc::new(AtomicU8::new(PASSES));
        let closed = Arc::new(AtomicBool::new(false));
        let (order, refuses) = (Arc::clone(&next), Arc::clone(&closed));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let silent = Arc::new(AtomicU8::new(0));
                let (order, mute) = (Arc::clone(&order), Arc::clone(&silent));
                let (from, to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || forward(from, to, Some(&order), &mute));
                std::thread::spawn(move || forward(far, near, None, &silent));
            }
        });
        Self { port, next, closed }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, order: Option<&AtomicU8>, silent: &AtomicU8) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n_bytes @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..n_bytes];
        // The server has replied, so the commit is executed; the reply is dropped.
        if order.is_none() && silent.load(Ordering::SeqCst) == 1 {
            break;
        }
        if let Some(order) = order
            && bytes.windows(7).any(|bytes| bytes == b"COMMIT\0")
        {
            match order.swap(PASSES, Ordering::SeqCst) {
                LOST => break,
                UNANSWERED => silent.store(1, Ordering::SeqCst),
                _ => {}
            }
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Returns a store whose connection to the server can be cut, and one whose connection cannot.
async fn stores() -> Option<(World, Wire, World)> {
    let url = postgres::database().await?;
    let (before, after) = url.rsplit_once(':').unwrap();
    let (port, database) = after.split_once('/').unwrap();
    let wire = Wire::to(port.parse().unwrap());
    let cut = Postgres::open(&format!("{before}:{}/{database}", wire.port)).await.unwrap();
    let whole = Postgres::open(&url).await.unwrap();
    Some((World::over(Arc::new(cut)), wire, World::over(Arc::new(whole))))
}

fn submit(hold: bool) -> (JobId, Submit) {
    let job = Job::new(JobId::new(), "one", START);
    let by = Actor { worker: WorkerId::new("one"), now: START, hold, events: ork_core::event::EventRouting::Off };
    (job.id, Submit::new(ork_core::tx::NewJob { job, input: "{}".into() }, by))
}

#[test]
fn committed_work_is_not_repeated_and_uncommitted_work_is() {
    on(async {
        let Some((world, wire, whole)) = stores().await else { return };
        for how in [LOST, UNANSWERED, UNANSWERED, LOST] {
            wire.next.store(how, Ordering::SeqCst);
            let (id, submit) = submit(false);
            // If it were applied twice, the second time would report that the job exists.
            assert_eq!(world.apply(submit).await, Submitted::Created, "{how}");
            assert_eq!(wire.next.load(Ordering::SeqCst), PASSES, "the wire was not cut");
            let taken = whole.take(10).await;
            assert_eq!(taken.len(), 1, "{how}");
            assert!(whole.store.job(id).await.unwrap().is_some());
        }
        world.store.close().await;
        whole.store.close().await;
    });
}

#[test]
fn rows_taken_over_a_cut_connection_go_to_one_process() {
    on(async {
        let Some((world, wire, whole)) = stores().await else { return };
        for how in [UNANSWERED, LOST] {
            whole.submit("one").await;
            wire.next.store(how, Ordering::SeqCst);
            let taken = world.take(10).await;
            assert_eq!(taken.len(), 1, "{how}");
            assert!(whole.take(10).await.is_empty(), "{how}");
        }
        world.store.close().await;
        whole.store.close().await;
    });
}

#[test]
fn parts_settled_over_a_repeatedly_cut_connection_count_once() {
    on(async {
        let Some((world, wire, whole)) = stores().await else { return };
        let id = world.with_parts(300, Policy::default(), true).await;
        world.take(1_000).await;
        for (round, how) in [LOST, UNANSWERED].into_iter().cycle().take(6).enumerate() {
            let first = u64::try_from(round).unwrap() * 50;
            wire.next.store(how, Ordering::SeqCst);
            let settle = |index: u64| {
                let world = &world;
                async move {
                    world.start(part(id, index)).await;
                    world.settle(part(id, index), ok()).await
                }
            };
            let answers = futures_util::future::join_all((first..first + 50).map(settle)).await;
            assert!(answers.iter().all(|answer| matches!(answer, SettleResult::Applied)), "{round}: {answers:?}");
        }
        let view = whole.store.job(id).await.unwrap().unwrap();
        assert_eq!((view.counts.succeeded, view.counts.running), (300, 0));
        assert_eq!(whole.take(10).await.len(), 1, "the join is enqueued once");
        world.store.close().await;
        whole.store.close().await;
    });
}

#[test]
fn rows_taken_for_a_dropped_caller_are_released() {
    on(async {
        let Some((world, _wire, whole)) = stores().await else { return };
        whole.submit("one").await;
        let mut news = whole.store.notifier().watch();
        {
            // Dropped after the command was sent, before the reply can arrive.
            let mut take = std::pin::pin!(world.take(10));
            assert!(futures_util::poll!(&mut take).is_pending());
        }
        let freed = async {
            while whole.take(10).await.is_empty() {
                news.recv().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), freed).await.expect("no process has the row");
        world.store.close().await;
        whole.store.close().await;
    });
}

fn limit() -> Limit {
    Limit { name: "narrow".into(), permits: 3 }
}

async fn begin(world: &World, id: JobId, index: u64) -> Result<PartStart, StoreError> {
    let start = StartParts { limit: Some(limit()), ..StartParts::one(part(id, index), false, world.by()) };
    Ok(world.store.apply(start).await?.output.parts[0])
}

async fn begin_woken(world: &World, id: JobId, index: u64) -> PartStart {
    let start =
        StartParts { limit: Some(limit()), waited: true, ..StartParts::one(part(id, index), false, world.by()) };
    world.store.apply(start).await.unwrap().output.parts[0]
}

async fn end(world: &World, id: JobId, index: u64) -> Result<SettleResult, StoreError> {
    let permit = Some(Permit { limit: limit(), since: START });
    let settle = SettleParts { permit, ..SettleParts::one(part(id, index), ok(), world.by()) };
    Ok(world.store.apply(settle).await?.output)
}

/// A caller that gets the error that the outcome is unknown repeats its request. The number of permits taken must then
/// equal the number of running calls.
#[test]
fn permits_of_a_commit_with_unknown_outcome_are_counted_once() {
    on(async {
        let Some((world, wire, whole)) = stores().await else { return };
        let id = world.with_parts(5, Policy::default(), true).await;
        world.beat_at(Duration::ZERO, Vec::new()).await;
        let taken = || async {
            // The row that waits for a permit shows how many are taken.
            whole.store.diagnostics(id).await.unwrap().outbox.limit.map(|(_, taken)| taken)
        };
        for index in 0..2 {
            assert!(matches!(begin(&world, id, index).await.unwrap(), PartStart::Run { .. }));
        }
        let doubtful = |error: &StoreError| {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            assert!(error.to_string().contains("not known yet whether it succeeded"), "{error}");
        };
        // A permit is taken, and taken again.
        wire.closed.store(true, Ordering::SeqCst);
        wire.next.store(UNANSWERED, Ordering::SeqCst);
        doubtful(&begin(&world, id, 2).await.unwrap_err());
        wire.closed.store(false, Ordering::SeqCst);
        assert!(matches!(begin(&world, id, 2).await.unwrap(), PartStart::Run { .. }));
        assert_eq!(begin(&whole, id, 3).await.unwrap(), PartStart::Waiting, "there were three");
        assert_eq!(taken().await, Some(3));
        // A permit is released, and released again: the permits of the two calls that still run are kept.
        wire.closed.store(true, Ordering::SeqCst);
        wire.next.store(UNANSWERED, Ordering::SeqCst);
        doubtful(&end(&world, id, 0).await.unwrap_err());
        wire.closed.store(false, Ordering::SeqCst);
        assert_eq!(end(&world, id, 0).await.unwrap(), SettleResult::Stale);
        assert!(matches!(begin_woken(&whole, id, 3).await, PartStart::Run { .. }));
        assert_eq!(begin(&whole, id, 4).await.unwrap(), PartStart::Waiting, "a permit was released twice");
        assert_eq!(taken().await, Some(3));
        world.store.close().await;
        whole.store.close().await;
    });
}
