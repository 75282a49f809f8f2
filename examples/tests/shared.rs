//! The job of the example `loc` over RabbitMQ and `PostgreSQL`, as on several computers: workers and the database are
//! killed, and the table is still the same.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]

use ork_test_support::{node, postgres};
mod support;

use serde_json::Value;
use support::meeting::{Meeting, PARTS, settled, tree};
use support::{Place, Process};

/// Submits the job, and waits until at least 200 of its parts have succeeded. Returns the id of the job.
fn half_way(meeting: &Meeting<'_>) -> String {
    let id = meeting.start("submit loc root=tree --json").end().json()["id"].as_str().unwrap().to_owned();
    let mut watch = meeting.start(&format!("jobs watch {id} --json"));
    let seen = watch.out_json(|status| status["parts"].is_object() && settled(status) >= 200);
    assert!(settled(&seen) < u64::try_from(PARTS).unwrap(), "too late to show anything: {seen}");
    watch.kill();
    id
}

/// Returns the table of a job.
fn table(meeting: &Meeting<'_>, id: &str) -> Value {
    let watched = meeting.start(&format!("jobs watch {id} --json")).end();
    assert_eq!(watched.code, Some(0), "{watched:?}");
    serde_json::from_str(watched.out.lines().last().unwrap()).unwrap()
}

fn stop(workers: Vec<Process>) {
    for worker in workers {
        worker.signal("TERM");
        let ended = worker.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn killing_a_worker_half_way_does_not_change_the_result() {
    let (Some(url), Some(server)) = (node::shared_node(), postgres::private()) else { return };
    let place = Place::new();
    let expected = tree(&place, 30);
    for victim in 0..3 {
        let database = server.url(&format!("jobs{victim}"));
        create(&server, victim);
        let meeting = Meeting::new(&place, url).over(&database);
        let mut workers = meeting.workers(3);
        let id = half_way(&meeting);
        workers.remove(victim).kill();
        assert_eq!(table(&meeting, &id), expected, "without {victim}");
        meeting.is_whole();
        stop(workers);
    }
}

fn create(server: &postgres::Server, n: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = postgres::connect(&server.url("postgres")).await;
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE jobs{n}"));
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    });
}

#[test]
fn killing_and_restarting_the_database_does_not_change_the_result() {
    let (Some(url), Some(mut server)) = (node::shared_node(), postgres::private()) else { return };
    let place = Place::new();
    let expected = tree(&place, 30);
    let meeting = Meeting::new(&place, url).over(&server.url("postgres"));
    let mut workers = meeting.workers(3);
    let id = half_way(&meeting);
    server.kill();
    // Each worker has retried for several seconds without success.
    for worker in &mut workers {
        worker.err_line(|line| line.contains("cannot reach the store") && line.contains("attempts=8"));
    }
    server.restart();
    assert_eq!(table(&meeting, &id), expected);
    meeting.is_whole();
    stop(workers);
}
