//! A job whose parts fail at random, as the seed determines, and are retried.

use std::io::Write as _;
use std::time::Duration;

use ork::{Context, Error, Parts, Result, task};

/// The job that is submitted last.
#[task]
pub(crate) async fn last(number: u64) -> u64 {
    number
}

/// One attempt in ten fails, as the seed determines.
#[task(retries = 12, backoff = "10ms")]
pub(crate) async fn storm(number: u64, seed: u64, context: Context) -> Result<u64> {
    let mut rng = fastrand::Rng::with_seed(seed ^ (number << 8) ^ u64::from(context.attempt()));
    // A part takes this long, so that workers die while parts run.
    tokio::time::sleep(Duration::from_millis(rng.u64(..4))).await;
    if rng.u8(..10) == 0 {
        return Err(Error::new("the seed requests it"));
    }
    Ok(number)
}

#[task(part)]
pub(crate) fn storm_part(parts: u64, seed: u64, log: String) -> impl Iterator<Item = storm> {
    write(&log, "split");
    (0..parts).map(move |number| storm { number, seed })
}

#[task(join, retries = 5)]
pub(crate) async fn storm_join(parts: Parts<u64>) -> Result<u64> {
    let mut parts = parts.all_ok()?;
    let mut sum = 0;
    while let Some(number) = parts.next().await {
        sum += number?;
    }
    Ok(sum)
}

/// Writes one line, in one write.
fn write(log: &str, line: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
