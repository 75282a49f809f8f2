//! Removes jobs that ended long ago, in small pages between all other work.
//!
//! Every worker does this, and none leads: whatever two of them remove is gone once. A worker looks when the oldest job
//! is due, so one that is idle sleeps.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::mutant::{self, Mutant};
use crate::store::{Expired, Prune, Store, StoreError};

/// What has waited in a queue while nobody worked is met first, while its job is still known.
const FIRST: Duration = Duration::from_mins(1);

/// How long to wait after the store could not be used.
const PAUSE: Duration = Duration::from_mins(1);

/// How many jobs are looked up together: a look reads all jobs, so these are many pages.
const LOOK: usize = 100_000;

/// How many jobs and parts one transaction removes at most.
const JOBS: usize = 100;
const PARTS: u64 = 10_000;

/// Removes what is due, whenever something is, until `stop` fires; tells when jobs are `gone`.
pub(super) async fn retain(engine: Arc<Engine>, retention: Duration, gone: Arc<Notify>, stop: CancellationToken) {
    let mut next = engine.clock.now() + FIRST;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = engine.clock.pause_until(next) => {}
        }
        let now = engine.clock.now();
        let before = if mutant::is_on(Mutant::RemovesTooEarly) { now } else { earlier(now, retention) };
        let swept = tokio::select! {
            biased;
            // What has begun is done whole: only whole pages are removed.
            () = stop.cancelled() => return,
            swept = sweep(&*engine.store, before) => swept,
        };
        // Counted from when the look began: what fell due while it swept is not waited for again.
        next = match swept {
            Ok(swept) => {
                if swept.jobs > 0 {
                    tracing::info!(jobs = swept.jobs, parts = swept.parts, "removed jobs that ended before {before}");
                    gone.notify_one();
                }
                next_look(now, retention, swept.next)
            }
            Err(error) => {
                tracing::warn!(%error, "jobs that ended long ago could not be removed");
                engine.clock.now() + PAUSE
            }
        };
    }
}

/// The moment so long before another one.
pub(crate) fn earlier(moment: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(moment.as_millis().saturating_sub(by))
}

/// When to look again: what ends from now on is due after the whole time only. Jobs that are due one after the other are
/// removed together.
fn next_look(now: Timestamp, retention: Duration, next: Option<Timestamp>) -> Timestamp {
    let least = (retention / 100).clamp(Duration::from_secs(1), Duration::from_hours(1));
    let due = next.unwrap_or(now) + retention + Duration::from_millis(1);
    due.max(now + least)
}

/// What a sweep has removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) jobs: u64,
    pub(crate) parts: u64,
    /// When the next tree ended.
    next: Option<Timestamp>,
}

/// Removes the jobs whose trees ended before a moment, page by page.
pub(crate) async fn sweep(store: &dyn Store, before: Timestamp) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    loop {
        let Expired { jobs, next } = store.expired(before, LOOK).await?;
        let (mut left, jobs_before) = (jobs.as_slice(), swept.jobs);
        while let page @ [_, ..] = left.get(..left.len().min(JOBS)).unwrap_or_default() {
            let pruned = store.prune(Prune { jobs: page.to_vec(), before, parts: PARTS }).await?;
            swept.jobs += pruned.jobs;
            swept.parts += pruned.parts;
            left = left.get(pruned.done..).unwrap_or_default();
        }
        swept.next = next;
        // What stays was locked by others, or taken up again.
        if jobs.len() < LOOK || swept.jobs == jobs_before {
            return Ok(swept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_until_the_next_job_is_due_and_removes_neighbours_together() {
        let (now, day) = (Timestamp::from_millis(1_000_000_000), Duration::from_hours(24));
        let moment = Duration::from_millis(1);
        assert_eq!(next_look(now, day, None), now + day + moment);
        assert_eq!(next_look(now, day, Some(earlier(now, day / 2))), now + day / 2 + moment);
        assert_eq!(next_look(now, day, Some(earlier(now, day))), now + day / 100);
        assert_eq!(next_look(now, Duration::from_mins(1), Some(earlier(now, day))), now + Duration::from_secs(1));
    }
}
