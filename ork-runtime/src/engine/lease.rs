//! Long work: after a while its delivery is acknowledged, and a lease in the store replaces it.
//!
//! A broker waits only for a limited time for an acknowledgement. [`keep`] wraps the calls for jobs in the store, and
//! costs nothing if a call ends in time. Work that has not started by then is requeued instead (`place`).

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::leases::CountedLease;
use super::outcome::{CallOutcome, Verdict};
use super::{Engine, retry};
use crate::broker::{Acker, Disposition};
use crate::context::MadeParts;
use crate::message::{Message, WorkKind};
use crate::mutant::{self, Mutant};
use crate::tx::{Lease, OutboxId, OutboxKind};

/// Added to `ack_timeout`, so that work without a slot is requeued before it would be leased.
const LEASE_DELAY: Duration = Duration::from_millis(100);

/// The pause before a failed lease is requested again.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// The hold of a process on a message that it processes: first the delivery, later a lease.
#[derive(Debug)]
pub(super) enum DeliveryGuard {
    /// The delivery, which is not acknowledged yet.
    Delivery(Box<dyn Acker>),
    /// The delivery is acknowledged, and this process holds this row of the outbox.
    Lease(OutboxId, CountedLease),
    /// Nothing any more.
    Ended,
}

impl DeliveryGuard {
    /// Settles the delivery or the lease. Leased work is never dead-lettered: its job records the failure.
    pub(super) async fn settle(self, engine: &Engine, disposition: Disposition) {
        match self {
            Self::Delivery(acker) => acker.settle(disposition),
            Self::Lease(row, _counted) => loop {
                let end = match disposition {
                    Disposition::Ack | Disposition::DeadLetter(..) => {
                        engine.store.delete_outbox(vec![row], engine.actor()).await
                    }
                    Disposition::Requeue | Disposition::RequeueElsewhere(..) => {
                        engine.store.release_outbox(vec![row], engine.actor()).await
                    }
                };
                let Err(error) = end else { return };
                // If the worker ends before that, another process takes the row over, and then finds that the work is
                // done.
                if retry::store_failed(engine, &error).await != Verdict::Again {
                    return;
                }
            },
            Self::Ended => {}
        }
    }

    /// Returns whether the channel of the delivery is closed, so that the broker redelivers the message.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Delivery(acker) => acker.is_channel_closed(),
            Self::Lease(..) | Self::Ended => false,
        }
    }

    /// Replaces the delivery with a lease, unless that was done before.
    pub(super) async fn exchange(&mut self, engine: &Engine, message: &Message) {
        if !matches!(self, Self::Delivery(_)) {
            return;
        }
        let kind = match message.kind {
            WorkKind::Job | WorkKind::Single | WorkKind::Step => OutboxKind::Start,
            WorkKind::Join => OutboxKind::Join,
            WorkKind::Hooks(which) => OutboxKind::Hooks { mask: which },
            WorkKind::Part { epoch, index } => {
                OutboxKind::Parts { epoch, first: index, len: 1, waited: message.waited }
            }
        };
        let lease = Lease { job: message.job, kind, attempt: message.attempt, actor: engine.actor() };
        let lease = if mutant::is_on(Mutant::LeasesNothing) { Ok(None) } else { engine.commit(lease).await };
        let guard = match lease {
            Ok(Some(row)) => Self::Lease(row, engine.leases.add()),
            // Another process has settled the work in the meantime: nothing is left to redeliver.
            Ok(None) => Self::Ended,
            Err(error) => {
                tracing::warn!(job = %message.job, %error, "cannot lease long work, keeping its delivery");
                return;
            }
        };
        if let Self::Delivery(acker) = std::mem::replace(self, guard) {
            tracing::debug!(job = %message.job, "leased long work and acknowledged its delivery");
            acker.settle(Disposition::Ack);
        }
    }
}

/// Calls a function, and replaces the delivery with a lease when that takes long. If the delivery was lost during the
/// claim, the function is not called, as the redelivery calls it.
pub(super) async fn call(
    engine: &Engine,
    message: &Message,
    guard: &mut DeliveryGuard,
    call: impl Future<Output = (CallOutcome, Option<MadeParts>)>,
) -> (CallOutcome, Option<MadeParts>) {
    if guard.is_lost() {
        return (CallOutcome::Interrupted, None);
    }
    keep(engine, message, guard, call).await
}

/// Runs work to its end, and replaces the delivery with a lease when that takes long.
pub(super) async fn keep<T>(
    engine: &Engine,
    message: &Message,
    guard: &mut DeliveryGuard,
    work: impl Future<Output = T>,
) -> T {
    keep_if(engine, message, guard, |_| true, work).await
}

/// Waits for the turn of work that has not started, and replaces the delivery with a lease when that takes long. A lost
/// delivery is not replaced: its message is delivered again, and starts the work.
pub(super) async fn keep_for_turn<T>(
    engine: &Engine,
    message: &Message,
    guard: &mut DeliveryGuard,
    turn: impl Future<Output = T>,
) -> T {
    if mutant::is_on(Mutant::KeepsDeliveryForTurn) {
        return turn.await;
    }
    keep_if(engine, message, guard, |guard| !guard.is_lost(), turn).await
}

/// As [`keep`], but replaces the delivery only if `may_lease` holds at that time.
async fn keep_if<T>(
    engine: &Engine,
    message: &Message,
    guard: &mut DeliveryGuard,
    may_lease: impl Fn(&DeliveryGuard) -> bool,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    // Most work ends at once, and needs no timer.
    let at_once = poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(end) => Poll::Ready(Some(end)),
        Poll::Pending => Poll::Ready(None),
    });
    if let Some(end) = at_once.await {
        return end;
    }
    if mutant::is_on(Mutant::NeverLeases) {
        return work.await;
    }
    // A little longer than work may wait for its slot, so that leased work has started.
    let mut patience = engine.settings.ack_timeout + LEASE_DELAY;
    while matches!(guard, DeliveryGuard::Delivery(_)) && engine.broker.needs_relay() && engine.store.records_jobs() {
        match select(work.as_mut(), engine.clock.pause(patience)).await {
            Either::Left((end, _)) => return end,
            Either::Right(((), _)) => patience = RETRY_PAUSE,
        }
        if !may_lease(guard) {
            continue;
        }
        // An exchange that has started is finished: otherwise no process would release the row.
        match select(work.as_mut(), pin!(guard.exchange(engine, message))).await {
            Either::Left((end, exchange)) => {
                exchange.await;
                return end;
            }
            Either::Right(((), _)) => {}
        }
    }
    work.await
}
