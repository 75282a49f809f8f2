//! Sets of parts without a store, one after the other on one worker.

use std::time::Duration;

use ork::{JobId, Ork, Parts, Result, task};

use crate::footprint::Footprint;
use crate::on_a_narrow_node;
use crate::rabbit::Rabbit;

#[task(queue = "parts")]
pub fn number(value: u64) -> u64 {
    value
}

#[task(part)]
pub fn number_part(count: u64) -> impl Iterator<Item = number> {
    (0..count).map(|value| number { value })
}

#[task(join)]
pub fn number_join(parts: Parts<u64>) -> Result<u64> {
    parts.all_ok()?.into_iter().sum()
}

async fn worker(node: &Rabbit) -> Ork {
    let config = ork::Config::from(Some("/dev/null".as_ref()), []).unwrap();
    let prefix = format!("t{}", &JobId::new().to_string()[20..]);
    let builder = ork::builder().config(config).store("none").broker(node.url()).set("prefix", &prefix);
    let ork = builder.build().await.unwrap();
    ork.spawn_worker();
    ork
}

/// Runs one set of `parts` parts to its end.
async fn one(ork: &Ork, job: u64, parts: u64) {
    let sum = ork.submit(number_part { count: parts }).result();
    let sum = tokio::time::timeout(Duration::from_secs(30), sum).await;
    assert_eq!(sum.unwrap_or_else(|_| panic!("job {job} does not end")).unwrap(), parts * (parts - 1) / 2);
}

/// Runs `jobs` jobs of `parts` parts, the first quarter to warm up. What has grown after that may be a buffer, which
/// grows once when the machine is busy; a leak grows each time.
fn sets(jobs: u64, parts: u64, within: Duration) {
    on_a_narrow_node(within, async |node| {
        let ork = worker(node).await;
        let what = format!("{jobs} sets of {parts} parts");
        for job in 0..jobs / 4 {
            one(&ork, job, parts).await;
        }
        let mut growths = Vec::new();
        while growths.len() < 3 {
            let before = Footprint::now(node);
            for job in jobs / 4..jobs {
                one(&ork, job, parts).await;
            }
            let Some(growth) = before.growth(Footprint::now(node), &what) else { break };
            growths.push(growth);
        }
        assert!(growths.len() < 3, "{}", growths.join("; then "));
        ork.shutdown().await;
    });
}

/// Regression: no job used to end after about the fourth, because each part that found its queue full leaked one or two
/// channels.
#[test]
fn sets_without_a_store_leak_no_channels() {
    sets(60, 100, Duration::from_mins(3));
}

#[test]
#[ignore = "long: .ci/prove --long"]
fn thousands_of_sets_without_a_store_leak_nothing() {
    sets(3_000, 40, Duration::from_mins(20));
}

/// An hour of real time, with two sets a second.
#[test]
#[ignore = "an hour: cargo test -p ork --test growth -- --ignored --nocapture hour"]
fn an_hour_of_sets_without_a_store_leaks_nothing() {
    const SETS: u64 = 2 * 60 * 60;
    on_a_narrow_node(Duration::from_mins(90), async |node| {
        let ork = worker(node).await;
        let mut warm = None;
        let mut turn = tokio::time::interval(Duration::from_millis(500));
        for set in 1..=SETS {
            turn.tick().await;
            one(&ork, set, 40).await;
            if set % (SETS / 12) == 0 {
                println!("{set} sets: {:?}", Footprint::now(node));
            }
            if set == SETS / 4 {
                warm = Some(Footprint::now(node));
            }
        }
        warm.unwrap().is_as_large_as(Footprint::now(node), &format!("{SETS} sets in an hour"));
        ork.shutdown().await;
    });
}
