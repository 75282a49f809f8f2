//! The channel from the engine to the relay, which sends outbox rows and events. It is bounded, so that a slow broker
//! slows the work down.

use tokio::sync::{mpsc, oneshot};

use crate::event::Event;
use crate::tx::HeldRow;

/// The number of rows that may wait to be sent; a row holds one message, or one page of parts.
const CAPACITY: usize = 1_024;

/// The sending side, for rows that this process holds and must send.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    rows: mpsc::Sender<HeldRow>,
    events: mpsc::UnboundedSender<EventBatch>,
}

/// The rows to send, in order.
pub(crate) type RowReceiver = mpsc::Receiver<HeldRow>;

/// The events to publish, in order.
pub(crate) type EventReceiver = mpsc::UnboundedReceiver<EventBatch>;

/// Events that are published together, and the channel that confirms them.
#[derive(Debug)]
pub(crate) struct EventBatch {
    pub(crate) events: Vec<Event>,
    pub(crate) done: Option<oneshot::Sender<()>>,
}

/// The receiving side.
#[derive(Debug)]
pub(crate) struct OutboxReceiver {
    pub(crate) rows: RowReceiver,
    pub(crate) events: EventReceiver,
}

impl Outbox {
    /// Creates an outbox and its receiving side.
    pub(super) fn new() -> (Self, OutboxReceiver) {
        let (sender, rows) = mpsc::channel(CAPACITY);
        let (event_sender, events) = mpsc::unbounded_channel();
        (Self { rows: sender, events: event_sender }, OutboxReceiver { rows, events })
    }

    /// Passes rows to the relay; waits while too many are queued.
    pub(crate) async fn send(&self, rows: impl IntoIterator<Item = HeldRow>) {
        for row in rows {
            // If the relay is gone, the process is ending; the rows stay in the store for the next process.
            drop(self.rows.send(row).await);
        }
    }

    /// Queues events to be published, in the order of these calls. The returned receiver resolves when the broker has
    /// them.
    pub(crate) fn emit(&self, events: Vec<Event>) -> oneshot::Receiver<()> {
        let (done, confirmed) = oneshot::channel();
        drop(self.events.send(EventBatch { events, done: Some(done) }));
        confirmed
    }
}
