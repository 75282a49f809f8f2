//! One subscription: what it delivers is processed on tasks of its own, those of one kind that came together as a run.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::window::Window;
use crate::broker::{Delivery, Subscription};
use crate::engine::{Engine, process, run};
use crate::supervisor::Supervisor;
use crate::task::def::BoxFuture;

/// The window is thought over after this many deliveries.
const REVIEW: u64 = 64;

/// Consumes until `stop` fires.
pub(super) async fn consume(
    engine: Arc<Engine>,
    supervisor: Supervisor,
    (mut subscription, tasks): (Box<dyn Subscription>, Vec<String>),
    stop: CancellationToken,
) {
    let mut n_deliveries = 0_u64;
    let mut window = Window::new(engine.settings.concurrency);
    let mut put_by = None;
    let mut leases = engine.leases.watch();
    loop {
        let delivery = tokio::select! {
            biased;
            delivery = std::future::ready(put_by.take()), if put_by.is_some() => delivery,
            () = stop.cancelled() => break,
            Ok(()) = leases.changed() => {
                subscription.resize(left(&window, *leases.borrow_and_update()));
                continue;
            }
            delivery = subscription.next() => delivery,
        };
        let Some(delivery) = delivery else { break };
        n_deliveries += 1;
        engine.tell_ready(&delivery);
        if n_deliveries.is_multiple_of(REVIEW)
            && let Some(mean) = engine.calls.take_mean(&tasks)
        {
            window.measured(mean);
            subscription.resize(left(&window, *leases.borrow()));
        }
        let Some(kind) = run::kind(&engine, &delivery) else {
            start_one(&engine, &supervisor, delivery);
            continue;
        };
        let (size, mut deliveries) = (run::size(&engine, &delivery), vec![delivery]);
        while deliveries.len() < size {
            match subscription.ready() {
                Some(next) if run::kind(&engine, &next).as_ref() == Some(&kind) => {
                    engine.tell_ready(&next);
                    deliveries.push(next);
                }
                next => {
                    put_by = next;
                    break;
                }
            }
        }
        start_run(&engine, &supervisor, (kind, deliveries));
    }
    subscription.stop().await;
}

/// How many deliveries to have at hand beside those that are leased.
fn left(window: &Window, leases: usize) -> u16 {
    window.size().saturating_sub(u16::try_from(leases).unwrap_or(u16::MAX)).max(1)
}

fn start_one(engine: &Arc<Engine>, supervisor: &Supervisor, delivery: Delivery) {
    let engine = Arc::clone(engine);
    supervisor.delivery(Box::pin(async move { process(&engine, delivery).await }));
}

fn start_run(engine: &Arc<Engine>, supervisor: &Supervisor, (kind, deliveries): (run::Kind, Vec<Delivery>)) {
    let (engine, tracker) = (Arc::clone(engine), supervisor.clone());
    supervisor.delivery(async move {
        let spawn = |alone: BoxFuture<()>| tracker.delivery(alone);
        run::process_run(&engine, kind, deliveries, &spawn).await;
    });
}
