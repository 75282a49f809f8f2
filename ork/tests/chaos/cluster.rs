//! Rounds of chaos over three RabbitMQ nodes, one of which at a time is killed and restarted, among other faults.

use super::audit::audit;
use super::cluster_of::Cluster;
use super::node::can_start_nodes;
use super::processes::{Place, Worker};
use super::rounds::{in_rounds, until};
use super::tasks::{last, storm_part};

/// The node or process that is killed.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The node that leads the queue of the parts; its clients go to another node.
    Leader,
    /// A node that follows.
    Follower,
    Worker,
}

const FAULTS: [Fault; 6] =
    [Fault::Leader, Fault::Follower, Fault::Leader, Fault::Follower, Fault::Worker, Fault::Worker];

async fn round(cluster: &mut Cluster, parts: u64, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("ork.db").display());
    let place = Place { store, broker: cluster.urls(0), prefix: format!("n{seed:x}"), losses: 50 };
    let client = place.builder().build().await.unwrap();
    let queue = format!("{}.task.storm", place.prefix);
    for node in &cluster.nodes {
        node.wait_for_quorum_queue(&queue);
    }
    // Each worker begins with another node.
    let places = [0, 1, 2].map(|first| place.by(cluster.urls(first)));
    let mut workers = places.each_ref().map(Place::worker);
    let log = folder.path().join("log").display().to_string();
    let job = client.submit(storm_part { parts, seed, log: log.clone() }).await.unwrap();

    let mut faults = FAULTS;
    rng.shuffle(&mut faults);
    for (n, fault) in (0..).zip(faults) {
        // In the middle of its share of the job.
        let when = (n * 10 + rng.u64(1..6)) * parts / 70;
        until(&client, job.id(), when).await;
        println!("seed {seed}: {fault:?} killed at {when} of {parts}");
        let leader = cluster.leader(&queue);
        let at = match fault {
            Fault::Leader => leader,
            Fault::Follower => (leader + rng.usize(1..3)) % 3,
            Fault::Worker => {
                let at = rng.usize(..workers.len());
                std::mem::replace(&mut workers[at], places[at].worker()).kill();
                continue;
            }
        };
        cluster.nodes[at].kill();
        // The other two nodes continue without it.
        until(&client, job.id(), when + parts / 20).await;
        cluster.nodes[at].restart();
    }
    let sum = job.result().await;
    if sum.is_err() {
        let settled = client.part_outputs(job.id(), 0, usize::MAX).await.unwrap();
        panic!("{sum:?}: {:?}", settled.iter().find(|part| part.failure.is_some()));
    }
    assert_eq!(sum.unwrap(), parts * (parts - 1) / 2);
    assert_eq!(client.submit(last { number: 1 }).result().await.unwrap(), 1);
    client.shutdown().await;
    workers.into_iter().for_each(Worker::drain);
    let splits = std::fs::read_to_string(&log).unwrap().lines().count();
    assert!((1..=1 + FAULTS.len()).contains(&splits), "the split ran {splits} times");
    audit(&place.by(cluster.nodes[0].url()), job.id(), parts).await;
}

#[test]
#[ignore = "long: .ci/prove --long"]
fn rounds_over_a_cluster_lose_and_duplicate_nothing() {
    if !can_start_nodes() {
        return;
    }
    let mut cluster = Cluster::start();
    in_rounds(3, async |seed| round(&mut cluster, 10_000, seed).await);
}
