//! Duplicates of a message whose job a live process is running: the duplicate waits until that process has ended the
//! job, or has died.
//!
//! A process that publishes a message and is killed before it has marked the outbox row as sent leaves that row
//! behind, and the relay sends the message again. Both copies may then be in a queue at once and reach two workers. A
//! redelivery by the broker is a different case: the worker that had the message has lost it (it may have died), so
//! the message runs at once.

use super::lease::{self, DeliveryGuard};
use super::{Engine, ProcessError, reject};
use crate::broker::Disposition;
use crate::id::JobId;
use crate::job::State;
use crate::message::Message;
use crate::mutant::{self, Mutant};

/// Returns whether a delivery may be a duplicate of a message that a live process is working on.
pub(super) fn may_be(engine: &Engine, message: &Message, redelivered: u32) -> bool {
    if mutant::is_on(Mutant::RunsCopies) {
        return false;
    }
    // Any redelivery beyond the losses that the message itself records was counted by the broker.
    engine.broker.needs_relay() && redelivered <= message.losses
}

/// What became of the process that runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The process is dead, and the job is still in the state in which it left it.
    Dead,
    /// The process has ended the job, or released it.
    Over,
    /// Not known yet, and this worker has to stop.
    Open,
}

/// Waits until the process that runs the job of this message has ended the job or has died. That may take long: then
/// a lease replaces the delivery.
pub(super) async fn outlive(
    engine: &Engine,
    message: &Message,
    tenure: &mut DeliveryGuard,
    worker: &str,
) -> Result<Fate, ProcessError> {
    tracing::debug!(job = %message.job, worker, "a copy of a message waits, as a living process runs its job");
    let fate = lease::keep(engine, message, tenure, fate(engine, message.job, worker)).await?;
    if fate == Fate::Open {
        // Requeued, the message would arrive as a redelivery, which counts as lost by a worker, and would run at
        // once. So a lease replaces the delivery first.
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
