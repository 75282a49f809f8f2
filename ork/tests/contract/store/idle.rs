//! The statements that a process sends to PostgreSQL, according to the log of the server.

use std::sync::Arc;
use std::time::Duration;

use ork::{WorkerId, task};
use ork_ports::store::Store;
use ork_postgres::Postgres;
use sqlx::{AssertSqlSafe, Executor as _};

use super::counted::{Calls, CountedStore};
use super::postgres::{self, Server};
use super::world::World;

#[task]
fn rest() {}

/// Returns the statements that the server has executed so far.
fn statements(server: &Server) -> Vec<String> {
    let log = server.log();
    let made = log.lines().filter_map(|line| {
        let (_, statement) = line.split_once("LOG:  ")?;
        statement.strip_prefix("statement: ").or_else(|| Some(statement.strip_prefix("execute ")?.split_once(": ")?.1))
    });
    made.map(str::to_owned).collect()
}

/// Verified to fail with a pump that polls once a second.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_sends_only_heartbeat_statements() {
    let Some(server) = postgres::private() else { return };
    let url = postgres::create(&server.url("postgres")).await;
    let name = url.rsplit_once('/').unwrap().1;
    let noted = AssertSqlSafe(format!("ALTER DATABASE {name} SET log_statement = 'all'"));
    postgres::connect(&server.url("postgres")).await.execute(noted).await.unwrap();
    let calls = Calls::default();
    let store: Arc<dyn Store> = Arc::new(CountedStore(Arc::new(Postgres::open(&url).await.unwrap()), calls.clone()));
    let config = ork::Config::from(Some(std::path::Path::new("/dev/null")), []).unwrap();
    let ork = ork::builder().config(config).ports(store, None, WorkerId::new("one")).build().await.unwrap();
    ork.spawn_worker();
    ork.submit(rest {}).result().await.unwrap();
    // Counts the statements between two heartbeats. The first interval is skipped, as the job may still cause
    // statements in it.
    let mut made = Vec::new();
    for beat in 3..=5 {
        calls.reach("beat", beat).await;
        made.push(statements(&server).len());
    }
    let of_all = statements(&server);
    let between = of_all.get(made[1]..made[2]).unwrap();
    let hearts = between.iter().filter(|statement| statement.contains("INSERT INTO ork.process")).count();
    // The statements: begin, heartbeat, search for holders without a heartbeat, search for free permits, time, commit.
    assert!(hearts == 1 && between.len() <= 6, "{between:?}");
    ork.shutdown().await;
}

/// Regression: if the server crashed within a second, the release was lost, and the rows stayed held by a process that
/// had dropped them.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_on_disk_before_it_is_confirmed() {
    let Some(server) = postgres::private() else { return };
    let url = postgres::create(&server.url("postgres")).await;
    let name = url.rsplit_once('/').unwrap().1;
    let noted = AssertSqlSafe(format!("ALTER DATABASE {name} SET log_statement = 'all'"));
    postgres::connect(&server.url("postgres")).await.execute(noted).await.unwrap();
    let world = World::postgres(&url).await;
    world.beat_at(Duration::ZERO, Vec::new()).await;
    world.submit("any").await;
    let soft = |made: &[String]| made.iter().filter(|statement| statement.contains("synchronous_commit = off")).count();
    let before = statements(&server).len();
    let taken = world.take(1).await;
    let between = statements(&server).len();
    assert_eq!(soft(statements(&server).get(before..between).unwrap()), 1, "taking need not be");
    world.store.release_outbox(taken.iter().map(|row| row.id).collect(), world.by()).await.unwrap();
    assert_eq!(soft(statements(&server).get(between..).unwrap()), 0);
    world.store.close().await;
}
