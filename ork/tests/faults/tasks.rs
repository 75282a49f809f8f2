//! The tasks whose processes die.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex};

use ork::{Context, Error, Parts, Result, task};
use tokio::sync::watch;

static CALLS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

pub(crate) fn called(key: String) {
    *CALLS.lock().unwrap().entry(key).or_default() += 1;
}

/// Returns how often a function was called with a key.
pub(crate) fn calls(key: &str) -> u32 {
    CALLS.lock().unwrap().get(key).copied().unwrap_or(0)
}

#[task(retries = 1, backoff = "1ms")]
pub(crate) async fn plain(run: String) -> String {
    called(format!("{run}.plain"));
    run
}

/// A hook of another job.
#[task]
pub(crate) async fn follows(run: String, number: u64) -> u64 {
    called(format!("{run}.follows.{number}"));
    number
}

/// The job that is submitted last.
#[task]
pub(crate) async fn last(number: u64) -> u64 {
    number
}

/// One part fails at its first attempt.
#[task(retries = 1, backoff = "1ms")]
pub(crate) async fn many(run: String, number: u64, context: Context) -> Result<u64> {
    called(format!("{run}.{number}"));
    if number == 7 && context.attempt() == 1 {
        return Err(Error::new("not yet"));
    }
    Ok(number)
}

/// Two parts at a time.
#[task(concurrency = 2, retries = 1, backoff = "1ms")]
pub(crate) async fn narrow(run: String, number: u64, context: Context) -> Result<u64> {
    many(run, number, context).await
}

#[task(part, chunk = 8)]
pub(crate) fn narrow_part(run: String, parts: u64) -> impl Iterator<Item = narrow> {
    called(format!("{run}.split"));
    (0..parts).map(move |number| narrow { run: run.clone(), number })
}

#[task(join, retries = 1, backoff = "1ms")]
pub(crate) async fn narrow_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    many_join(parts, context).await
}

/// Splits itself. An error of its context fails the attempt.
#[task(retries = 2, backoff = "1ms", chunk = 2)]
pub(crate) async fn itself(run: String, parts: u64, context: Context) -> Result<u64> {
    if context.is_part() {
        let number = context.part_data::<u64>()?;
        called(format!("{run}.{number}"));
        return Ok(number);
    }
    called(format!("{run}.split"));
    context.split_into(0..parts).await?;
    Ok(parts)
}

#[task(join, retries = 1, backoff = "1ms")]
pub(crate) async fn itself_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    many_join(parts, context).await
}

/// Submits child jobs, and one that follows it.
#[task(retries = 1, backoff = "1ms")]
pub(crate) async fn trunk(run: String, twigs: u64, context: Context) -> Result<u64> {
    context.submit_after(crown { run: run.clone() }).await?;
    for number in 0..twigs {
        context.submit(twig { run: run.clone(), number }).await?;
    }
    Ok(twigs)
}

/// One of them fails at its first attempt.
#[task(retries = 1, backoff = "1ms")]
pub(crate) async fn twig(run: String, number: u64, context: Context) -> Result<u64> {
    many(run, number, context).await
}

#[task(retries = 1, backoff = "1ms")]
pub(crate) async fn crown(run: String) {
    called(format!("{run}.crown"));
}

/// The runs that have a job which follows both jobs of a pair.
static FOLLOWED: LazyLock<watch::Sender<HashSet<String>>> = LazyLock::new(watch::Sender::default);

/// Lets the pair of a run end, now that a job follows it.
pub(crate) fn is_followed(run: &str) {
    FOLLOWED.send_modify(|runs| runs.extend([run.to_owned()]));
}

/// One of a pair that another job follows. It does not end before the follower is submitted. The second one fails.
#[task]
pub(crate) async fn one_of_two(run: String, number: u64) -> Result<u64> {
    called(format!("{run}.{number}"));
    let followed = FOLLOWED.subscribe().wait_for(|runs| runs.contains(&run)).await.is_ok();
    if followed && number == 0 { Ok(number) } else { Err(Error::permanent("it is the second one")) }
}

/// Follows both jobs of a pair.
#[task(retries = 1, backoff = "1ms")]
pub(crate) async fn after_both(run: String) {
    called(format!("{run}.after_both"));
}

#[task(part, chunk = 8)]
pub(crate) fn many_part(run: String, parts: u64) -> impl Iterator<Item = many> {
    called(format!("{run}.split"));
    (0..parts).map(move |number| many { run: run.clone(), number })
}

/// An error of the store while the parts are read fails the attempt.
#[task(join, retries = 1, backoff = "1ms")]
pub(crate) async fn many_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    called(format!("{}.join", context.job_id()));
    Ok(parts.all_ok()?.collect().await?.into_iter().sum())
}
