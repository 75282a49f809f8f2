//! Removes jobs that ended long ago, in small pages, so that other work is not delayed.
//!
//! Every worker does this, without a leader: if two workers select the same jobs, they are removed once. A worker looks
//! when the oldest job is due, so an idle one sleeps.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::engine::Engine;
use crate::mutant::{self, Mutant};
use crate::store::{Expired, Prune, Store, StoreError};

/// The delay of the first look. Messages that waited in a queue while no worker ran are delivered first, while their
/// jobs still exist.
const FIRST: Duration = Duration::from_mins(1);

/// The pause after an error of the store.
const PAUSE: Duration = Duration::from_mins(1);

/// The maximum number of jobs that one query returns. Each query reads all jobs, so the limit is many pages.
const LOOK: usize = 100_000;

/// The maximum number of jobs that one transaction removes.
const JOBS: usize = 100;

/// The maximum number of parts that one transaction removes.
const PARTS: u64 = 10_000;

/// Removes jobs when they are due, until `stop` is cancelled. Notifies `jobs_removed` after jobs were removed.
pub(super) async fn retain(
    engine: Arc<Engine>,
    retention: Duration,
    jobs_removed: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut next = engine.clock.now() + FIRST;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = engine.clock.pause_until(next) => {}
        }
        let now = engine.clock.now();
        let before = if mutant::is_on(Mutant::RemovesTooEarly) { now } else { now - retention };
        let swept = tokio::select! {
            biased;
            // An interrupted sweep is safe: each page is one transaction.
            () = stop.cancelled() => return,
            swept = sweep(&*engine.store, before) => swept,
        };
        // Counted from the start of the sweep, so that jobs that fell due meanwhile do not wait longer.
        next = match swept {
            Ok(swept) => {
                if swept.jobs > 0 {
                    tracing::info!(jobs = swept.jobs, parts = swept.parts, "deleted jobs that ended before {before}");
                    jobs_removed.notify_one();
                }
                next_look(now, retention, swept.next)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot delete old jobs");
                engine.clock.now() + PAUSE
            }
        };
    }
}

/// Returns when to look again: when the next tree is due, or after the whole retention if no ended tree is left. At
/// least a hundredth of the retention lies between two looks, so that jobs that are due in close succession are removed
/// together.
fn next_look(now: Timestamp, retention: Duration, next: Option<Timestamp>) -> Timestamp {
    let least = (retention / 100).clamp(Duration::from_secs(1), Duration::from_hours(1));
    let due = next.unwrap_or(now) + retention + Duration::from_millis(1);
    due.max(now + least)
}

/// The result of a sweep: how many jobs and parts it removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) jobs: u64,
    pub(crate) parts: u64,
    /// The time at which the oldest tree that is not due yet has ended. `None` if there is none.
    next: Option<Timestamp>,
}

/// Removes the jobs whose trees ended before the given time, page by page.
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
        // The remaining jobs are locked by other processes, or were retried.
        if jobs.len() < LOOK || swept.jobs == jobs_before {
            return Ok(swept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_look_waits_for_the_next_due_job_and_for_a_minimum_pause() {
        let (now, day) = (Timestamp::from_millis(1_000_000_000), Duration::from_hours(24));
        let moment = Duration::from_millis(1);
        assert_eq!(next_look(now, day, None), now + day + moment);
        assert_eq!(next_look(now, day, Some(now - day / 2)), now + day / 2 + moment);
        assert_eq!(next_look(now, day, Some(now - day)), now + day / 100);
        assert_eq!(next_look(now, Duration::from_mins(1), Some(now - day)), now + Duration::from_secs(1));
    }
}
