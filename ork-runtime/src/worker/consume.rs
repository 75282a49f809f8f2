//! One subscription: each delivery is processed on a task of its own, and what comes of it is carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::window::Window;
use crate::broker::Subscription;
use crate::engine::{Engine, process};
use crate::supervisor::Supervisor;

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
    let mut reviewed = 0;
    loop {
        let delivery = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            delivery = subscription.next() => delivery,
        };
        let Some(delivery) = delivery else { break };
        let (count, busy) = measure.read();
        if count >= reviewed + REVIEW {
            window.measured(std::time::Duration::from_micros(busy / count.max(1)));
            measure.forget(count, busy);
            reviewed = 0;
            subscription.resize(window.size());
        }
        let (engine, measure) = (Arc::clone(&engine), Arc::clone(&measure));
        supervisor.delivery(Box::pin(async move {
            let begun = engine.clock.now();
            let (settlement, receipt) = process(&engine, delivery).await;
            measure.add(engine.clock.now() - begun);
            receipt.settle(settlement);
        }));
    }
    subscription.stop().await;
}

/// How many deliveries took how long together.
#[derive(Debug, Default)]
struct Measure {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Measure {
    fn add(&self, took: std::time::Duration) {
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.micros.load(Ordering::Relaxed))
    }

    fn forget(&self, count: u64, micros: u64) {
        self.count.fetch_sub(count, Ordering::Relaxed);
        self.micros.fetch_sub(micros, Ordering::Relaxed);
    }
}
