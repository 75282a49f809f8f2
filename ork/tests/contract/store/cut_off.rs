//! A process that is cut off from PostgreSQL, or idle in a transaction, and its effect on other processes.

use std::sync::Arc;
use std::time::Duration;

use ork::JobId;
use ork::{Ork, task};
use ork_core::job::Phase;
use ork_core::tx::Claimed;
use ork_ports::store::StoreErrorKind;
use ork_postgres::Postgres;
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::postgres;
use super::proxy::Proxy;
use super::world::{World, on};

/// Claims a job in a separate task.
fn claim(world: &World, id: JobId) -> JoinHandle<Claimed> {
    let world = World::over(Arc::clone(&world.store));
    tokio::spawn(async move { world.claim(id, Phase::Start, 1).await })
}

/// Whether an open transaction has locked the row of this job.
async fn is_locked(url: &str, id: JobId) -> bool {
    let query = "SELECT FROM ork.job WHERE id = $1::text::uuid FOR UPDATE SKIP LOCKED";
    let row = sqlx::query(query).bind(id.to_string()).fetch_optional(&mut postgres::connect(url).await).await;
    row.unwrap().is_none()
}

/// Claims jobs through the proxy until a stall begins between the lock of a job and its commit. Returns that job.
async fn cut_off_with_a_lock(url: &str, world: &World, proxy: &Proxy) -> JobId {
    // A statement is prepared when it is first used, which costs one more reply.
    let first = world.submit("first").await;
    assert!(matches!(world.claim(first, Phase::Start, 1).await, Claimed::Granted { .. }));
    for answers in 1..20 {
        let id = world.submit("locked").await;
        proxy.stall_after(answers);
        let mut claimed = claim(world, id);
        while !proxy.is_stalled() {
            assert!(timeout(Duration::from_millis(10), &mut claimed).await.is_err(), "no answer is in between");
        }
        if is_locked(url, id).await {
            return id;
        }
        proxy.go_on();
        claimed.await.unwrap();
    }
    panic!("no stall has met the lock");
}

/// Regression: all work of the healthy process waited behind the one row for ten seconds, until the server ended the
/// transaction of the other process; sometimes it reported that PostgreSQL did not respond.
#[test]
fn others_continue_and_soon_get_the_row_that_a_cut_off_process_has_locked() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let (proxy, through) = Proxy::before(&url);
        let (cut, healthy) = (World::postgres(&through).await, World::postgres(&url).await);
        let id = cut_off_with_a_lock(&url, &cut, &proxy).await;

        let locked = claim(&healthy, id);
        let mut others = 0;
        while !locked.is_finished() {
            let other = healthy.submit("other").await;
            assert!(matches!(healthy.claim(other, Phase::Start, 1).await, Claimed::Granted { .. }));
            others += 1;
        }
        // While the other process is cut off, only PostgreSQL can have released the row.
        assert!(matches!(locked.await.unwrap(), Claimed::Granted { .. }));
        assert!(others >= 3, "{others} other jobs were claimed meanwhile");

        proxy.go_on();
        cut.store.close().await;
        healthy.store.close().await;
    });
}

/// Regression: all work waited for the lock without end, and no error named the lock.
#[test]
fn work_that_waits_for_a_lock_gets_an_error_that_names_it_while_other_work_continues() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let (locked, untouched) = (world.submit("locked").await, world.submit("untouched").await);
        // This is not a process of ork: the server lets it keep its lock as long as it likes.
        let mut other = postgres::connect(&format!("{url}?application_name=backup")).await;
        other.execute("BEGIN").await.unwrap();
        let lock = "SELECT FROM ork.job WHERE id = $1::text::uuid FOR UPDATE";
        other.execute(sqlx::query(lock).bind(locked.to_string())).await.unwrap();

        let (store, by) = (Arc::clone(&world.store), world.by());
        let cancel = |id| store.apply(ork_core::tx::Cancel::new(id, by.clone()));
        let mut waiting = std::pin::pin!(cancel(locked));
        let mut others = 0;
        let error = loop {
            tokio::select! {
                biased;
                result = &mut waiting => break result.unwrap_err(),
                id = world.submit("other") => {
                    drop(cancel(id).await.unwrap());
                    others += 1;
                }
            }
        };
        assert!(others >= 10, "{others} other jobs were made and cancelled meanwhile");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        let message = error.to_string();
        let parts = [&format!("has held job {locked} since 20"), "`backup`", "is idle in a transaction"];
        assert!(parts.iter().all(|part| message.contains(*part)), "{message}");
        assert!(!message.contains("does not respond"), "{message}");

        // The cancel is not executed after its caller has received an error.
        other.execute("ROLLBACK").await.unwrap();
        drop(cancel(untouched).await.unwrap());
        assert!(!world.store.job(locked).await.unwrap().unwrap().job.state.is_final());
        drop(cancel(locked).await.unwrap());
        other.close().await.unwrap();
        world.store.close().await;
    });
}

/// A row that is locked again and again, each time for longer than a transaction waits: it is eventually locked
/// between two of these locks, and no other work waits for it.
#[test]
fn a_row_locked_again_and_again_is_eventually_acquired() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let store = Postgres::open(&url).await.unwrap();
        let id = world.submit("locked").await;
        let hold = "BEGIN; SELECT FROM ork.job FOR UPDATE; SELECT pg_sleep(0.9); COMMIT";
        let turns = (0..2).map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let mut connection = postgres::connect(&url).await;
                for _ in 0..2 {
                    connection.execute(hold).await.unwrap();
                }
            })
        });
        let turns: Vec<_> = turns.collect();
        // Another session gives no sign that it has a lock, so that the server is asked.
        while !is_locked(&url, id).await {}
        assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        for turn in turns {
            turn.await.unwrap();
        }
        ork_ports::store::Store::close(&store).await;
        world.store.close().await;
    });
}

#[task]
fn answer() -> u64 {
    42
}

/// Starts a process of ork on this database.
async fn process(url: &str) -> Ork {
    let config = ork::Config::from(Some(std::path::Path::new("/dev/null")), []).unwrap();
    ork::builder().config(config).store(url).build().await.unwrap()
}

/// Regression: the listening connection of the client was closed with a last statement whose reply never arrived, and
/// no other connection was opened until the kernel gave up as well. Reads used connections that had died.
#[test]
fn a_client_learns_of_an_end_soon_after_the_network_is_back() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let (proxy, through) = Proxy::before(&url);
        let client = process(&through).await;
        let job = client.submit(answer {}).await.unwrap();
        let id = job.id();
        let waiting = tokio::spawn(async move { job.result().await });
        // The client has read the job by now, so it waits for notifications.
        for _ in 0..10 {
            client.status(id).await.unwrap();
        }
        proxy.stall();
        proxy.is_noticed(1).await;
        assert!(!waiting.is_finished());

        let worker = process(&url).await;
        worker.spawn_worker();
        assert!(worker.wait(id).await.unwrap().output().is_some());
        proxy.go_on_with_new_connections();
        // The kernel would give up the connection after a quarter of an hour, which is beyond the deadline of the
        // test.
        assert_eq!(waiting.await.unwrap().unwrap(), 42);
        worker.shutdown().await;
        client.shutdown().await;
    });
}

/// Regression: the loss of this connection was never noticed, as it only listens, and the client waited forever.
#[test]
fn a_dead_listening_connection_is_replaced_while_others_work() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let (proxy, through) = Proxy::before(&url);
        let watcher = Postgres::open(&through).await.unwrap();
        let other = World::postgres(&url).await;
        let mut news = ork_ports::store::Store::notifier(&watcher).watch();
        // Nothing is written or read here while the network is down, so no other connection reveals it.
        proxy.stall();
        proxy.is_noticed(1).await;
        let id = other.submit("one").await;
        other.apply(ork_core::tx::Cancel::new(id, other.by())).await;
        proxy.go_on_with_new_connections();
        let result = timeout(Duration::from_mins(1), news.recv()).await.expect("no news");
        assert_eq!(result.unwrap(), ork_core::tx::StoreNotice::ChangedElsewhere);
        ork_ports::store::Store::close(&watcher).await;
        other.store.close().await;
    });
}
