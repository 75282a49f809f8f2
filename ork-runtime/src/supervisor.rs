//! The supervisor: spawns the services of a process and the processing of deliveries, waits for them at shutdown, and
//! stops the process in order if a service panics.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::Runtime;

/// Spawns services and deliveries, and waits for them.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Arc<dyn Runtime>,
    services: TaskTracker,
    deliveries: TaskTracker,
    stop: CancellationToken,
    failed: CancellationToken,
}

impl Supervisor {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        let (services, deliveries) = (TaskTracker::new(), TaskTracker::new());
        let (stop, failed) = (CancellationToken::new(), CancellationToken::new());
        Self(Arc::new(Inner { runtime, services, deliveries, stop, failed }))
    }

    /// Spawns a service, which must end once [`Supervisor::stopping`] is cancelled. If it panics, the process stops in
    /// order.
    pub(crate) fn service(&self, name: &'static str, service: impl Future<Output = ()> + Send + 'static) {
        self.0.runtime.spawn(Box::pin(self.watched(name, service)));
    }

    /// Spawns a service on a separate thread, so that it keeps running while user code blocks all threads of the
    /// runtime.
    pub(crate) fn thread(&self, name: &'static str, service: impl Future<Output = ()> + Send + 'static) {
        let service = Box::pin(self.watched(name, service));
        if let Err(error) = self.0.runtime.spawn_thread(&format!("ork-{name}"), service) {
            tracing::error!(service = name, %error, "cannot start a thread for a service, stopping");
            self.0.failed.cancel();
        }
    }

    fn watched(
        &self,
        name: &'static str,
        service: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let failed = self.0.failed.clone();
        self.0.services.track_future(async move {
            if AssertUnwindSafe(service).catch_unwind().await.is_err() {
                tracing::error!(service = name, "a service panicked, stopping");
                failed.cancel();
            }
        })
    }

    /// Spawns the processing of one delivery.
    pub(crate) fn delivery(&self, delivery: impl Future<Output = ()> + Send + 'static) {
        self.0.runtime.spawn(Box::pin(self.0.deliveries.track_future(delivery)));
    }

    /// Waits until no delivery is being processed.
    pub(crate) async fn idle(&self) {
        self.0.deliveries.close();
        self.0.deliveries.wait().await;
        self.0.deliveries.reopen();
    }

    /// Returns the token that is cancelled when services must end.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Returns the token that is cancelled when a service has panicked, or could not be started.
    pub(crate) fn failed(&self) -> CancellationToken {
        self.0.failed.clone()
    }

    /// Stops the services and waits until they have ended.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.services.close();
        self.0.services.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::system::TokioRuntime;

    fn supervisor() -> Supervisor {
        Supervisor::new(Arc::new(TokioRuntime))
    }

    /// Spawned on the runtime, as `service` does, it would never be polled: this test blocks the only thread.
    #[test]
    fn service_on_its_own_thread_runs_while_the_runtime_is_busy() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (supervisor, (alive, notification)) = (supervisor(), std::sync::mpsc::channel());
            supervisor.thread("heartbeat", async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                alive.send(()).unwrap();
            });
            notification.recv_timeout(Duration::from_mins(1)).unwrap();
            supervisor.stop().await;
            assert!(!supervisor.failed().is_cancelled());
        });
    }

    #[test]
    fn panic_of_a_service_thread_is_reported_as_failed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let supervisor = supervisor();
            supervisor.thread("heartbeat", async { panic!("a broken heart") });
            supervisor.failed().cancelled().await;
            supervisor.stop().await;
        });
    }
}
