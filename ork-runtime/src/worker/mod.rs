//! The worker: consumes every queue of the program's tasks until it is stopped, then drains within a deadline.
//!
//! Beside it run the services that every process needs, even one that only submits: the relay sends outbox rows, the
//! heartbeat records that the process is alive, and two writers store the progress and the metrics that tasks report.

mod backlog;
mod consume;
mod events;
mod metrics;
pub(crate) mod orphans;
mod relay;
pub(crate) mod retention;
pub(crate) mod services;
mod sets;
mod unattended;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, BrokerErrorKind, Subscribe, Subscription};
use crate::engine::Engine;
use crate::engine::retry::{self, Interrupted};
use crate::engine::slots::SlotKind;
use crate::mutant::{self, Mutant};
use crate::registry::Registry;
use crate::retry::Backoff;
use crate::supervisor::Supervisor;

/// The end of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// The worker was stopped, and finished everything that it had started.
    Drained,
    /// The worker was stopped, and requeued the work that it had not finished. The interrupted attempts are not
    /// counted.
    Interrupted,
    /// The worker cannot continue, because a service has failed. The log contains the reason.
    Failed,
}

/// The signals that stop a worker, and the time that its drain may take.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    /// Cancelled when the worker must take no new work and finish what it has started.
    pub(crate) drain: CancellationToken,
    /// Cancelled when the worker must stop at once and requeue unfinished work.
    pub(crate) force: CancellationToken,
    /// The maximum duration of the drain. After it the worker requeues what still runs.
    pub(crate) within: Duration,
}

/// Returns the queues of a program, each with the tasks whose messages it carries.
pub(crate) fn queues(registry: &Registry, window: u16) -> Vec<Subscribe> {
    let mut queues: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for task in registry.served() {
        queues.entry(task.queue()).or_default().push(task.name().to_owned());
    }
    let queues = queues.into_iter();
    queues.map(|(queue, tasks)| Subscribe { queue: queue.to_owned(), tasks, window, is_exact: false }).collect()
}

/// Runs the worker until it is stopped or cannot continue, and returns how it ended.
pub(crate) async fn run(
    engine: &Arc<Engine>,
    supervisor: &Supervisor,
    shutdown: Shutdown,
) -> Result<Stopped, BrokerError> {
    let queues = subscriptions(engine);
    let mut subscriptions = Vec::new();
    for queue in queues {
        let tasks = queue.tasks.clone();
        let Some(subscription) = subscribe(engine, queue, &shutdown.drain).await? else {
            return Ok(Stopped::Drained);
        };
        subscriptions.push((subscription, tasks));
    }
    tracing::info!(worker = %engine.worker, tasks = engine.registry.names().join(" "), "worker started");
    let consuming = shutdown.drain.child_token();
    for (subscription, tasks) in subscriptions {
        let consume = consume::consume(Arc::clone(engine), supervisor.clone(), subscription, tasks, consuming.clone());
        supervisor.service("consume", consume);
    }
    if let Some(retention) = engine.settings.retention.filter(|_| engine.store.records_jobs()) {
        let jobs_removed = Arc::new(Notify::new());
        let orphans =
            orphans::collect_always(Arc::clone(engine), Arc::clone(&jobs_removed), shutdown.drain.child_token());
        let retain = retention::retain(Arc::clone(engine), retention, jobs_removed, shutdown.drain.child_token());
        supervisor.service("retention", retain);
        supervisor.service("orphans", orphans);
    }
    let failed = supervisor.failed();
    let broken = tokio::select! {
        biased;
        () = shutdown.drain.cancelled() => false,
        () = shutdown.force.cancelled() => false,
        () = failed.cancelled() => true,
        () = engine.fatal.cancelled() => true,
    };
    consuming.cancel();
    let drained = tokio::select! {
        biased;
        () = shutdown.force.cancelled() => false,
        () = supervisor.idle() => true,
        () = engine.clock.pause(shutdown.within) => false,
    };
    if !drained {
        tracing::info!("requeuing the work that is still running");
        engine.force.cancel();
        supervisor.idle().await;
    }
    Ok(match (broken, drained) {
        (true, _) => Stopped::Failed,
        (false, true) => Stopped::Drained,
        (false, false) => Stopped::Interrupted,
    })
}

/// Subscribes to a queue. Retries while the broker cannot be reached, because it could be reached when the process was
/// built. Returns `None` if the worker was stopped first.
async fn subscribe(
    engine: &Engine,
    queue: Subscribe,
    stop: &CancellationToken,
) -> Result<Option<Box<dyn Subscription>>, BrokerError> {
    let may_pass = |error: &BrokerError| {
        let may_pass = matches!(error.kind(), BrokerErrorKind::Disconnected | BrokerErrorKind::TimedOut);
        if may_pass {
            tracing::warn!(%error, queue = queue.queue, "cannot consume yet, retrying");
        }
        may_pass
    };
    let subscribe = || engine.broker.subscribe(queue.clone());
    let subscribed = retry::retry(engine, stop, Backoff::constant(retry::PAUSE), may_pass, subscribe);
    match stop.run_until_cancelled(subscribed).await {
        Some(Ok(subscribed)) => subscribed.map(Some),
        Some(Err(Interrupted)) | None => Ok(None),
    }
}

/// With a `max_worker_losses` up to this value, it matters if a delivery counts as a loss although its call had not
/// started.
const FEW_LOSSES: u32 = 1;

/// Returns the subscriptions of this worker: one for each queue, or, with a broker that reads the outbox of the store
/// itself, one for each kind of slots, with all tasks that use such slots.
fn subscriptions(engine: &Engine) -> Vec<Subscribe> {
    let window = |tasks: &[String]| u16::try_from(consume::slots(engine, tasks)).unwrap_or(u16::MAX);
    if engine.broker.needs_relay() {
        let mut queues = queues(&engine.registry, 1);
        for queue in &mut queues {
            queue.window = window(&queue.tasks);
            let is_decisive = !engine.store.records_jobs() && engine.settings.max_worker_losses <= FEW_LOSSES;
            queue.is_exact = is_decisive && !mutant::is_on(Mutant::CountsRequeuedWork);
        }
        return queues;
    }
    let mut kinds: BTreeMap<SlotKind, Vec<String>> = BTreeMap::new();
    for task in engine.registry.served() {
        kinds.entry(SlotKind::of(&task.work)).or_default().push(task.name().to_owned());
    }
    let kinds = kinds.into_values();
    kinds.map(|tasks| Subscribe { queue: "all".into(), window: window(&tasks), tasks, is_exact: false }).collect()
}
