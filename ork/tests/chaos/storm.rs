//! A storm: worker processes over one store are killed one after the other, while many small jobs run. No function of a
//! job is called while another call of it runs, unless the process of one of them was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use ork::{Clock as _, Context, Parts, Result, task};
use tokio::time::sleep;

use super::processes::{Place, Worker};

/// How many parts a job has, and how many processes there are.
const PARTS: u64 = 5;
const WORKERS: usize = 5;

/// How severe the storm is.
#[derive(Clone, Copy)]
struct StormConfig {
    jobs: u64,
    /// How long a join takes.
    join: Duration,
    /// The pause between two kills.
    pause: Duration,
}

const SHORT: StormConfig =
    StormConfig { jobs: 100, join: Duration::from_millis(300), pause: Duration::from_millis(700) };

/// Messages wait for longer than it takes until a process is presumed dead.
const LONG: StormConfig = StormConfig { jobs: 250, join: Duration::from_secs(3), pause: Duration::from_secs(2) };

#[task]
fn fold(log: String, millis: u64) -> (String, u64) {
    (log, millis)
}

#[task(part)]
fn fold_part(parts: u64, log: String, millis: u64) -> impl Iterator<Item = fold> {
    (0..parts).map(move |_| fold { log: log.clone(), millis })
}

#[task(join)]
async fn fold_join(parts: Parts<(String, u64)>, context: Context) -> Result<u64> {
    let mut parts = parts.all_ok()?;
    let (log, millis) = parts.next().await.unwrap()?;
    note(&log, &context, "start");
    // The join takes this long, so that a second one would overlap with it.
    sleep(Duration::from_millis(millis)).await;
    note(&log, &context, "end");
    Ok(1)
}

/// Writes one line, in one write.
fn note(log: &str, context: &Context, what: &str) {
    let now = ork_runtime::clock::system::SystemClock.now().as_millis();
    let line = format!("{} {} {now} {what}\n", context.job_id(), std::process::id());
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// Returns the calls of the join of each job: when each started, in which process, and when it ended.
fn calls(log: &Path) -> BTreeMap<String, BTreeMap<(i64, u32), Option<i64>>> {
    let mut calls: BTreeMap<_, BTreeMap<(i64, u32), Option<i64>>> = BTreeMap::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        let [job, process, at, what] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (process, at) = (process.parse().unwrap(), at.parse().unwrap());
        let of_job = calls.entry(job.to_owned()).or_default();
        if what == "start" {
            of_job.insert((at, process), None);
        } else {
            let started = of_job.iter_mut().rev().find(|((_, of), end)| *of == process && end.is_none());
            *started.expect("it has started").1 = Some(at);
        }
    }
    calls
}

fn storm(StormConfig { jobs: n_jobs, join, pause }: StormConfig, store: &str, broker: &str, folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Place { store: store.to_owned(), broker: broker.to_owned(), prefix: "storm".into(), losses: 50 };
        let client = place.builder().build().await.unwrap();
        let log = folder.join("calls");
        let path = log.display().to_string();
        let mut workers: Vec<Worker> = (0..WORKERS).map(|_| place.worker()).collect();
        let millis = u64::try_from(join.as_millis()).unwrap();
        let messages = (0..n_jobs).map(|_| fold_part { parts: PARTS, log: path.clone(), millis });
        let jobs = client.submit_all(messages).await.unwrap();
        let all = async {
            for job in &jobs {
                assert_eq!(job.result().await.unwrap(), 1);
            }
        };
        let killed = std::cell::RefCell::new(BTreeSet::new());
        let kills = async {
            for at in (0..WORKERS).cycle() {
                // The storm: one worker is killed after each pause.
                sleep(pause).await;
                let worker = std::mem::replace(&mut workers[at], place.worker());
                killed.borrow_mut().insert(worker.process());
                worker.kill();
            }
        };
        let in_time = tokio::time::timeout(Duration::from_mins(4), async {
            tokio::select! {
                () = all => {}
                () = kills => {}
            }
        });
        in_time.await.expect("the jobs end");
        let killed = killed.into_inner();
        client.shutdown().await;
        let (mut again, mut overlapping) = (0, Vec::new());
        for (job, calls) in calls(&log) {
            again += calls.len() - 1;
            let of_living: Vec<_> = calls.iter().filter(|((_, process), _)| !killed.contains(process)).collect();
            for pair in of_living.windows(2) {
                let (((_, first), end), ((begin, second), _)) = (pair[0], pair[1]);
                if end.is_none_or(|end| end > *begin) {
                    overlapping.push(format!("{job}: {calls:?} in {first} and {second}"));
                }
            }
        }
        println!("{} workers killed, {again} joins called again", killed.len());
        for worker in workers {
            worker.drain();
        }
        assert!(overlapping.is_empty(), "{} of {n_jobs}: {overlapping:#?}", overlapping.len());
    });
}

#[test]
fn no_join_runs_in_two_live_processes_at_once_over_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("ork.db").display());
    storm(SHORT, &store, "embedded", folder.path());
}

#[test]
fn no_join_runs_in_two_live_processes_at_once_over_rabbitmq() {
    let Some(rabbit) = super::node::private_node() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("ork.db").display());
    storm(LONG, &store, &rabbit.url(), folder.path());
}
