//! The handle of a worker: stops it, and waits for its end.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::worker::Stopped;

/// A handle of the worker of a process. Made by [`Ork::spawn_worker`](crate::app::Ork::spawn_worker) and
/// [`Ork::worker`](crate::app::Ork::worker). Dropping it does not stop the worker.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    pub(super) stop: CancellationToken,
    pub(super) kill: CancellationToken,
    pub(super) ended: watch::Receiver<Option<Stopped>>,
}

impl WorkerHandle {
    /// Stops the worker gracefully: it takes no new deliveries, and finishes what it runs. Calls that take longer than
    /// the setting `shutdown` are stopped, and their work goes back to the queue.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops the worker at once: running calls are stopped and their work goes back to the queue, without counting an
    /// attempt.
    pub fn kill(&self) {
        self.kill.cancel();
        self.stop.cancel();
    }

    /// Waits until the worker has stopped, and returns how.
    ///
    /// # Cancel safety
    /// This method is cancel safe: the worker continues if the future is dropped.
    pub async fn wait(&self) -> Stopped {
        let mut ended = self.ended.clone();
        // Without a sender, the process was dropped, which stops its worker.
        ended.wait_for(Option::is_some).await.map_or(Stopped::Interrupted, |ended| ended.unwrap_or(Stopped::Failed))
    }
}
