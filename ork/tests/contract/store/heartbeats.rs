//! Heartbeats that are late because the process or the store was delayed.

use std::sync::Arc;
use std::time::Duration;

use ork::Timestamp;
use ork_ports::store::Heartbeat;
use tokio::time::{Instant, timeout};

use super::postgres;
use super::world::{START, World, on, open};

const TTL: Duration = Duration::from_secs(10);

/// How long a lock is held.
const HELD: Duration = Duration::from_millis(700);

/// Returns when the heartbeat of a process expires, according to the diagnostics of a job.
async fn expires_at(world: &World) -> Timestamp {
    let id = world.submit("any").await;
    let processes = world.store.diagnostics(id).await.unwrap().processes;
    processes.iter().find(|process| process.worker == world.worker.to_string()).expect("its heartbeat").expires_at
}

/// Writes a heartbeat while a lock that it needs is held. Returns how long it had to wait.
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

/// Asserts that the heartbeat expires late enough for its write, which has waited this long.
async fn assert_valid_from_its_write(world: &World, waited: Duration) {
    let expires_at = expires_at(world).await;
    assert!(
        expires_at >= START + TTL + HELD / 2 && expires_at <= START + TTL + waited * 20,
        "{expires_at:?} after {waited:?}"
    );
}

/// Regression: a heartbeat was valid from the time when it was requested. One that waited for longer than its TTL had
/// expired when it was written, and its process was presumed dead.
#[test]
fn a_heartbeat_is_valid_from_the_time_of_its_write_over_sqlite() {
    on(async {
        let folder = tempfile::tempdir().unwrap();
        let world = World::over(open("sqlite", folder.path()).await.unwrap());
        let other = rusqlite::Connection::open(folder.path().join("ork.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let waited = beat_behind(&world, other, async |other| other.execute_batch("COMMIT").unwrap()).await;
        assert_valid_from_its_write(&world, waited).await;
        world.store.close().await;
    });
}

/// Does not count the time, which is short, that the last attempt of the transaction waits for the lock.
#[test]
fn a_heartbeat_is_valid_from_the_time_of_its_write_over_postgres() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let mut other = postgres::connect(&url).await;
        sqlx::raw_sql("BEGIN; LOCK TABLE ork.process").execute(&mut other).await.unwrap();
        let release = async |mut other| {
            sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
        };
        let waited = beat_behind(&world, other, release).await;
        assert_valid_from_its_write(&world, waited).await;
        world.store.close().await;
    });
}

/// Regression (seen with locks of 30 ms): the store reported that it was locked. The busy handler of `SQLite` checks
/// ever more rarely whether the file is free, and had not found a free moment after ten seconds.
#[test]
fn a_process_that_writes_all_the_time_does_not_starve_others() {
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
                // The file is locked nearly all of the time.
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                let locked = Instant::now();
                // Only the first one is received.
                let _sent = begun.send(());
                while locked.elapsed() < Duration::from_millis(5) {
                    std::thread::yield_now();
                }
                connection.execute_batch("COMMIT").unwrap();
            }
        });
        news.recv().unwrap();
        // Each heartbeat would fail if it found no free moment within ten seconds.
        for _ in 0..20 {
            world.beat_at(Duration::ZERO, Vec::new()).await;
        }
        stop.store(true, stopped);
        greedy.join().unwrap();
        world.store.close().await;
    });
}
