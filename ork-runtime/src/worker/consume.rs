//! One subscription: what it delivers is processed on tasks of its own, those of one kind that came together as a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    mut subscription: Box<dyn Subscription>,
    stop: CancellationToken,
) {
    let measure = Arc::new(Measure::default());
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
        let (count, busy) = measure.read();
        if count >= REVIEW {
            window.measured(std::time::Duration::from_micros(busy / count.max(1)));
            measure.forget(count, busy);
            subscription.resize(left(&window, *leases.borrow()));
        }
        let Some(kind) = run::kind(&engine, &delivery) else {
            start_one(&engine, &supervisor, &measure, delivery);
            continue;
        };
        let (size, mut deliveries) = (run::size(&engine, &delivery), vec![delivery]);
        while deliveries.len() < size {
            match subscription.ready() {
                Some(next) if run::kind(&engine, &next).as_ref() == Some(&kind) => deliveries.push(next),
                next => {
                    put_by = next;
                    break;
                }
            }
        }
        start_run(&engine, &supervisor, &measure, (kind, deliveries));
    }
    subscription.stop().await;
}

/// How many deliveries to have at hand beside those that are leased.
fn left(window: &Window, leases: usize) -> u16 {
    window.size().saturating_sub(u16::try_from(leases).unwrap_or(u16::MAX)).max(1)
}

fn start_one(engine: &Arc<Engine>, supervisor: &Supervisor, measure: &Arc<Measure>, delivery: Delivery) {
    let (engine, measure) = (Arc::clone(engine), Arc::clone(measure));
    supervisor.delivery(Box::pin(async move {
        let begun = engine.clock.now();
        process(&engine, delivery).await;
        measure.add(1, engine.clock.now() - begun);
    }));
}

fn start_run(
    engine: &Arc<Engine>,
    supervisor: &Supervisor,
    measure: &Arc<Measure>,
    (kind, deliveries): (run::Kind, Vec<Delivery>),
) {
    let (engine, measure, tracker) = (Arc::clone(engine), Arc::clone(measure), supervisor.clone());
    supervisor.delivery(async move {
        let begun = engine.clock.now();
        let spawn = |alone: BoxFuture<()>| {
            let (engine, measure) = (Arc::clone(&engine), Arc::clone(&measure));
            tracker.delivery(async move {
                alone.await;
                measure.add(1, engine.clock.now() - begun);
            });
        };
        let n_together = run::process_run(&engine, kind, deliveries, &spawn).await;
        measure.add(n_together, engine.clock.now() - begun);
    });
}

/// How many deliveries took how long together.
#[derive(Debug, Default)]
struct Measure {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Measure {
    /// So many deliveries took this long, each.
    fn add(&self, count: u64, took: std::time::Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).saturating_mul(count);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.count.fetch_add(count, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.micros.load(Ordering::Relaxed))
    }

    fn forget(&self, count: u64, micros: u64) {
        self.count.fetch_sub(count, Ordering::Relaxed);
        self.micros.fetch_sub(micros, Ordering::Relaxed);
    }
}
