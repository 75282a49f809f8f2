//! Long work: after a while its delivery is acknowledged, and a lease in the store takes its place.
//!
//! A broker waits only so long for an acknowledgement. Called around every call of the user's functions; what ends in
//! time costs nothing. What has not begun by then is given back instead, by `invoke`.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::watch;

use super::invoke::CallOutcome;
use super::{Engine, reject};
use crate::broker::{Acker, Disposition};
use crate::context::Made;
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};
use crate::tx::{Lease, OutboxId, OutboxKind};

/// What is given back for want of a slot is given back before it would be leased.
const GRACE: Duration = Duration::from_millis(100);

/// How long a lease that was not given is not asked for again.
const AGAIN: Duration = Duration::from_secs(10);

/// How many leases this process has. Their deliveries are not counted by the broker any more, so whoever consumes
/// must: or one worker would take the work of all.
#[derive(Debug, Default)]
pub(crate) struct Leases(watch::Sender<usize>);

/// One lease, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(watch::Sender<usize>);

impl Leases {
    /// Their number, now and whenever it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }

    fn one_more(&self) -> Counted {
        self.0.send_modify(|n| *n += 1);
        Counted(self.0.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// What a process holds of a dispatch: the receipt of its delivery, later a lease.
#[derive(Debug)]
pub(super) enum DeliveryGuard {
    /// The delivery waits for its settlement.
    Delivery(Box<dyn Acker>),
    /// The delivery is settled, and this row of the outbox is held.
    Lease(OutboxId, Counted),
    /// Nothing any more.
    Ended,
}

impl DeliveryGuard {
    /// Says what becomes of the dispatch. What a dead letter would say of leased work, its job says.
    pub(super) async fn settle(self, engine: &Engine, settlement: Disposition) {
        match self {
            Self::Delivery(receipt) => receipt.settle(settlement),
            Self::Lease(row, _counted) => loop {
                let end = match settlement {
                    Disposition::Ack | Disposition::DeadLetter(..) => {
                        engine.store.delete_outbox(vec![row], engine.actor()).await
                    }
                    Disposition::Requeue | Disposition::RequeueElsewhere(..) => {
                        engine.store.release_outbox(vec![row], engine.actor()).await
                    }
                };
                let Err(error) = end else { return };
                // If the worker ends before that, the row is found with what it held, and then that it is not owed.
                if reject::store_failed(engine, &error).await.is_some() {
                    return;
                }
            },
            Self::Ended => {}
        }
    }

    /// Whether the channel of the delivery is closed, so that the broker delivers the message again.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Delivery(receipt) => receipt.is_channel_closed(),
            Self::Lease(..) | Self::Ended => false,
        }
    }

    /// Exchanges the receipt for a lease, if it has none yet.
    pub(super) async fn exchange(&mut self, engine: &Engine, message: &Message) {
        if !matches!(self, Self::Delivery(_)) {
            return;
        }
        let ask = match message.kind {
            WorkKind::Job | WorkKind::Single | WorkKind::Step => OutboxKind::Start,
            WorkKind::Join => OutboxKind::Join,
            WorkKind::Hooks(which) => OutboxKind::Hooks { mask: which },
            WorkKind::Part { epoch, index } => OutboxKind::Parts { epoch, first: index, len: 1 },
        };
        let lease = Lease { job: message.job, kind: ask, attempt: message.attempt, actor: engine.actor() };
        let lease = if mutant::is_on(Mutant::LeasesNothing) { Ok(None) } else { engine.commit(lease).await };
        let tenure = match lease {
            Ok(Some(row)) => Self::Lease(row, engine.leases.one_more()),
            // Somebody has settled it in the meantime: there is nothing left to come again.
            Ok(None) => Self::Ended,
            Err(error) => {
                tracing::warn!(job = %message.job, %error, "long work could not be leased, its delivery is kept");
                return;
            }
        };
        if let Self::Delivery(receipt) = std::mem::replace(self, tenure) {
            tracing::debug!(job = %message.job, "the work is long, its delivery is acknowledged");
            receipt.settle(Disposition::Ack);
        }
    }
}

/// Calls a function and exchanges its receipt for a lease when that takes long. If the delivery was lost during the
/// claim the function is not called, as the next delivery of the message calls it.
pub(super) async fn call(
    engine: &Engine,
    message: &Message,
    tenure: &mut DeliveryGuard,
    call: impl Future<Output = (CallOutcome, Option<Made>)>,
) -> (CallOutcome, Option<Made>) {
    if tenure.is_lost() {
        return (CallOutcome::Interrupted, None);
    }
    keep(engine, message, tenure, call).await
}

/// Lets work run to its end, and exchanges its receipt for a lease when that takes long.
pub(super) async fn keep<T>(
    engine: &Engine,
    message: &Message,
    tenure: &mut DeliveryGuard,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    // Most of it ends at once, and needs no timer.
    let at_once = poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(end) => Poll::Ready(Some(end)),
        Poll::Pending => Poll::Ready(None),
    });
    if let Some(end) = at_once.await {
        return end;
    }
    // A little more than work may wait for its slot, so that what is leased has begun.
    let mut patience = engine.settings.ack_within + GRACE;
    while matches!(tenure, DeliveryGuard::Delivery(_)) && engine.broker.needs_relay() && engine.store.is_durable() {
        match select(work.as_mut(), engine.clock.pause(patience)).await {
            Either::Left((end, _)) => return end,
            Either::Right(((), _)) => patience = AGAIN,
        }
        // An exchange that has begun is brought to its end, or nobody would know of the row.
        match select(work.as_mut(), pin!(tenure.exchange(engine, message))).await {
            Either::Left((end, exchange)) => {
                exchange.await;
                return end;
            }
            Either::Right(((), _)) => {}
        }
    }
    work.await
}
