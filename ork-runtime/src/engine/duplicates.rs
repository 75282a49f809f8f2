//! Duplicates of a message whose job a live process is running: the duplicate waits until that process has ended the
//! job, or has died.
//!
//! A process that publishes a message and is killed before it has marked the outbox row as sent leaves that row
//! behind, and the relay sends the message again. Both copies may then be in a queue at once and reach two workers. A
//! redelivery by the broker is a different case: the worker that had the message has lost it (it may have died), so
//! the message runs at once.

use std::time::Duration;

use super::lease::{self, DeliveryGuard};
use super::work::{Common, Item};
use super::{Engine, ProcessError, place};
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::State;
use crate::message::Message;
use crate::mutant::{self, Mutant};

/// The pause between two checks of a process whose heartbeat is out of date.
const CHECK_PAUSE: Duration = Duration::from_secs(1);

/// The smallest difference between two timestamps.
const INSTANT: Duration = Duration::from_millis(1);

/// Returns whether a delivery may be a duplicate of a message that a live process is working on.
pub(super) fn may_be_duplicate(engine: &Engine, message: &Message, redelivered: u32) -> bool {
    if mutant::is_on(Mutant::RunsCopies) {
        return false;
    }
    if engine.broker.needs_relay() {
        // Any redelivery beyond the losses that the message itself records was counted by the broker.
        return redelivered <= message.losses;
    }
    // Without a relay the delivery is a row of the outbox. If no process has died with it, a live process may be
    // running its job: the store may have lost the deletion of the row.
    redelivered == 0 && !mutant::is_on(Mutant::RunsRowsAgain)
}

/// Waits until another process does not run the job of an item any more. Returns whether the item can be claimed again.
pub(super) async fn wait(
    engine: &Engine,
    common: &Common,
    item: &mut Item,
    worker: &str,
) -> Result<bool, ProcessError> {
    // A delivery that waits must not keep a slot from work that can run, nor a split keep work from running alone.
    let had_place = item.place.take().is_some();
    item.alone = None;
    let runner = wait_for_runner(engine, &item.message, &mut item.guard, worker).await?;
    item.runner_is_dead |= runner == RunnerStatus::Dead;
    if !had_place {
        return Ok(true);
    }
    let need = common.action.need(&common.task);
    (item.place, item.alone) = place::wait_for_call(engine, need, None, item.is_suspect(engine)).await;
    // The delivery may have been lost in the meantime: the redelivery calls the function then.
    Ok(item.place.is_some() && !item.guard.is_lost())
}

/// The status of the process that runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunnerStatus {
    /// The process is dead, and the job is still in the state in which it left it.
    Dead,
    /// The process has ended the job, or released it.
    Finished,
    /// Not known yet, and this worker has to stop.
    Unknown,
}

/// Waits until the process that runs the job of this message has ended the job or has died. That may take long: then
/// a lease replaces the delivery.
async fn wait_for_runner(
    engine: &Engine,
    message: &Message,
    guard: &mut DeliveryGuard,
    worker: &str,
) -> Result<RunnerStatus, ProcessError> {
    tracing::debug!(job = %message.job, worker, "a duplicate message waits: a live process is running its job");
    let runner_status = lease::keep(engine, message, guard, runner_status(engine, message.job, worker)).await?;
    if runner_status == RunnerStatus::Unknown {
        // Requeued by a broker, the message would arrive as a redelivery, which counts as lost by a worker, and would
        // run at once. So a lease replaces the delivery first.
        if engine.broker.needs_relay() {
            guard.exchange(engine, message).await;
        }
        return Err(ProcessError::Interrupted);
    }
    Ok(runner_status)
}

async fn runner_status(engine: &Engine, job: JobId, worker: &str) -> Result<RunnerStatus, ProcessError> {
    let mut changes = engine.store.notifier().of(job, false);
    loop {
        let view = engine.store.job(job).await?;
        let runs = |view: &crate::store::JobView| {
            view.job.state == State::Running && view.job.worker.as_deref() == Some(worker)
        };
        if !view.is_some_and(|view| runs(&view)) {
            return Ok(RunnerStatus::Finished);
        }
        let Some(until) = next_check(engine, job, worker).await? else { return Ok(RunnerStatus::Dead) };
        tokio::select! {
            biased;
            () = engine.drain.cancelled() => return Ok(RunnerStatus::Unknown),
            () = changes.changed() => {}
            () = engine.clock.pause_until(until) => {}
        }
    }
}

/// Returns when to check the process of a running job again; `None` if it is dead.
///
/// An outdated heartbeat alone is no proof: a computer that slept has stopped this process, too. The next heartbeat
/// of any process decides whether that one is dead, and then removes it.
pub(super) async fn next_check(engine: &Engine, job: JobId, worker: &str) -> Result<Option<Timestamp>, ProcessError> {
    let processes = engine.store.diagnostics(job).await?.processes;
    // Each process writes a heartbeat before it runs anything, so one without a heartbeat has ended.
    let sign = processes.iter().find(|process| process.worker == worker).map(|process| process.expires_at);
    let now = engine.clock.now();
    let sign = sign.filter(|until| *until >= now || !mutant::is_on(Mutant::JudgesByHeartbeatAlone));
    Ok(sign.map(|until| (until + INSTANT).max(now + CHECK_PAUSE)))
}
