//! A server whose disk is full: the error explains it, nothing is acknowledged that was not written, and work
//! continues once there is room.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ork::{Filter, JobId};
use ork_core::job::Job;
use ork_core::tx::{NewJob, Submit, Submitted};
use ork_ports::store::StoreErrorKind;
use sqlx::Row as _;

use super::postgres::{self, Server};
use super::world::{START, World, on};

fn submit(world: &World) -> Submit {
    let job = Job::new(JobId::new(), "one", START);
    Submit::new(NewJob { job, input: "{}".into() }, world.by())
}

/// Returns the file that contains the jobs.
async fn file(server: &Server) -> String {
    let path = sqlx::query("SELECT pg_relation_filepath('ork.job')");
    path.fetch_one(&mut postgres::connect(&server.url("postgres")).await).await.unwrap().get(0)
}

/// Terminates all connections of stores, including open transactions.
async fn disconnect(server: &Server) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::raw_sql(end).execute(&mut postgres::connect(&server.url("postgres")).await).await.unwrap();
}

/// The error of the server if it has no room.
const FULL: &str = "ERROR:  could not extend file";

/// Returns how often the server has logged this error.
fn attempts(server: &Server) -> usize {
    server.log().matches(FULL).count()
}

/// Follows the log of the server until it contains the error this many times.
fn follow(log: &Path, times: usize) {
    let mut tail = Command::new("tail").args(["-n", "+1", "-F"]).arg(log).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.filter(|line| line.contains(FULL)).take(times).count(), times);
    tail.kill().unwrap();
    tail.wait().unwrap();
}

async fn count(world: &World) -> usize {
    world.store.jobs(Filter { limit: 100, ..Filter::default() }).await.unwrap().len()
}

#[test]
fn a_full_disk_is_reported_and_work_continues_once_there_is_room() {
    let Some(server) = postgres::private() else { return };
    on(async {
        let world = World::postgres(&server.url("postgres")).await;
        let file = file(&server).await;
        disconnect(&server).await;
        server.fill(&file);
        let within = Duration::from_secs(20);
        let answer = tokio::time::timeout(within, world.store.apply(submit(&world))).await.expect("too late");
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("cannot grow: the server's disk is full"), "{error}");
        // The write was retried with increasing pauses as long as its caller waited, and then no longer.
        let tried = attempts(&server);
        assert!((2..20).contains(&tried), "{tried} attempts");
        // Longer than the longest pause between two attempts; that none is made gives no signal.
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(attempts(&server), tried, "no caller waits, and it is tried again");

        // A write that waits while room becomes available is done, once.
        let (store, waiting) = (Arc::clone(&world.store), submit(&world));
        let again = waiting.clone();
        let waiting = tokio::spawn(async move { store.apply(waiting).await });
        let log = server.folder().join("log");
        tokio::task::spawn_blocking(move || follow(&log, tried + 1)).await.unwrap();
        server.empty(&file);
        disconnect(&server).await;
        assert_eq!(waiting.await.unwrap().unwrap().output, Submitted::Created);
        assert_eq!(count(&world).await, 1, "what failed was not written");
        assert_eq!(world.apply(again).await, Submitted::Exists);
        world.apply(submit(&world)).await;
        assert_eq!((world.take(10).await.len(), count(&world).await), (2, 2));
        world.store.close().await;
    });
}
