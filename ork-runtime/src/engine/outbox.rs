//! The way from the engine to whoever sends what is owed: bounded, so that a slow broker slows the work down.

use tokio::sync::{mpsc, oneshot};

use crate::event::Event;
use crate::tx::HeldRow;

/// How many rows may wait to be sent; a row holds one message, or one page of parts.
const CAPACITY: usize = 1_024;

/// Takes what this process holds and must send.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    rows: mpsc::Sender<HeldRow>,
    events: mpsc::UnboundedSender<Batch>,
}

/// What is to be sent, in order.
pub(crate) type RowReceiver = mpsc::Receiver<HeldRow>;

/// What is to be told, in order.
pub(crate) type EventReceiver = mpsc::UnboundedReceiver<Batch>;

/// Events that are to be told together, and who waits for that.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) done: Option<oneshot::Sender<()>>,
}

/// The other ends.
#[derive(Debug)]
pub(crate) struct OutboxReceiver {
    pub(crate) rows: RowReceiver,
    pub(crate) events: EventReceiver,
}

impl Outbox {
    /// An outbox and its other end.
    pub(super) fn new() -> (Self, OutboxReceiver) {
        let (sender, rows) = mpsc::channel(CAPACITY);
        let (told, events) = mpsc::unbounded_channel();
        (Self { rows: sender, events: told }, OutboxReceiver { rows, events })
    }

    /// Hands rows over; waits while too many are on their way.
    pub(crate) async fn send(&self, to_send: impl IntoIterator<Item = HeldRow>) {
        for row in to_send {
            // Without a sender the process is ending; the rows stay in the store for the next one.
            drop(self.rows.send(row).await);
        }
    }

    /// Has events told, in the order of these calls; what comes back says when the broker has them.
    pub(crate) fn tell(&self, events: Vec<Event>) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        drop(self.events.send(Batch { events, done: Some(done) }));
        told
    }
}
