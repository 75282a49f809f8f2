//! What a process says to its PostgreSQL server, as the server has noted it.

use std::sync::Arc;
use std::time::Duration;

use ork::store::Store;
use ork::store::postgres::Postgres;
use ork::{Ork, WorkerId, task};
use sqlx::{AssertSqlSafe, Executor as _};

use super::counted::{Calls, CountedStore};
use super::postgres::{self, Server};
use super::world::World;

#[task]
fn rest() {}

/// The statements that were made so far.
fn statements(server: &Server) -> Vec<String> {
    let log = server.log();
    let made = log.lines().filter_map(|line| {
        let (_, statement) = line.split_once("LOG:  ")?;
        statement.strip_prefix("statement: ").or_else(|| Some(statement.strip_prefix("execute ")?.split_once(": ")?.1))
    });
    made.map(str::to_owned).collect()
}

/// The broken variant, a pump that looks once a second, was made by hand and failed it.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_makes_no_statements_but_those_of_its_heart() {
    let Some(server) = postgres::private() else { return };
    let url = postgres::create(&server.url("postgres")).await;
    let name = url.rsplit_once('/').unwrap().1;
    let noted = AssertSqlSafe(format!("ALTER DATABASE {name} SET log_statement = 'all'"));
    postgres::connect(&server.url("postgres")).await.execute(noted).await.unwrap();
    let calls = Calls::default();
    let store: Arc<dyn Store> = Arc::new(CountedStore(Arc::new(Postgres::open(&url).await.unwrap()), calls.clone()));
    let config = ork::Config::from(Some(std::path::Path::new("/dev/null")), []).unwrap();
    let ork = Ork::builder().config(config).ports(store, None, WorkerId::new("one")).build().await.unwrap();
    ork.start_worker();
    ork.submit(rest {}).and_wait().await.unwrap();
    // From one beat to the next, and to the one after it: what the job left to do is done in the first of these times.
    let mut made = Vec::new();
    for beat in 3..=5 {
        calls.reach("beat", beat).await;
        made.push(statements(&server).len());
    }
    let of_all = statements(&server);
    let between = of_all.get(made[1]..made[2]).unwrap();
    let hearts = between.iter().filter(|statement| statement.contains("INSERT INTO ork.worker")).count();
    // It begins, beats, looks for holders without a heartbeat and for free permits, asks for the time, and commits.
    assert!(hearts == 1 && between.len() <= 6, "{between:?}");
    ork.shutdown().await;
}

/// Fails on the code before: a crash of the server within a second lost it, and the rows stayed held by a process that
/// had dropped them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_is_on_disk_before_that_is_answered() {
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
