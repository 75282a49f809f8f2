//! SIGINT and SIGTERM: the first asks to end in order, the second to end at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Both signals.
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

    /// Waits for the next of them.
    ///
    /// # Cancel safety
    /// No signal is lost if the future is dropped.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
