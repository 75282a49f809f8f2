//! The tasks that the tests run.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use ork::{Context, Error, Parts, Result, State, task};

pub(crate) struct Greeting(pub(crate) String);

#[task]
pub(crate) async fn greet(name: String, greeting: State<Greeting>) -> String {
    format!("{} {name}", greeting.0)
}

#[task]
pub(crate) fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[task]
pub(crate) fn fails(message: String) -> Result<()> {
    Err(Error::permanent(message))
}

#[task]
pub(crate) fn panics(message: String) {
    panic!("{message}");
}

#[task]
pub(crate) async fn panics_async(message: String) {
    panic!("{message}");
}

#[task(timeout = "50ms")]
pub(crate) async fn never() {
    std::future::pending::<()>().await;
}

#[task(timeout = "50ms")]
pub(crate) fn blocks_for_ever(context: Context) {
    // It ends with the test and not with the timeout, as it does not listen for cancellation.
    let _context = context;
    let (_keep, receiver) = std::sync::mpsc::channel::<()>();
    let _never = receiver.recv_timeout(std::time::Duration::from_secs(5));
}

#[task]
pub(crate) fn unwritable() -> Vec<Unwritable> {
    vec![Unwritable]
}

#[derive(schemars::JsonSchema)]
pub(crate) struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("this cannot be written"))
    }
}

/// Counts calls by key, across tasks.
pub(crate) static CALLS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

pub(crate) fn called(key: &str) -> u32 {
    *CALLS.lock().unwrap().entry(key.to_owned()).and_modify(|n| *n += 1).or_insert(1)
}

pub(crate) fn calls(key: &str) -> u32 {
    CALLS.lock().unwrap().get(key).copied().unwrap_or(0)
}

#[task(retries = 3, backoff = "5ms")]
pub(crate) async fn succeeds_at(attempt: u32, context: Context) -> Result<u32> {
    if context.attempt() < attempt {
        return Err(Error::new(format!("attempt {}", context.attempt())));
    }
    Ok(context.attempt())
}

/// Gates that tests open.
static GATES: LazyLock<Mutex<HashMap<String, Arc<Gate>>>> = LazyLock::new(Mutex::default);

pub(crate) struct Gate {
    entered: tokio::sync::Semaphore,
    open: tokio::sync::Semaphore,
}

impl Gate {
    pub(crate) fn of(key: &str) -> Arc<Self> {
        let shut = || tokio::sync::Semaphore::new(0);
        let gate = || Arc::new(Self { entered: shut(), open: shut() });
        Arc::clone(GATES.lock().unwrap().entry(key.to_owned()).or_insert_with(gate))
    }

    /// Waits at the gate until it is opened.
    pub(crate) async fn pass(&self) {
        self.entered.add_permits(1);
        self.opened().await;
    }

    /// Waits until a call waits at the gate.
    pub(crate) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    /// Records that a call waits at the gate.
    pub(crate) fn entered_by_one(&self) {
        self.entered.add_permits(1);
    }

    pub(crate) fn open(&self) {
        self.open.add_permits(1);
    }

    /// Waits until the gate is opened for one call.
    pub(crate) async fn opened(&self) {
        self.open.acquire().await.unwrap().forget();
    }
}

#[task]
pub(crate) async fn gated(key: String) -> String {
    called(&key);
    Gate::of(&key).pass().await;
    key
}

#[task]
pub(crate) async fn listens(key: String, context: Context) -> String {
    Gate::of(&key).entered.add_permits(1);
    context.cancelled().cancelled().await;
    called(&key);
    key
}

/// Fails once, then returns whether it has not been cancelled.
#[task]
pub(crate) async fn heals(key: String, context: Context) -> Result<bool> {
    if called(&key) == 1 {
        return Err(Error::permanent("ill"));
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    Ok(!context.cancelled().is_cancelled())
}

/// A part that doubles its number, or fails if its input requests that.
#[task(retries = 1, backoff = "1ms")]
pub(crate) async fn double(number: u64, fail: bool, run: String, context: Context) -> Result<u64> {
    called(&format!("{run}.{number}"));
    assert_eq!(context.parallel_index(), number);
    if fail {
        return Err(Error::permanent(format!("part {number} failed on request")));
    }
    Ok(number * 2)
}

#[task(part)]
pub(crate) fn double_part(count: u64, failing: Vec<u64>, run: String) -> impl Iterator<Item = double> {
    called(&format!("{run}.split"));
    (0..count).map(move |number| double { number, fail: failing.contains(&number), run: run.clone() })
}

#[task(join)]
pub(crate) fn double_join(parts: Parts<u64>) -> Result<u64> {
    parts.all_ok()?.into_iter().sum()
}

/// Parts without a join, and with a policy.
#[task]
pub(crate) async fn lenient(number: u64, fail: bool) -> Result<()> {
    if fail { Err(Error::permanent(format!("{number}"))) } else { Ok(()) }
}

#[task(part, tolerate = "10%")]
pub(crate) fn lenient_part(count: u64, failing: u64) -> Vec<lenient> {
    (0..count).map(|number| lenient { number, fail: number < failing }).collect()
}

#[task]
pub(crate) async fn strict(number: u64, run: String) -> Result<()> {
    // The first call to start fails once its gate is opened; the others wait at another gate. The order is not
    // defined.
    let first = called(&format!("{run}.ran")) == 1;
    let gate = Gate::of(&format!("{run}.{}", u32::from(!first)));
    gate.entered.add_permits(1);
    gate.opened().await;
    if first { Err(Error::permanent(format!("part {number} was the first"))) } else { Ok(()) }
}

#[task(part, on_error = "stop")]
pub(crate) fn strict_part(count: u64, run: String) -> Vec<strict> {
    (0..count).map(|number| strict { number, run: run.clone() }).collect()
}

/// Outcomes that its join sees in order.
#[task]
pub(crate) async fn seen(number: u64) -> Result<u64> {
    if number.is_multiple_of(3) { Err(Error::permanent("a third one")) } else { Ok(number) }
}

#[task(part)]
pub(crate) fn seen_part(count: u64) -> impl futures_util::Stream<Item = seen> {
    futures_util::stream::iter((0..count).map(|number| seen { number }))
}

#[task(join)]
pub(crate) async fn seen_join(parts: Parts<u64>) -> Result<String> {
    let mut texts = Vec::new();
    let mut outcomes = parts.outcomes();
    while let Some(outcome) = outcomes.next().await {
        texts.push(match outcome? {
            ork::Outcome::Ok { index, output } => format!("{index}={output}"),
            ork::Outcome::Failed { index, failure } => format!("{index}!{failure}"),
            other => format!("{other:?}"),
        });
    }
    Ok(texts.join(" "))
}

/// A split that fails after some parts, in its first runs.
#[task]
pub(crate) async fn broken(number: u64) -> u64 {
    number
}

#[task(part, retries = 1, backoff = "1ms")]
pub(crate) fn broken_part(
    count: u64,
    after: u64,
    times: u32,
    panic: bool,
    run: String,
) -> impl Iterator<Item = Result<broken>> {
    let breaks = called(&format!("{run}.split")) <= times;
    (0..count).map(move |number| {
        if breaks && number == after {
            assert!(!panic, "the split panicked at {number}");
            return Err(Error::new(format!("the split broke at {number}")));
        }
        Ok(broken { number })
    })
}

#[task(join)]
pub(crate) fn broken_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    called(&format!("{}.join", context.job_id()));
    Ok(parts.all_ok()?.into_iter().map(|part| part.unwrap_or(0)).sum())
}

#[task]
pub(crate) async fn parent(name: String, context: Context) -> Result<String> {
    context.report_progress(40.0, "asking the child");
    let id = context.submit(greet { name }).await?;
    Ok(id.to_string())
}

/// A part that succeeds at once, later or at the second attempt, fails, or panics, depending on its number.
#[task(retries = 1, backoff = "1ms")]
pub(crate) async fn mixed(number: u64, run: String, context: Context) -> Result<u64> {
    called(&format!("{run}.{number}"));
    match number % 10 {
        3 => tokio::task::yield_now().await,
        5 if number % 100 == 5 => return Err(Error::permanent("a five")),
        7 if context.attempt() == 1 => return Err("a seven".into()),
        9 if number % 100 == 9 => panic!("a nine"),
        _ => {}
    }
    Ok(number)
}

#[task(part)]
pub(crate) fn mixed_part(count: u64, run: String) -> impl Iterator<Item = mixed> {
    (0..count).map(move |number| mixed { number, run: run.clone() })
}

#[task(join)]
pub(crate) fn mixed_join(parts: Parts<u64>) -> (u64, u64) {
    let counts = parts.counts();
    (counts.succeeded, counts.failed)
}
