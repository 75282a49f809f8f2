//! The acker of a RabbitMQ delivery, bound to the channel that the delivery came from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::wire::RawDelivery;
use ork_ports::broker::{Acker, DeadLetterReason, Disposition};

/// The settlement of a delivery, sent to the task that owns its channel.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) generation: u64,
    pub(super) tag: u64,
    pub(super) action: ChannelAction,
}

/// The action on a channel that carries out a disposition.
#[derive(Debug)]
pub(super) enum ChannelAction {
    Ack,
    Requeue(Box<RawDelivery>),
    RequeueElsewhere(Box<DeadLetter>),
    DeadLetter(Box<DeadLetter>),
    /// The copy that replaces the delivery was confirmed, or will not be.
    Copied {
        confirmed: bool,
    },
}

/// A message for the dead letters.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) raw: RawDelivery,
    pub(super) reason: DeadLetterReason,
    pub(super) detail: String,
}

/// The [`Acker`] of one delivery.
pub(super) struct AmqpAcker {
    generation: u64,
    tag: u64,
    /// The current generation.
    current: Arc<AtomicU64>,
    /// Taken when the delivery is settled. If it is still present on drop, the delivery is requeued.
    left: Option<(RawDelivery, mpsc::UnboundedSender<Settled>)>,
}

impl AmqpAcker {
    pub(super) fn new(
        generation: u64,
        current: &Arc<AtomicU64>,
        tag: u64,
        raw: RawDelivery,
        settle: mpsc::UnboundedSender<Settled>,
    ) -> Self {
        Self { generation, tag, current: Arc::clone(current), left: Some((raw, settle)) }
    }

    fn send(&mut self, disposition: Disposition) {
        let Some((raw, settle)) = self.left.take() else {
            return;
        };
        let action = match disposition {
            Disposition::Ack => ChannelAction::Ack,
            Disposition::Requeue => ChannelAction::Requeue(Box::new(raw)),
            Disposition::RequeueElsewhere(reason, detail) => {
                ChannelAction::RequeueElsewhere(Box::new(DeadLetter { raw, reason, detail }))
            }
            Disposition::DeadLetter(reason, detail) => {
                ChannelAction::DeadLetter(Box::new(DeadLetter { raw, reason, detail }))
            }
        };
        // If the subscription has ended, so has its channel, and the broker redelivers the message.
        let _ended = settle.send(Settled { generation: self.generation, tag: self.tag, action });
    }
}

impl Acker for AmqpAcker {
    fn settle(mut self: Box<Self>, disposition: Disposition) {
        self.send(disposition);
    }

    fn is_channel_closed(&self) -> bool {
        self.current.load(Ordering::Acquire) != self.generation
    }
}

impl Drop for AmqpAcker {
    fn drop(&mut self) {
        self.send(Disposition::Requeue);
    }
}

impl fmt::Debug for AmqpAcker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpAcker")
            .field("generation", &self.generation)
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}
