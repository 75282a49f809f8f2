//! Writes the buffered metrics to the store: about once a second while there are any, soon after one of their jobs has
//! ended, and when the process stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::engine::{Engine, MetricsReceiver};
use crate::metric::{Delta, MOST_SERIES};
use crate::store::{StoreError, StoreErrorKind};
use crate::tx::StoreNotice;

/// The time for which measurements are aggregated before they are written.
const EVERY: Duration = Duration::from_secs(1);

/// The minimum time between two writes, of which the second is made because a job has ended.
const SOON: Duration = Duration::from_millis(100);

/// The maximum number of measurements in one call of the store.
const PAGE: usize = 1_000;

/// Writes metrics until `stop` is cancelled and none are left.
pub(super) async fn write(
    engine: Arc<Engine>,
    buffer: MetricsReceiver,
    mut changes: Receiver<StoreNotice>,
    stop: CancellationToken,
) {
    let mut soonest = engine.clock.now();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = buffer.some() => wait(&engine, &buffer, &mut changes, soonest, &stop).await,
        }
        // Read before the write: a task that has already ended cannot record anything afterwards.
        let last = stop.is_cancelled();
        let request = buffer.asked();
        let written = pages(&engine, &buffer, last).await;
        buffer.done(request);
        if last {
            return;
        }
        soonest = engine.clock.now() + SOON;
        if written.is_err() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = engine.clock.pause(EVERY) => {}
            }
        }
    }
}

/// Waits until the next write is due: after [`EVERY`], earlier if a job with pending measurements has ended, and at
/// once if the buffer requests it.
async fn wait(
    engine: &Engine,
    buffer: &MetricsReceiver,
    changes: &mut Receiver<StoreNotice>,
    soonest: Timestamp,
    stop: &CancellationToken,
) {
    let mut due = engine.clock.now() + EVERY;
    let mut listens = true;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = buffer.pressing() => return,
            () = engine.clock.pause_until(due) => return,
            change = changes.recv(), if listens => match change {
                Ok(StoreNotice::JobEnded(job)) if !buffer.has(job) => {}
                // After notices were missed, one of the jobs may have ended.
                Ok(StoreNotice::JobEnded(_)) | Err(RecvError::Lagged(_)) => (due, listens) = (due.min(soonest), false),
                Ok(_) => {}
                Err(RecvError::Closed) => listens = false,
            },
        }
    }
}

/// Writes all pending measurements, one page at a time.
async fn pages(engine: &Engine, buffer: &MetricsReceiver, last: bool) -> Result<(), StoreError> {
    let mut left = buffer.take();
    while !left.is_empty() {
        let rest = left.split_off(left.len().min(PAGE));
        // Cloned, because the page is put back if it cannot be written.
        match engine.store.record(left.clone()).await {
            Ok(crowded) => {
                for job in crowded.into_iter().filter(|job| buffer.should_warn(*job)) {
                    tracing::warn!(%job, "a job has recorded {MOST_SERIES} metric series, dropping further ones");
                }
            }
            Err(error) => {
                left.extend(rest);
                give_up(buffer, left, &error, last);
                return Err(error);
            }
        }
        left = rest;
    }
    Ok(())
}

/// Puts measurements back that can be written later, and logs how many are lost.
fn give_up(buffer: &MetricsReceiver, left: Vec<Delta>, error: &StoreError, ends: bool) {
    let dropped = if ends || error.kind() != StoreErrorKind::Unavailable {
        left.len()
    } else {
        tracing::debug!(%error, "cannot write measurements, retrying");
        buffer.put_back(left)
    };
    if dropped > 0 {
        tracing::warn!(%error, dropped, "cannot write measurements, dropping them");
    }
}
