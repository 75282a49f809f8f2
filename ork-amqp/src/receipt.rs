//! The acker of a RabbitMQ delivery, bound to the channel that the delivery came from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::wire::Arrival;
use ork_ports::broker::{Acker, DeadLetterReason, Disposition};

/// How a delivery was settled, sent to the task that owns its channel.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) generation: u64,
    pub(super) tag: u64,
    pub(super) amount: Amount,
}

/// What a disposition means for the broker.
#[derive(Debug)]
pub(super) enum Amount {
    Ack,
    Release(Box<Arrival>),
    Decline(Box<Dead>),
    Dead(Box<Dead>),
    /// The copy that replaces the delivery was confirmed, or will not be.
    Copied {
        confirmed: bool,
    },
}

/// A message for the dead letters.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) arrival: Arrival,
    pub(super) reason: DeadLetterReason,
    pub(super) detail: String,
}

/// The [`Acker`] of one delivery.
pub(super) struct Ticket {
    generation: u64,
    tag: u64,
    /// The current generation.
    current: Arc<AtomicU64>,
    /// Taken when the delivery is settled. If it is still present on drop, the delivery is requeued.
    left: Option<(Arrival, mpsc::UnboundedSender<Settled>)>,
}

impl Ticket {
    pub(super) fn new(
        (generation, current): (u64, &Arc<AtomicU64>),
        tag: u64,
        arrival: Arrival,
        settle: mpsc::UnboundedSender<Settled>,
    ) -> Self {
        Self { generation, tag, current: Arc::clone(current), left: Some((arrival, settle)) }
    }

    fn give(&mut self, settlement: Disposition) {
        let Some((arrival, settle)) = self.left.take() else {
            return;
        };
        let amount = match settlement {
            Disposition::Ack => Amount::Ack,
            Disposition::Requeue => Amount::Release(Box::new(arrival)),
            Disposition::RequeueElsewhere(reason, detail) => {
                Amount::Decline(Box::new(Dead { arrival, reason, detail }))
            }
            Disposition::DeadLetter(reason, detail) => Amount::Dead(Box::new(Dead { arrival, reason, detail })),
        };
        // If the subscription has ended, so has its channel, and the broker redelivers the message.
        let _ended = settle.send(Settled { generation: self.generation, tag: self.tag, amount });
    }
}

impl Acker for Ticket {
    fn settle(mut self: Box<Self>, settlement: Disposition) {
        self.give(settlement);
    }

    fn is_channel_closed(&self) -> bool {
        self.current.load(Ordering::Acquire) != self.generation
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give(Disposition::Requeue);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("generation", &self.generation).field("tag", &self.tag).finish_non_exhaustive()
    }
}
