//! One subscription: what it delivers waits for a slot and is then processed on tasks of its own, those of one kind
//! that can begin together as a run.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Begun};
use super::window::Window;
use crate::broker::{Delivery, Subscription};
use crate::engine::slots::SlotKind;
use crate::engine::{Engine, batch, process};
use crate::mutant::{self, Mutant};
use crate::supervisor::Supervisor;
use crate::task::def::BoxFuture;

/// The window is thought over after this many deliveries, or sooner if it is smaller.
const REVIEW: u16 = 64;

/// What has waited for a slot for so long is too much for this worker.
const STALLED: Duration = Duration::from_millis(250);

/// What is given back and comes again waits twice as long as the time before, until it waits for so long: others may
/// have become free, and a message that only goes to and fro costs the broker little.
const PATIENCE: Duration = Duration::from_secs(10);

/// Consumes until `stop` fires. What has not begun by then is given back at once.
pub(super) async fn consume(
    engine: Arc<Engine>,
    supervisor: Supervisor,
    (mut subscription, tasks): (Box<dyn Subscription>, Vec<String>),
    stop: CancellationToken,
) {
    let mut since_review = 0_u16;
    let mut window = Window::new(slots(&engine, &tasks));
    let mut backlog = Backlog::default();
    let mut leases = engine.leases.watch();
    let heard = engine.idle.register(tasks.clone(), engine.clock.now());
    // A broker waits only so long for an acknowledgement.
    let ack_within = if engine.broker.needs_relay() { engine.settings.ack_within } else { Duration::MAX };
    let (stalled, mut nothing_began) = (STALLED.min(ack_within), Duration::ZERO);
    let mut patience = stalled;
    let start = |begun| match begun {
        Begun::One(delivery, slot) => {
            let engine = Arc::clone(&engine);
            supervisor.delivery(Box::pin(async move { process(&engine, *delivery, slot).await }));
        }
        Begun::Together(batch) => {
            let (engine, tracker) = (Arc::clone(&engine), supervisor.clone());
            supervisor.delivery(async move {
                let spawn = |alone: BoxFuture<()>| tracker.delivery(alone);
                batch::process_batch(&engine, batch, &spawn).await;
            });
        }
    };
    let receive = |backlog: &mut Backlog, mut delivery: Delivery| {
        engine.emit_ready(&delivery);
        // The store knows of what the outbox holds.
        if engine.broker.needs_relay() {
            delivery = engine.held.until_settled(delivery);
        }
        if let Some(begun) = backlog.push(&engine, delivery) {
            start(begun);
        }
    };
    loop {
        while let Some(begun) = backlog.pop(&engine) {
            start(begun);
            (nothing_began, patience) = (Duration::ZERO, stalled);
        }
        let waits = !backlog.is_empty();
        let delivery = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Ok(()) = leases.changed() => {
                subscription.resize(left(&window, *leases.borrow_and_update()));
                continue;
            }
            begun = backlog.next(&engine), if waits => {
                begun.into_iter().for_each(start);
                (nothing_began, patience) = (Duration::ZERO, stalled);
                continue;
            }
            delivery = subscription.next() => delivery,
            () = engine.clock.pause(stalled), if waits => {
                nothing_began += stalled;
                // Other workers may have slots for it. Once the window is as small as can be, what comes is what can
                // begin.
                let shrunk = window.stalled(stalled);
                if shrunk {
                    subscription.resize(left(&window, *leases.borrow()));
                }
                if (shrunk || nothing_began >= patience) && !mutant::is_on(Mutant::HoardsWork) {
                    backlog.give_back();
                    nothing_began = Duration::ZERO;
                    patience = (patience * 2).min(PATIENCE.min(ack_within));
                }
                continue;
            }
        };
        let Some(delivery) = delivery else { break };
        heard.now(engine.clock.now());
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
                subscription.resize(left(&window, *leases.borrow()));
            }
        }
    }
    subscription.stop().await;
    backlog.give_back();
}

/// How many slots there are for the work of these tasks.
pub(super) fn slots(engine: &Engine, tasks: &[String]) -> usize {
    let known = tasks.iter().filter_map(|task| engine.registry.get(task).ok());
    let mut kinds: Vec<_> = known.map(|task| SlotKind::of(&task.work)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter().map(|kind| engine.slots.size(kind)).sum()
}

/// How many deliveries to have at hand beside those that are leased.
fn left(window: &Window, leases: usize) -> u16 {
    window.size().saturating_sub(u16::try_from(leases).unwrap_or(u16::MAX)).max(1)
}
