//! A process that is cut off from PostgreSQL, or that sleeps in a transaction, and what the others do meanwhile.

use std::sync::Arc;
use std::time::Duration;

use ork::JobId;
use ork::job::Phase;
use ork::store::StoreErrorKind;
use ork::store::postgres::Postgres;
use ork::tx::Claimed;
use ork::{Ork, task};
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::postgres;
use super::proxy::Proxy;
use super::world::{World, on};

/// Claims a job beside what the test does.
fn claim(world: &World, id: JobId) -> JoinHandle<Claimed> {
    let world = World::over(Arc::clone(&world.store));
    tokio::spawn(async move { world.claim(id, Phase::Start, 1).await })
}

/// Whether a transaction that has not ended has the row of this job.
async fn is_locked(url: &str, id: JobId) -> bool {
    let query = "SELECT FROM ork.job WHERE id = $1::text::uuid FOR UPDATE SKIP LOCKED";
    let row = sqlx::query(query).bind(id.to_string()).fetch_optional(&mut postgres::connect(url).await).await;
    row.unwrap().is_none()
}

/// Claims jobs through the proxy until a stall begins between the lock of one of them and its commit: that job.
async fn cut_off_with_a_lock(url: &str, world: &World, proxy: &Proxy) -> JobId {
    // Each statement is prepared when it is used first, which is an answer more.
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

/// Before, everything that the healthy process did stood still behind the one row for ten seconds, until the server
/// ended the transaction of the other one; now and then it said that PostgreSQL did not answer.
#[test]
fn while_a_process_is_cut_off_with_a_row_the_others_work_on_and_soon_have_the_row() {
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
        // As long as the other process is cut off, only PostgreSQL can have let the row go.
        assert!(matches!(locked.await.unwrap(), Claimed::Granted { .. }));
        assert!(others >= 3, "{others} other jobs were claimed meanwhile");

        proxy.go_on();
        cut.store.close().await;
        healthy.store.close().await;
    });
}

/// Before, everything waited for the lock without end, and nothing said which lock that was.
#[test]
fn what_waits_for_a_lock_is_told_what_is_locked_while_all_else_is_done() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let world = World::postgres(&url).await;
        let (locked, untouched) = (world.submit("locked").await, world.submit("untouched").await);
        // No process of ork: the server lets it keep its lock for as long as it likes.
        let mut other = postgres::connect(&format!("{url}?application_name=backup")).await;
        other.execute("BEGIN").await.unwrap();
        let lock = "SELECT FROM ork.job WHERE id = $1::text::uuid FOR UPDATE";
        other.execute(sqlx::query(lock).bind(locked.to_string())).await.unwrap();

        let (store, by) = (Arc::clone(&world.store), world.by());
        let cancel = |id| store.apply(ork::tx::Cancel::new(id, by.clone()));
        let mut waiting = std::pin::pin!(cancel(locked));
        let mut others = 0;
        let error = loop {
            tokio::select! {
                biased;
                told = &mut waiting => break told.unwrap_err(),
                id = world.submit("other") => {
                    cancel(id).await.unwrap();
                    others += 1;
                }
            }
        };
        assert!(others >= 10, "{others} other jobs were made and cancelled meanwhile");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        let words = error.to_string();
        let parts = [&format!("holds job {locked} since 20"), "`backup`", "is idle in a transaction"];
        assert!(parts.iter().all(|part| words.contains(*part)), "{words}");
        assert!(!words.contains("does not answer"), "{words}");

        // What it had waited for is not done behind the back of whoever was told.
        other.execute("ROLLBACK").await.unwrap();
        cancel(untouched).await.unwrap();
        assert!(!world.store.job(locked).await.unwrap().unwrap().job.state.is_final());
        cancel(locked).await.unwrap();
        other.close().await.unwrap();
        world.store.close().await;
    });
}

/// A row that is locked again and again, each time for longer than a transaction waits for it: it is got between two of
/// the locks, in the end, and nothing else waits for that.
#[test]
fn a_row_that_is_locked_by_turns_is_got_in_the_end() {
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
        while !is_locked(&url, id).await {}
        assert!(matches!(world.claim(id, Phase::Start, 1).await, Claimed::Granted { .. }));
        for turn in turns {
            turn.await.unwrap();
        }
        ork::store::Store::close(&store).await;
        world.store.close().await;
    });
}

#[task]
fn answer() -> u64 {
    42
}

/// A process of ork over this database.
async fn process(url: &str) -> Ork {
    let config = ork::Config::from(Some(std::path::Path::new("/dev/null")), []).unwrap();
    Ork::builder().config(config).store(url).build().await.unwrap()
}

/// Before, the connection on which the client hears of ends was given up with a last word, whose answer never came; no
/// other one was made until the kernel gave up, too. What it read was asked over connections that had died.
#[test]
fn a_client_that_was_cut_off_hears_of_an_end_a_few_seconds_after_the_network_is_back() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let (proxy, through) = Proxy::before(&url);
        let client = process(&through).await;
        let job = client.submit(answer {}).await.unwrap();
        let id = job.id();
        let waiting = tokio::spawn(async move { job.wait().await });
        // It has looked by then, so that it waits for news.
        for _ in 0..10 {
            client.status(id).await.unwrap();
        }
        proxy.stall();
        proxy.is_noticed(1).await;
        assert!(!waiting.is_finished());

        let worker = process(&url).await;
        worker.start_worker();
        assert!(worker.wait(id).await.unwrap().output().is_some());
        proxy.go_on_with_new_connections();
        // The kernel would give the connection up after a quarter of an hour, which is beyond the deadline of a test.
        assert_eq!(waiting.await.unwrap().unwrap(), 42);
        worker.shutdown().await;
        client.shutdown().await;
    });
}

/// Before, nothing ever noticed that this one connection was gone, since it only listens: the client waited for ever.
#[test]
fn a_listener_that_the_network_has_forgotten_is_replaced_though_all_else_works() {
    on(async {
        let Some(url) = postgres::database().await else { return };
        let (proxy, through) = Proxy::before(&url);
        let watcher = Postgres::open(&through).await.unwrap();
        let other = World::postgres(&url).await;
        let mut news = ork::store::Store::notifier(&watcher).watch();
        // Nothing is written or read here while the network is away, so that no other connection tells of it.
        proxy.stall();
        proxy.is_noticed(1).await;
        let id = other.submit("one").await;
        other.store.apply(ork::tx::Cancel::new(id, other.by())).await.unwrap();
        proxy.go_on_with_new_connections();
        let told = timeout(Duration::from_mins(1), news.recv()).await.expect("no news");
        assert_eq!(told.unwrap(), ork::tx::StoreNotice::ChangedElsewhere);
        ork::store::Store::close(&watcher).await;
        other.store.close().await;
    });
}
