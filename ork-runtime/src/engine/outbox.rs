//! The way from the engine to whoever sends what is owed: bounded, so that a slow broker slows the work down.

use tokio::sync::mpsc;

use crate::accounting::Owed;

/// How many rows may wait to be sent; a row holds one message, or one page of parts.
const CAPACITY: usize = 1_024;

/// Takes what this process holds and must send.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(mpsc::Sender<Owed>);

/// What is to be sent, in order.
pub(crate) type OutboxReceiver = mpsc::Receiver<Owed>;

impl Outbox {
    /// An outbox and its other end.
    pub(super) fn new() -> (Self, OutboxReceiver) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), receiver)
    }

    /// Hands rows over; waits while too many are on their way.
    pub(crate) async fn send(&self, owed: impl IntoIterator<Item = Owed>) {
        for row in owed {
            // Without a sender the process is ending; the rows stay in the store for the next one.
            drop(self.0.send(row).await);
        }
    }
}
