//! The job of the example `loc` on a large tree over RabbitMQ: the table is the same with one process, with several,
//! and with several of which one is killed half-way.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]

use ork_test_support::node;
mod support;

use serde_json::Value;
use support::Place;
use support::meeting::{LOC, Meeting, settled, tree};

#[test]
fn the_table_is_the_same_for_any_number_of_workers() {
    let Some(url) = node::shared_node() else { return };
    let place = Place::new();
    let expected = tree(&place, 1);
    assert!(expected.as_array().unwrap().last().unwrap()["files"].as_u64().unwrap() >= 5_000);
    assert_eq!(place.run(LOC, "run loc root=tree --json").json(), expected);

    for n_workers in [1, 3] {
        let meeting = Meeting::new(&place, url);
        let workers = meeting.workers(n_workers);
        let table = meeting.start("submit loc root=tree --wait --json").end().json();
        assert_eq!(table, expected, "by {n_workers}");
        meeting.is_whole();
        for worker in workers {
            worker.signal("TERM");
            assert_eq!(worker.end().code, Some(0));
        }
    }
}

#[test]
fn killing_a_worker_half_way_does_not_change_the_result() {
    let Some(url) = node::shared_node() else { return };
    let place = Place::new();
    // Files are long enough that a worker can be killed in the middle of the job.
    let expected = tree(&place, 30);
    for victim in 0..3 {
        let meeting = Meeting::new(&place, url);
        let mut workers = meeting.workers(3);
        let id = meeting.start("submit loc root=tree --json").end().json()["id"].as_str().unwrap().to_owned();
        let mut watch = meeting.start(&format!("jobs watch {id} --json"));
        let seen = watch.out_json(|status| status["parts"].is_object() && settled(status) >= 200);
        workers.remove(victim).kill();
        assert!(settled(&seen) < 1_011, "killed too late to show anything: {seen}");
        let watched = watch.end();
        assert_eq!(watched.code, Some(0), "{watched:?}");
        let table: Value = serde_json::from_str(watched.out.lines().last().unwrap()).unwrap();
        assert_eq!(table, expected, "without {victim}");
        meeting.is_whole();
    }
}
