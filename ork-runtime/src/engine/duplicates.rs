//! Another copy of a message whose job a living process runs: it waits until that process has ended the job, or has died.
//!
//! A process that publishes a message and is killed before it has noted that leaves a row of the outbox, from which the
//! message is sent once more. Both copies may be in a queue at once, and come to two workers. A delivery that the broker has
//! made before is another matter: the worker that had it has lost it, be it by its death, so that it is run at once.

use super::lease::{self, DeliveryGuard};
use super::{Engine, ProcessError, reject};
use crate::broker::Disposition;
use crate::id::JobId;
use crate::job::State;
use crate::message::Message;
use crate::mutant::{self, Mutant};

/// Whether a delivery may be another copy of a message that a living process works on.
pub(super) fn may_be(engine: &Engine, message: &Message, redelivered: u32) -> bool {
    if mutant::is_on(Mutant::RunsCopies) {
        return false;
    }
    // What is beyond the losses that the message itself tells of, the broker has counted.
    engine.broker.needs_relay() && redelivered <= message.losses
}

/// What has become of a process that runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is dead, and its job still stands as it left it.
    Dead,
    /// It has ended the job, or given it back.
    Over,
    /// It is not known, and this worker has to stop.
    Open,
}

/// Waits for the fate of the process that runs the job of this message. That may take long: then the delivery is
/// acknowledged, and a lease takes its place.
pub(super) async fn outlive(
    engine: &Engine,
    message: &Message,
    tenure: &mut DeliveryGuard,
    worker: &str,
) -> Result<Fate, ProcessError> {
    tracing::debug!(job = %message.job, worker, "a copy of a message waits, as a living process runs its job");
    let fate = lease::keep(engine, message, tenure, fate(engine, message.job, worker)).await?;
    if fate == Fate::Open {
        // Given back to the broker it would come as a delivery that somebody has lost, and be run at once.
        tenure.exchange(engine, message).await;
        return Err(ProcessError::Unsettled(Disposition::Requeue));
    }
    Ok(fate)
}

async fn fate(engine: &Engine, job: JobId, worker: &str) -> Result<Fate, ProcessError> {
    let mut changes = engine.store.notifier().of(job, false);
    loop {
        let view = engine.store.job(job).await?;
        let runs = |view: &crate::store::JobView| {
            view.job.state == State::Running && view.job.worker.as_deref() == Some(worker)
        };
        if !view.is_some_and(|view| runs(&view)) {
            return Ok(Fate::Over);
        }
        let Some(until) = reject::lives_until(engine, job, worker).await? else { return Ok(Fate::Dead) };
        tokio::select! {
            biased;
            () = engine.drain.cancelled() => return Ok(Fate::Open),
            () = changes.changed() => {}
            () = engine.clock.pause_until(until) => {}
        }
    }
}
