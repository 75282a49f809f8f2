//! Rounds of chaos. The seed determines the faults, and how far the job is at each of them.

use std::time::Duration;

use futures_util::StreamExt as _;
use ork::{JobId, Ork};

use super::audit::audit;
use super::events;
use super::node::private_node;
use super::postgres::{self, Server};
use super::processes::{Place, Worker};
use super::proxy::Proxy;
use super::rabbit::Rabbit;
use super::tasks::{last, storm_part};

/// The deadline of a round of this many parts, which only a round that hangs reaches.
const DEADLINE: Duration = Duration::from_mins(5);

/// How many workers there are, and how many faults a round has.
const WORKERS: usize = 3;
const FAULTS: usize = 6;

/// A fault of a round.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillWorker(usize),
    KillRabbit,
    CutConnections,
    /// Only if there is a PostgreSQL server.
    KillPostgres,
}

/// The services that the processes share, private to the rounds.
struct Services {
    rabbit: Rabbit,
    /// If `None`, they share an `SQLite` file.
    postgres: Option<Server>,
}

fn seed() -> u64 {
    std::env::var("ORK_TEST_SEED").ok().map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a seed"))
}

/// Waits until this many parts have settled, or the job has ended.
pub(crate) async fn until(ork: &Ork, id: JobId, settled: u64) {
    let mut progress = std::pin::pin!(ork.watch(id));
    while let Some(status) = progress.next().await {
        if status.unwrap().parts.settled() >= settled {
            return;
        }
    }
}

async fn round(Services { rabbit, postgres }: &mut Services, parts: u64, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let place = Place {
        store: match postgres {
            Some(server) => postgres::create(&server.url("postgres")).await,
            None => format!("sqlite:{}", folder.path().join("ork.db").display()),
        },
        broker: rabbit.url(),
        prefix: format!("c{seed:x}"),
        losses: 50,
    };
    let proxy = Proxy::to(rabbit.port());
    let through = place.by(format!("amqp://guest:guest@127.0.0.1:{}/%2f", proxy.port()));
    let client = place.builder().build().await.unwrap();
    rabbit.wait_for_quorum_queue("task.storm");
    events::listen(&place).await;
    rabbit.wait_for_quorum_queue("received");
    let start = |at: usize| if at.is_multiple_of(2) { place.worker() } else { through.worker() };
    let mut workers: Vec<Worker> = (0..WORKERS).map(start).collect();
    let log = folder.path().join("log").display().to_string();
    let job = client.submit(storm_part { parts, seed, log: log.clone() }).await.unwrap();

    let mut faults: Vec<_> = (0..FAULTS)
        .map(|n| {
            let fault = match n {
                0 => Fault::KillRabbit,
                1 => Fault::CutConnections,
                2 if postgres.is_some() => Fault::KillPostgres,
                _ => Fault::KillWorker(rng.usize(..WORKERS)),
            };
            (rng.u64(..parts * 9 / 10), fault)
        })
        .collect();
    faults.sort_unstable_by_key(|(when, _)| *when);
    for (when, fault) in faults {
        until(&client, job.id(), when).await;
        println!("seed {seed}: {fault:?} at {when} of {parts}");
        match fault {
            Fault::KillWorker(at) => {
                std::mem::replace(&mut workers[at], start(at)).kill();
            }
            Fault::KillRabbit => {
                rabbit.kill();
                rabbit.restart();
            }
            Fault::CutConnections => proxy.cut(),
            Fault::KillPostgres => {
                let server = postgres.as_mut().unwrap();
                server.kill();
                server.restart();
            }
        }
    }
    let sum = job.result().await.unwrap();
    assert_eq!(sum, parts * (parts - 1) / 2);
    assert_eq!(client.submit(last { number: 1 }).result().await.unwrap(), 1);
    client.shutdown().await;
    for worker in workers {
        worker.drain();
    }
    let splits = std::fs::read_to_string(&log).unwrap().lines().count();
    assert!((1..=1 + FAULTS).contains(&splits), "the split ran {splits} times");
    audit(&place, job.id(), parts).await;
    events::audit(&place, job.id(), parts).await;
}

/// Rounds over an `SQLite` file.
fn over_sqlite(n: u64, parts: u64) {
    let Some(rabbit) = private_node() else { return };
    rounds(Services { rabbit, postgres: None }, n, parts);
}

/// Rounds over PostgreSQL.
fn over_postgres(n: u64, parts: u64) {
    let (Some(rabbit), Some(server)) = (private_node(), postgres::private()) else { return };
    rounds(Services { rabbit, postgres: Some(server) }, n, parts);
}

fn rounds(mut services: Services, n: u64, parts: u64) {
    in_rounds(n, async |seed| round(&mut services, parts, seed).await);
}

/// Runs `n` rounds, each with its own seed.
pub(crate) fn in_rounds(n: u64, mut round: impl AsyncFnMut(u64)) {
    let first = seed();
    for seed in (0..n).map(|n| first.wrapping_add(n)) {
        println!("seed {seed}: ORK_TEST_SEED={seed} runs it again");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let in_time = tokio::time::timeout(DEADLINE, round(seed)).await;
            assert!(in_time.is_ok(), "seed {seed} hangs");
        });
        runtime.shutdown_background();
    }
}

#[test]
fn short_round_loses_and_duplicates_nothing() {
    over_sqlite(1, 2_000);
}

#[test]
fn short_round_over_postgres_loses_and_duplicates_nothing() {
    over_postgres(1, 2_000);
}

#[test]
#[ignore = "long: .ci/prove --long"]
fn twenty_long_rounds_lose_and_duplicate_nothing() {
    // Half of them over each store.
    let n: u64 = std::env::var("ORK_TEST_ROUNDS").map_or(20, |n| n.parse().expect("a number of rounds"));
    over_sqlite(n.div_ceil(2), 20_000);
    over_postgres(n / 2, 20_000);
}
