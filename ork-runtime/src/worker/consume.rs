//! Consumes one subscription: each delivery waits for a slot and is then processed in a separate runtime task.
//! Deliveries of one kind that are available together are processed as a batch.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::window::Window;
use crate::broker::{Delivery, Subscription};
use crate::engine::slots::SlotKind;
use crate::engine::{Batch, Engine, Spawn, process};
use crate::mutant::{self, Mutant};
use crate::supervisor::Supervisor;
use crate::task::call::BoxFuture;

/// The size of the window is reviewed after this many deliveries, or after a whole window if that is smaller.
const REVIEW: u16 = 64;

/// If deliveries have waited for a slot this long, this worker has taken more than it can run.
const STALLED: Duration = Duration::from_millis(250);

/// The longest time that deliveries wait for a slot before they are requeued. The time doubles with each requeue until
/// a call starts: other workers may have become free, but messages that only go back and forth should cost the broker
/// little.
const PATIENCE: Duration = Duration::from_secs(10);

/// Consumes until `stop` is cancelled. Deliveries that have not started are then requeued at once.
pub(super) async fn consume(
    engine: Arc<Engine>,
    supervisor: Supervisor,
    mut subscription: Box<dyn Subscription>,
    tasks: Vec<String>,
    stop: CancellationToken,
) {
    let mut since_review = 0_u16;
    let mut window = Window::new(slots(&engine, &tasks));
    let mut backlog = Backlog::default();
    let mut leases = engine.leases.watch();
    let activity = engine.idle.register(tasks.clone(), engine.clock.now());
    // A broker waits for an acknowledgement only for a limited time.
    let ack_timeout = if engine.broker.needs_relay() { engine.settings.ack_timeout } else { Duration::MAX };
    let (stalled, mut stalled_for) = (STALLED.min(ack_timeout), Duration::ZERO);
    let mut patience = stalled;
    let spawn: Spawn = {
        let supervisor = supervisor.clone();
        Arc::new(move |future: BoxFuture<()>| supervisor.delivery(future))
    };
    let start = |batch: Batch| {
        let (engine, spawn) = (Arc::clone(&engine), Arc::clone(&spawn));
        supervisor.delivery(async move { process(&engine, batch, &spawn).await });
    };
    let receive = |backlog: &mut Backlog, mut delivery: Delivery| {
        engine.emit_ready(&delivery);
        // Without a relay the delivery is an outbox row, which the store knows about.
        if engine.broker.needs_relay() {
            delivery = engine.held.until_settled(delivery);
        }
        if let Some(batch) = backlog.push(&engine, delivery) {
            start(batch);
        }
    };
    loop {
        while let Some(batch) = backlog.pop(&engine) {
            start(batch);
            (stalled_for, patience) = (Duration::ZERO, stalled);
        }
        let waits = !backlog.is_empty();
        let delivery = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Ok(()) = leases.changed() => {
                subscription.resize(prefetch(&window, *leases.borrow_and_update()));
                continue;
            }
            batch = backlog.next(&engine), if waits => {
                batch.into_iter().for_each(start);
                (stalled_for, patience) = (Duration::ZERO, stalled);
                continue;
            }
            delivery = subscription.next() => delivery,
            () = engine.clock.pause(stalled), if waits => {
                stalled_for += stalled;
                // Other workers may have free slots. Once the window has its smallest size, only deliveries that can
                // start arrive.
                let shrunk = window.stalled(stalled);
                if shrunk {
                    subscription.resize(prefetch(&window, *leases.borrow()));
                }
                if (shrunk || stalled_for >= patience) && !mutant::is_on(Mutant::HoardsWork) {
                    backlog.requeue_all();
                    stalled_for = Duration::ZERO;
                    patience = (patience * 2).min(PATIENCE.min(ack_timeout));
                }
                continue;
            }
        };
        let Some(delivery) = delivery else { break };
        activity.now(engine.clock.now());
        receive(&mut backlog, delivery);
        since_review += 1;
        while let Some(delivery) = subscription.ready() {
            receive(&mut backlog, delivery);
            since_review += 1;
            if since_review >= REVIEW {
                break;
            }
        }
        if since_review >= REVIEW.min(window.size()) {
            since_review = 0;
            if let Some(mean) = engine.calls.take_mean(&tasks) {
                window.measured(mean);
                subscription.resize(prefetch(&window, *leases.borrow()));
            }
        }
    }
    subscription.stop().await;
    backlog.requeue_all();
}

/// Returns how many slots there are for the calls of these tasks.
pub(super) fn slots(engine: &Engine, tasks: &[String]) -> usize {
    let known = tasks.iter().filter_map(|task| engine.registry.get(task).ok());
    let mut kinds: Vec<_> = known.map(|task| SlotKind::of(&task.work)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter().map(|kind| engine.slots.size(kind)).sum()
}

/// Returns the prefetch of the subscription: the window, less the deliveries that were acknowledged against a lease.
fn prefetch(window: &Window, leases: usize) -> u16 {
    window.size().saturating_sub(u16::try_from(leases).unwrap_or(u16::MAX)).max(1)
}
