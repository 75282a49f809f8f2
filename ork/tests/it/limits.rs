//! Concurrency limits: as many calls run at once as allowed, across all processes of a store, and all of them run.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use ork::{CancelMode, Context, JobState, Ork, Parts, Result, WaitsFor, task};

use super::tasks::{Gate, called, calls};
use super::world::{World, each};

/// How many calls run now, and how many ran at once at most, by key.
static RUNNING: LazyLock<Mutex<HashMap<String, (u32, u32)>>> = LazyLock::new(Mutex::default);

/// A running call, until it is dropped.
struct Runs(String);

impl Runs {
    fn now(key: &str) -> Self {
        let mut running = RUNNING.lock().unwrap();
        let (now, most) = running.entry(key.to_owned()).or_default();
        *now += 1;
        *most = (*most).max(*now);
        Self(key.to_owned())
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        RUNNING.lock().unwrap().get_mut(&self.0).unwrap().0 -= 1;
    }
}

fn most(key: &str) -> u32 {
    RUNNING.lock().unwrap().get(key).map_or(0, |(_, most)| *most)
}

/// Gives other calls time to start.
async fn yield_often() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[task(concurrency = 3, retries = 2, backoff = "1ms")]
async fn narrow(run: String, number: u64, context: Context) -> Result<u64> {
    let _runs = Runs::now(&run);
    yield_often().await;
    called(&format!("{run}.{number}"));
    // A call that fails, panics or is retried releases its permit, too.
    match number {
        5 if context.attempt() == 1 => Err(ork::Error::new("not yet")),
        6 => Err(ork::Error::permanent("never")),
        7 => panic!("on purpose"),
        _ => Ok(number),
    }
}

#[task(part, tolerate = 2)]
fn narrow_part(run: String, count: u64) -> impl Iterator<Item = narrow> {
    (0..count).map(move |number| narrow { run: run.clone(), number })
}

#[task(join)]
fn narrow_join(parts: Parts<u64>) -> u64 {
    parts.counts().succeeded
}

#[task(concurrency(2, key = "tenant"))]
async fn per_tenant(tenant: String, run: String) {
    let _all = Runs::now(&run);
    let _runs = Runs::now(&format!("{run}.{tenant}"));
    yield_often().await;
}

#[task(concurrency = 1)]
fn blocking_narrow(run: String) {
    let _runs = Runs::now(&run);
    std::thread::yield_now();
}

#[task(concurrency = 1)]
async fn one_at_a_time(key: String) {
    let gate = Gate::of(&key);
    gate.entered_by_one();
    gate.opened().await;
}

/// The process of a world, and a second one if processes can share the store.
async fn two(world: &World) -> Option<Ork> {
    let another = world.another().await?;
    another.spawn_worker();
    Some(another)
}

#[test]
fn no_more_parts_than_permits_run_at_once_and_all_of_them_run() {
    each(|world| async move {
        let another = two(&world).await;
        let run = ork::JobId::new().to_string();
        let job = world.ork.submit(narrow_part { run: run.clone(), count: 200 }).await.unwrap();
        assert_eq!(job.result().await.unwrap(), 198);
        assert_eq!(most(&run), 3, "that many ran at once");
        for number in 0..200 {
            let expected = if [5, 7].contains(&number) { 2..=3 } else { 1..=1 };
            assert!(expected.contains(&calls(&format!("{run}.{number}"))), "part {number}");
        }
        if let Some(another) = another {
            another.shutdown().await;
        }
        world.end().await;
    });
}

#[test]
fn jobs_are_limited_like_parts() {
    each(|world| async move {
        let another = two(&world).await;
        let run = ork::JobId::new().to_string();
        let jobs = (0..60).map(|_| blocking_narrow { run: run.clone() });
        for job in world.ork.submit_all(jobs).await.unwrap() {
            job.result().await.unwrap();
        }
        assert_eq!(most(&run), 1);
        if let Some(another) = another {
            another.shutdown().await;
        }
        world.end().await;
    });
}

#[test]
fn each_value_of_a_limit_key_has_its_own_limit() {
    each(|world| async move {
        let run = ork::JobId::new().to_string();
        let jobs = (0..120).map(|n| per_tenant { tenant: format!("tenant {}", n % 4), run: run.clone() });
        for job in world.ork.submit_all(jobs).await.unwrap() {
            job.result().await.unwrap();
        }
        for tenant in 0..4 {
            assert!((1..=2).contains(&most(&format!("{run}.tenant {tenant}"))));
        }
        assert!((1..=8).contains(&most(&run)), "{}", most(&run));
        world.end().await;
    });
}

#[task(concurrency(1, key = "of"))]
async fn by_value(of: serde_json::Value, run: String) -> serde_json::Value {
    let _runs = Runs::now(&run);
    yield_often().await;
    of
}

/// Regression: each JSON notation of a key used to have its own limit, and long values with a common beginning shared
/// one.
#[test]
fn limit_keys_are_compared_as_values() {
    let long = |end: &str| format!("\"{}{end}\"", "long ".repeat(200));
    let (one, other) = (long("one"), long("other"));
    let cases: [(&[&str], u32); 5] = [
        (&["\"\u{e9}\"", "\"\\u00e9\""], 1),
        (&["1", "1.0", "10e-1"], 1),
        (&[r#"{"a":1,"b":[2]}"#, r#"{ "b": [2.0], "a": 1 }"#], 1),
        (&[&one, &one], 1),
        (&[&one, &other], 2),
    ];
    for (forms, expected) in cases {
        each(|world| async move {
            let run = ork::JobId::new().to_string();
            let body = |form: &str| format!(r#"{{"of":{form},"run":"{run}"}}"#);
            let mut jobs = Vec::new();
            for _ in 0..20 {
                for form in forms {
                    jobs.push(world.ork.submit_json("by_value", body(form).into()).await.unwrap());
                }
            }
            for job in jobs {
                assert_eq!(world.outcome(job).await.status().state, JobState::Succeeded);
            }
            assert!(most(&run) <= expected, "{} at once of {forms:?}", most(&run));
            world.end().await;
        });
    }
}

/// `why` reports a job that waits for a permit, and a cancel reaches it there.
#[test]
fn job_that_waits_for_a_permit_reports_so_and_can_be_cancelled() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let first = world.ork.submit(one_at_a_time { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let second = world.ork.submit(one_at_a_time { key: key.clone() }).await.unwrap();
        let third = world.ork.submit(one_at_a_time { key: key.clone() }).await.unwrap();
        let why = loop {
            let why = world.ork.why(third.id()).await.unwrap();
            if why.waits_for == WaitsFor::Permit {
                break why;
            }
            tokio::task::yield_now().await;
        };
        let expected = "is waiting for a permit of the concurrency limit `one_at_a_time`: 1 of 1 in use";
        assert!(why.sentence.contains(expected), "{why}");
        second.cancel(CancelMode::Immediate).await.unwrap();
        Gate::of(&key).open();
        first.result().await.unwrap();
        // The cancelled job does not keep the permit from the next job.
        Gate::of(&key).entered().await;
        Gate::of(&key).open();
        third.result().await.unwrap();
        assert_eq!(second.status().await.unwrap().state, JobState::Cancelled);
        world.end().await;
    });
}

/// Otherwise the permit that a job held when it was cancelled would be lost to all other jobs.
#[test]
fn cancelled_call_releases_its_permit() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        for _ in 0..3 {
            let job = world.ork.submit(one_at_a_time { key: key.clone() }).await.unwrap();
            Gate::of(&key).entered().await;
            job.cancel(CancelMode::Immediate).await.unwrap();
        }
        world.end().await;
    });
}
