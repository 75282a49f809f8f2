//! A task that always kills its process, beside harmless ones: it fails in the end, and none of the others does.

use std::time::Duration;

use ork::{FailureKind, JobState, task};
use tokio::time::sleep;

use super::node::private_node;
use super::postgres;
use super::processes::Place;

/// How long the harmless jobs take, and how many there are.
const HARMLESS: Duration = Duration::from_millis(300);
const N_HARMLESS: u64 = 12;

/// The pause between two checks whether a worker has ended, as a process gives no other sign.
const LOOK: Duration = Duration::from_millis(20);

#[task]
fn ends_its_process() {
    std::process::abort();
}

#[task]
async fn harmless(number: u64) -> u64 {
    // The task takes this long, so that it runs beside the one that ends the process.
    sleep(HARMLESS).await;
    number
}

/// Starts a worker process whenever the previous one has ended, until all jobs have ended.
fn beside_one_that_kills(place: &Place) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = place.builder().build().await.unwrap();
        let harmful = client.submit(ends_its_process {}).await.unwrap();
        let others = client.submit_all((0..N_HARMLESS).map(|number| harmless { number })).await.unwrap();
        let deaths = std::cell::Cell::new(0_u32);
        let workers = async {
            let mut worker = place.worker();
            loop {
                sleep(LOOK).await;
                if worker.has_ended() {
                    deaths.set(deaths.get() + 1);
                    worker = place.worker();
                }
            }
        };
        let jobs = async {
            for (number, job) in (0..).zip(&others) {
                assert_eq!(job.result().await.unwrap(), number, "a harmless job fails for its neighbour");
            }
            harmful.wait().await.unwrap().status().clone()
        };
        let within = Duration::from_mins(3);
        let status = tokio::select! {
            status = tokio::time::timeout(within, jobs) => status.expect("the jobs end"),
            () = workers => unreachable!("it continues"),
        };
        assert_eq!(status.state, JobState::Failed);
        assert_eq!(status.failure.as_ref().unwrap().kind, FailureKind::Lost, "{status:?}");
        // It is called once, and again after each loss that it may cause. The loss of the first call may go uncounted:
        // over SQLite, a claim is confirmed before it is written.
        let calls = place.losses + 1..=place.losses + 2;
        assert!(calls.contains(&deaths.get()), "{} workers have died", deaths.get());
        client.shutdown().await;
    });
}

#[test]
fn task_that_kills_its_process_fails_alone_over_sqlite() {
    let Some(rabbit) = private_node() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("ork.db").display());
    beside_one_that_kills(&Place { store, broker: rabbit.url(), prefix: "suspects".into(), losses: 3 });
}

#[test]
fn task_that_kills_its_process_fails_alone_over_postgres() {
    let (Some(rabbit), Some(server)) = (private_node(), postgres::private()) else { return };
    let store = server.url("postgres");
    beside_one_that_kills(&Place { store, broker: rabbit.url(), prefix: "suspects".into(), losses: 3 });
}
