//! The supervisor: spawns what lives long, waits for it at the end, and stops the process in order when a part of it
//! panics.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and waits for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supervisor(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    services: TaskTracker,
    deliveries: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
}

impl Supervisor {
    /// Spawns a service, which ends by itself after [`Supervisor::stopping`]. If it panics, the process stops in order.
    pub(crate) fn service(&self, name: &'static str, service: impl Future<Output = ()> + Send + 'static) {
        let failed = self.0.failed.clone();
        self.0.services.spawn(async move {
            if AssertUnwindSafe(service).catch_unwind().await.is_err() {
                tracing::error!(service = name, "a service panicked, stopping");
                failed.cancel();
            }
        });
    }

    /// Spawns the processing of one delivery.
    pub(crate) fn delivery(&self, delivery: impl Future<Output = ()> + Send + 'static) {
        self.0.deliveries.spawn(delivery);
    }

    /// Waits until no delivery is being processed.
    pub(crate) async fn idle(&self) {
        self.0.deliveries.close();
        self.0.deliveries.wait().await;
        self.0.deliveries.reopen();
    }

    /// Fires when services must end.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Fires when a service has panicked.
    pub(crate) fn failed(&self) -> CancellationToken {
        self.0.failed.clone()
    }

    /// Ends the services and waits for them.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.services.close();
        self.0.services.wait().await;
    }
}
