//! SIGINT and SIGTERM. The first signal stops the command gracefully, the second one immediately.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Receives both signals.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let one = |kind| signal(kind).map_err(|error| Failure::internal("signals cannot be received", error));
        Ok(Self { interrupt: one(SignalKind::interrupt())?, terminate: one(SignalKind::terminate())? })
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// This method is cancel safe: no signal is lost if the future is dropped.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
