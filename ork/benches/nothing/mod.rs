//! Jobs with parts that do nothing, so that only ork's overhead is measured.

use ork::{Context, Parts, Result, task};

/// The task of one part.
#[task]
pub(crate) async fn nothing(number: u64) -> u64 {
    number
}

#[task(part)]
pub(crate) fn nothing_part(count: u64) -> impl Iterator<Item = nothing> {
    (0..count).map(|number| nothing { number })
}

#[task(join)]
pub(crate) fn nothing_join(parts: Parts<u64>, context: Context) -> Result<u64> {
    assert_eq!(context.attempt(), 1);
    parts.all_ok()?.into_iter().sum()
}

/// The task of one part, under concurrency limits that are never reached: one for each of four tenants.
#[task(concurrency(1_000_000, key = "tenant"))]
pub(crate) async fn keyed(number: u64, tenant: u64) -> u64 {
    assert_eq!(number % 4, tenant);
    number
}

#[task(part)]
pub(crate) fn keyed_part(count: u64) -> impl Iterator<Item = keyed> {
    (0..count).map(|number| keyed { number, tenant: number % 4 })
}

#[task(join)]
pub(crate) fn keyed_join(parts: Parts<u64>) -> Result<u64> {
    parts.all_ok()?.into_iter().sum()
}

/// The task of one part, under a concurrency limit that is never reached. It shows what counting permits costs.
#[task(concurrency = 1_000_000)]
pub(crate) async fn limited(number: u64) -> u64 {
    number
}

#[task(part)]
pub(crate) fn limited_part(count: u64) -> impl Iterator<Item = limited> {
    (0..count).map(|number| limited { number })
}

#[task(join)]
pub(crate) fn limited_join(parts: Parts<u64>) -> Result<u64> {
    parts.all_ok()?.into_iter().sum()
}
