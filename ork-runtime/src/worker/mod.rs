//! The worker: consumes every queue of the program's tasks until it is told to stop, then drains within a deadline.
//!
//! Beside it run the services that a process needs even if it only submits: `relay` sends what is owed, `heartbeat`
//! says that the process lives, `reports` and `measures` write down what tasks say.

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
use crate::engine::slots::SlotKind;
use crate::mutant::{self, Mutant};
use crate::registry::Registry;
use crate::supervisor::Supervisor;

/// Between two attempts to consume.
const PAUSE: Duration = Duration::from_millis(500);

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// It was told to stop, and everything it had begun was brought to its end.
    Drained,
    /// It was told to stop, and what it had begun was given back, without having cost an attempt.
    Interrupted,
    /// Something that it cannot do without has failed; the log says what.
    Failed,
}

/// How a worker stops.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    /// Fires when the worker is to take no more, and to end what it has begun.
    pub(crate) drain: CancellationToken,
    /// Fires when it is to end at once.
    pub(crate) force: CancellationToken,
    /// How long draining may take.
    pub(crate) within: Duration,
}

/// The queues of a program: each with the tasks whose messages travel through it.
pub(crate) fn queues(registry: &Registry, window: u16) -> Vec<Subscribe> {
    let mut queues: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for task in registry.served() {
        queues.entry(task.queue()).or_default().push(task.name().to_owned());
    }
    let queues = queues.into_iter();
    queues.map(|(queue, tasks)| Subscribe { queue: queue.to_owned(), tasks, window, is_exact: false }).collect()
}

/// Works until it is told to stop.
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
    for subscription in subscriptions {
        let consume = consume::consume(Arc::clone(engine), supervisor.clone(), subscription, consuming.clone());
        supervisor.service("consume", consume);
    }
    if let Some(retention) = engine.settings.retention.filter(|_| engine.store.is_durable()) {
        let gone = Arc::new(Notify::new());
        let orphans = orphans::collect_always(Arc::clone(engine), Arc::clone(&gone), shutdown.drain.child_token());
        let retain = retention::retain(Arc::clone(engine), retention, gone, shutdown.drain.child_token());
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
        tracing::info!("giving back what is still running");
        engine.force.cancel();
        supervisor.idle().await;
    }
    Ok(match (broken, drained) {
        (true, _) => Stopped::Failed,
        (false, true) => Stopped::Drained,
        (false, false) => Stopped::Interrupted,
    })
}

/// Subscribes, as soon as the broker is there: it was when the process was built. `None` if the worker was stopped first.
async fn subscribe(
    engine: &Engine,
    queue: Subscribe,
    stop: &CancellationToken,
) -> Result<Option<Box<dyn Subscription>>, BrokerError> {
    let subscribed = stop.run_until_cancelled(async {
        loop {
            let error = match engine.broker.subscribe(queue.clone()).await {
                Ok(subscription) => return Ok(subscription),
                Err(error) => error,
            };
            if !matches!(error.kind(), BrokerErrorKind::Disconnected | BrokerErrorKind::TimedOut) {
                return Err(error);
            }
            tracing::warn!(%error, queue = queue.queue, "cannot consume yet, trying on");
            engine.clock.pause(PAUSE).await;
        }
    });
    subscribed.await.transpose()
}

/// Where no more losses than these are allowed, one that was none decides.
const FEW_LOSSES: u32 = 1;

/// What to subscribe to: every queue, or where the store's outbox is the only one, all tasks that take slots of one kind.
fn subscriptions(engine: &Engine) -> Vec<Subscribe> {
    let window = |tasks: &[String]| u16::try_from(consume::slots(engine, tasks)).unwrap_or(u16::MAX);
    if engine.broker.needs_relay() {
        let mut queues = queues(&engine.registry, 1);
        for queue in &mut queues {
            queue.window = window(&queue.tasks);
            let is_decisive = !engine.store.is_durable() && engine.settings.losses <= FEW_LOSSES;
            queue.is_exact = is_decisive && !mutant::is_on(Mutant::CountsWhatIsGivenBack);
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
