//! The tasks that the tests run. They share a few queues, because every test declares all of them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use ork::{Context, Error, Parts, Result, task};
use tokio::sync::{Semaphore, watch};

#[task(queue = "plain")]
pub(crate) fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[task(queue = "plain")]
pub(crate) async fn hello(name: String) -> String {
    format!("hello {name}")
}

/// A share of a whole.
#[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct Share(#[schemars(range(min = 0, max = 1))] pub(crate) f64);

#[task(queue = "plain")]
pub(crate) fn percent(share: Share) -> f64 {
    share.0 * 100.0
}

#[task(queue = "plain")]
pub(crate) fn fails(message: String) -> Result<()> {
    Err(Error::permanent(message))
}

#[task(queue = "plain")]
pub(crate) fn panics(message: String) {
    panic!("{message}");
}

#[task(queue = "plain", retries = 3, backoff = "5ms")]
pub(crate) async fn succeeds_at(attempt: u32, context: Context) -> Result<u32> {
    if context.attempt() < attempt {
        return Err(Error::new(format!("attempt {}", context.attempt())));
    }
    Ok(context.attempt())
}

#[task(queue = "plain")]
pub(crate) async fn gated(key: String) -> String {
    called(&key);
    Gate::of(&key).pass().await;
    key
}

/// Only one job at a time, by its unique key.
#[task(queue = "plain", unique = "lone")]
pub(crate) async fn lone(key: String) -> String {
    gated(key).await
}

#[task(queue = "plain")]
pub(crate) async fn listens(key: String, context: Context) {
    Gate::of(&key).inside.add_permits(1);
    context.cancelled().cancelled().await;
    Gate::of(&key).left.add_permits(1);
}

/// Records the order of calls.
#[task(queue = "line")]
pub(crate) async fn low(run: String) {
    ORDER.lock().unwrap().push(format!("{run} low"));
}

#[task(queue = "line", priority = 9)]
pub(crate) async fn high(run: String) {
    ORDER.lock().unwrap().push(format!("{run} high"));
}

/// The calls in order, across tasks.
pub(crate) static ORDER: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// One part: returns its number. The first `hold` parts to arrive pass immediately, the others wait at the gate; the
/// broker decides which those are. A part with `fail` fails until its run is marked as healed.
#[task(queue = "parts", retries = 1, backoff = "1ms")]
pub(crate) async fn count(number: u64, run: String, hold: u64, fail: bool, context: Context) -> Result<u64> {
    called(&format!("{run}.{number}"));
    assert_eq!(context.parallel_index(), number);
    if u64::from(called(&format!("{run}.began"))) > hold {
        Gate::of(&run).pass().await;
    }
    if fail && calls(&format!("{run}.healed")) == 0 {
        return Err(Error::permanent(format!("part {number} failed on request")));
    }
    Ok(number)
}

#[task(part)]
pub(crate) fn count_part(count: u64, run: String, hold: u64, failing: Vec<u64>) -> impl Iterator<Item = count> {
    called(&format!("{run}.split"));
    (0..count).map(move |number| count { number, run: run.clone(), hold, fail: failing.contains(&number) })
}

/// Returns the sum if every part has succeeded.
#[task(join)]
pub(crate) fn count_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    called(&format!("{}.join", context.job_id()));
    parts.all_ok()?.into_iter().sum()
}

/// A part whose siblings are skipped once one has failed.
#[task(queue = "parts")]
pub(crate) async fn strict(number: u64, run: String) -> Result<()> {
    called(&format!("{run}.ran"));
    // Whichever parts are first, enough of them fail.
    if number.is_multiple_of(50) {
        return Err(Error::permanent("a fiftieth fails"));
    }
    Gate::of(&run).pass().await;
    Ok(())
}

#[task(part, on_error = "stop")]
pub(crate) fn strict_part(count: u64, run: String) -> Vec<strict> {
    (0..count).map(|number| strict { number, run: run.clone() }).collect()
}

/// The number of calls by key, across tasks.
static CALLS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

pub(crate) fn called(key: &str) -> u32 {
    let mut calls = CALLS.lock().unwrap();
    let calls = calls.entry(key.to_owned()).or_insert(0);
    *calls += 1;
    *calls
}

pub(crate) fn calls(key: &str) -> u32 {
    CALLS.lock().unwrap().get(key).copied().unwrap_or(0)
}

static GATES: LazyLock<Mutex<HashMap<String, Arc<Gate>>>> = LazyLock::new(Mutex::default);

/// A gate that a test opens once, for all calls now and later.
pub(crate) struct Gate {
    inside: Semaphore,
    left: Semaphore,
    open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn of(key: &str) -> Arc<Self> {
        let gate =
            || Arc::new(Self { inside: Semaphore::new(0), left: Semaphore::new(0), open: watch::channel(false).0 });
        Arc::clone(GATES.lock().unwrap().entry(key.to_owned()).or_insert_with(gate))
    }

    pub(crate) async fn pass(&self) {
        self.inside.add_permits(1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }

    /// Waits until `n` more calls have reached the gate.
    pub(crate) async fn entered(&self, n: u32) {
        self.inside.acquire_many(n).await.unwrap().forget();
    }

    /// Waits until one more listening call has noticed its cancellation.
    pub(crate) async fn cancel_noticed(&self) {
        self.left.acquire().await.unwrap().forget();
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}
