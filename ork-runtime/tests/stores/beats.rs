//! Signs of life that come late, because the process or the store was held up.

use std::sync::Arc;
use std::time::Duration;

use ork::Timestamp;
use ork::store::Heartbeat;
use tokio::time::{Instant, timeout};

use super::postgres;
use super::world::{START, World, on, open};

const TTL: Duration = Duration::from_secs(10);

/// For how long a lock is held.
const HELD: Duration = Duration::from_millis(700);

/// Until when a process is believed to live, by what any job's situation shows.
async fn until(world: &World) -> Timestamp {
    let id = world.submit("any").await;
    let processes = world.store.diagnostics(id).await.unwrap().processes;
    processes.iter().find(|process| process.worker == world.worker.to_string()).expect("its sign of life").until
}

/// Beats while something holds a lock that the beat needs; answers for how long it had to wait.
async fn beat_behind<L, R: Future<Output = ()>>(world: &World, lock: L, release: impl FnOnce(L) -> R) -> Duration {
    let store = Arc::clone(&world.store);
    let beat = Heartbeat { ttl: TTL, running: Vec::new(), holding: Vec::new(), waiting: Vec::new(), actor: world.by() };
    let mut beaten = tokio::spawn(async move { store.heartbeat(beat).await });
    let begun = Instant::now();
    assert!(timeout(HELD, &mut beaten).await.is_err(), "the lock was not in its way");
    release(lock).await;
    let waited = begun.elapsed();
    beaten.await.unwrap().unwrap();
    waited
}

/// Fails on the code before this change: a beat was believed from the moment at which it was asked for, so that one that
/// had to wait for longer than that was out of date when it was written, and its process was taken for dead.
#[test]
fn a_sign_of_life_counts_from_the_moment_at_which_it_is_written_over_sqlite() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let world = World::over(open("sqlite", folder.path()).await.unwrap());
        let other = rusqlite::Connection::open(folder.path().join("ork.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let waited = beat_behind(&world, other, async |other| other.execute_batch("COMMIT").unwrap()).await;
        let until = until(&world).await;
        assert!(until >= START + TTL + HELD / 2 && until <= START + TTL + waited * 20, "{until:?} after {waited:?}");
        world.store.close().await;
    });
}

/// The same over PostgreSQL. For how long its last transaction waited for the lock, which is not long, does not count.
#[test]
fn a_sign_of_life_counts_from_the_moment_at_which_it_is_written_over_postgres() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let mut other = postgres::connect(&url).await;
        sqlx::raw_sql("BEGIN; LOCK TABLE ork.worker").execute(&mut other).await.unwrap();
        let release = async |mut other| {
            sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
        };
        let waited = beat_behind(&world, other, release).await;
        let until = until(&world).await;
        assert!(until >= START + TTL + HELD / 2 && until <= START + TTL + waited * 20, "{until:?} after {waited:?}");
        world.store.close().await;
    });
}

/// Fails on the code before this change (seen with locks of 30 ms), as the store is locked: `SQLite` by itself looks ever
/// more rarely whether the file is free, and has not met a free moment after ten seconds.
#[test]
fn a_process_that_writes_all_the_time_leaves_others_their_turn() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let world = World::over(open("sqlite", folder.path()).await.unwrap());
        let path = folder.path().join("ork.db");
        let (stop, stopped) =
            (Arc::new(std::sync::atomic::AtomicBool::new(false)), std::sync::atomic::Ordering::SeqCst);
        let (until, (begun, news)) = (Arc::clone(&stop), std::sync::mpsc::channel());
        let greedy = std::thread::spawn(move || {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.busy_timeout(Duration::from_secs(10)).unwrap();
            while !until.load(stopped) {
                // The file is locked for nearly all of the time.
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                let locked = Instant::now();
                // Once is enough.
                let _told = begun.send(());
                while locked.elapsed() < Duration::from_millis(5) {
                    std::thread::yield_now();
                }
                connection.execute_batch("COMMIT").unwrap();
            }
        });
        news.recv().unwrap();
        // Each would fail if it had no turn for ten seconds.
        for _ in 0..20 {
            world.beat_at(Duration::ZERO, Vec::new()).await;
        }
        stop.store(true, stopped);
        greedy.join().unwrap();
        world.store.close().await;
    });
}
