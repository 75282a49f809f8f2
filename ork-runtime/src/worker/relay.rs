//! The relay: publishes outbox rows until the broker has confirmed them, then removes them from the outbox.
//!
//! It runs only with brokers that do not read the outbox themselves. Rows that the engine has just committed come
//! straight from the engine; rows that are due later, or were left by a dead process, are taken from the store.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, BrokerErrorKind};
use crate::engine::retry::{self, PAUSE};
use crate::engine::{Engine, OutboxReceiver, RowReceiver, events, fail, hooks};
use crate::failure::{Failure, FailureKind};
use crate::message::Outgoing;
use crate::mutant::{self, Mutant};
use crate::retry::Backoff;
use crate::store::{StoreError, Take};
use crate::tx::{HeldRow, OutboxId, StoreNotice};

/// The maximum number of messages in one publish.
const BATCH: usize = 512;

/// The maximum number of batches that wait for their confirms.
const BATCHES: usize = 8;

/// Relays rows until `stop` is cancelled and no batch is under way.
pub(super) async fn relay(engine: Arc<Engine>, receiver: OutboxReceiver, stop: CancellationToken) {
    let OutboxReceiver { rows, events } = receiver;
    let closing = CancellationToken::new();
    let lane = super::events::publish(&engine, events, &stop, &closing);
    let rows = async {
        send_rows(&engine, rows, &stop).await;
        closing.cancel();
    };
    tokio::join!(lane, rows);
}

async fn send_rows(engine: &Arc<Engine>, mut receiver: RowReceiver, stop: &CancellationToken) {
    let mut changes = engine.store.notifier().watch();
    let (mut sending, mut hooking) = (FuturesUnordered::new(), FuturesUnordered::new());
    let (mut look, mut next_due) = (true, None);
    loop {
        if look && sending.len() < BATCHES && hooking.len() < BATCH {
            let take = Take { limit: BATCH, tasks: None, actor: engine.actor() };
            match engine.store.take_outbox(take).await {
                Ok(taken) => {
                    next_due = taken.next_due;
                    look = !taken.rows.is_empty();
                    if look {
                        let (hooks, rest) = partition_hooks(taken.rows);
                        hooking.extend(hooks.into_iter().map(|row| send_hooks(engine, row)));
                        let rest = read_events(engine, rest, stop).await;
                        // Rows that this process wrote before the query come before the rows that the query found.
                        let mut rows = Vec::new();
                        if !mutant::is_on(Mutant::SendsFoundRowsFirst) {
                            while let Ok(row) = receiver.try_recv() {
                                rows.push(row);
                            }
                        }
                        if !rows.is_empty() {
                            let (hooks, own) = partition_hooks(rows);
                            hooking.extend(hooks.into_iter().map(|row| send_hooks(engine, row)));
                            sending.push(send(engine, own, false, stop));
                        }
                        sending.push(send(engine, rest, true, stop));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read the outbox");
                    next_due = Some(engine.clock.now() + PAUSE);
                    look = false;
                }
            }
        }
        let due = async {
            match next_due {
                Some(due) => engine.clock.pause_until(due).await,
                None => std::future::pending().await,
            }
        };
        let mut rows = Vec::new();
        tokio::select! {
            biased;
            Some(()) = sending.next(), if !sending.is_empty() => {}
            Some(()) = hooking.next(), if !hooking.is_empty() => {}
            taken = receiver.recv_many(&mut rows, BATCH), if sending.len() < BATCHES => {
                if taken == 0 {
                    break;
                }
                let (hooks, rest) = partition_hooks(rows);
                hooking.extend(hooks.into_iter().map(|row| send_hooks(engine, row)));
                sending.push(send(engine, rest, false, stop));
            }
            change = changes.recv() => {
                if outbox_changed(&change) {
                    look = true;
                    // One look covers all notices so far.
                    while changes.try_recv().is_ok() {}
                }
            }
            () = due, if !look => look = true,
            () = stop.cancelled() => break,
        }
    }
    // Rows that arrived while the last batches were in flight.
    let mut rows = Vec::new();
    while let Ok(row) = receiver.try_recv() {
        rows.push(row);
    }
    let (hooks, rest) = partition_hooks(rows);
    hooking.extend(hooks.into_iter().map(|row| send_hooks(engine, row)));
    sending.push(send(engine, rest, false, stop));
    while sending.next().await.is_some() {}
    while hooking.next().await.is_some() {}
}

/// Splits the rows into those of hooks, each of which is handled alone and sends its hooks in order, and the others.
fn partition_hooks(rows: Vec<HeldRow>) -> (Vec<HeldRow>, Vec<HeldRow>) {
    rows.into_iter().partition(|row| matches!(row.messages.first(), Some(Outgoing::Hooks { .. })))
}

/// Sends the hooks of one job, then removes their row.
async fn send_hooks(engine: &Arc<Engine>, row: HeldRow) {
    let Some(Outgoing::Hooks { job, mask, .. }) = row.messages.first() else { return };
    let mut attempts = row.losses;
    loop {
        let before = attempts;
        attempts = attempts.saturating_add(1);
        let done = async {
            let is_done = hooks::send_stored(engine, *job, *mask, before).await?;
            if is_done { engine.store.delete_outbox(vec![row.id], engine.actor()).await } else { Ok(()) }
        };
        let Err(error) = done.await else { return };
        tracing::warn!(%error, %job, "cannot send the hooks of a job yet");
        // If this process ends first, the row stays in the outbox, for the next one.
        if retry::pause(engine, &engine.force, PAUSE).await.is_err() {
            return;
        }
    }
}

/// Whether the outbox may have new rows to take.
fn outbox_changed(change: &Result<StoreNotice, RecvError>) -> bool {
    match change {
        Ok(StoreNotice::OutboxReady) | Err(RecvError::Lagged(_)) => true,
        Ok(
            StoreNotice::JobEnded(_)
            | StoreNotice::JobChanged(_)
            | StoreNotice::ChangedElsewhere
            | StoreNotice::Event(_),
        )
        | Err(RecvError::Closed) => false,
    }
}

/// Replaces the placeholders in rows that another process has left by the events for which they stand.
async fn read_events(engine: &Engine, mut rows: Vec<HeldRow>, stop: &CancellationToken) -> Vec<HeldRow> {
    for row in &mut rows {
        while let Some(Outgoing::PendingEvent { job, row: id, what }) = row.messages.first() {
            match events::read(engine, *job, *id, *what).await {
                Ok(events) => row.messages = events,
                Err(error) => {
                    tracing::warn!(%error, %job, "cannot publish the events of a job yet");
                    if retry::pause(engine, stop, PAUSE).await.is_err() {
                        return Vec::new();
                    }
                }
            }
        }
    }
    rows
}

/// Publishes the events of the rows first, then the rows, until each message is confirmed or undeliverable, and then
/// removes the rows. The process that wrote rows `found` in the outbox may have died before it published any event, so
/// their events include the creation of the job.
fn send<'a>(
    engine: &'a Arc<Engine>,
    rows: Vec<HeldRow>,
    found: bool,
    stop: &'a CancellationToken,
) -> impl Future<Output = ()> + use<'a> {
    let ids =
        |free: bool| rows.iter().filter(|row| row.release_after_events == free).map(|row| row.id).collect::<Vec<_>>();
    let (free, ids) = (ids(true), ids(false));
    let (mut events, mut messages) = (Vec::new(), Vec::new());
    for message in rows.into_iter().flat_map(|row| row.messages) {
        match message {
            Outgoing::Event(event) => events.push(*event),
            Outgoing::Work(message) => {
                events.extend(engine.events_before(&message, found));
                messages.push(Outgoing::Work(message));
            }
            message => messages.push(message),
        }
    }
    // Queued before the future is polled, so that events keep the order of the batches.
    let published = (!events.is_empty() || !free.is_empty()).then(|| engine.outbox.emit(events));
    async move {
        let is_published = match published {
            Some(published) => published.await.is_ok(),
            None => true,
        };
        if is_published {
            release_rows(engine, free, stop).await;
            publish(engine, ids, messages, stop).await;
        }
    }
}

/// Publishes messages until each is confirmed or undeliverable, then removes their rows.
async fn publish(engine: &Arc<Engine>, ids: Vec<OutboxId>, mut messages: Vec<Outgoing>, stop: &CancellationToken) {
    if ids.is_empty() {
        return;
    }
    for message in &mut messages {
        if let Outgoing::Reply(reply) = message
            && reply.output_bytes().is_some_and(|bytes| engine.large.is_large(bytes))
        {
            reply.leave_out();
        }
    }
    while !messages.is_empty() {
        let results = engine.broker.publish(messages.clone()).await;
        let mut unconfirmed = Vec::new();
        for (mut message, result) in messages.into_iter().zip(results) {
            let Err(error) = result else { continue };
            if mutant::is_on(Mutant::ForgetsUnconfirmed) {
                continue;
            }
            match error.kind() {
                BrokerErrorKind::TooLarge if drop_output(&mut message) => unconfirmed.push(message),
                BrokerErrorKind::Refused | BrokerErrorKind::Protocol
                    if mutant::is_on(Mutant::GivesUpClosedChannels) =>
                {
                    fail_undeliverable(engine, message, &error).await;
                }
                kind if kind.is_permanent() => fail_undeliverable(engine, message, &error).await,
                _ => unconfirmed.push(message),
            }
        }
        messages = unconfirmed;
        // If this process ends first, the rows stay in the outbox, for the next one.
        if !messages.is_empty() && retry::pause(engine, stop, PAUSE).await.is_err() {
            return;
        }
    }
    let may_pass = |error: &StoreError| {
        tracing::warn!(%error, "cannot delete published messages from the outbox, retrying");
        true
    };
    let delete = || engine.store.delete_outbox(ids.clone(), engine.actor());
    // If this process ends first, the next one publishes them again; the receivers find that the work is already done.
    let _ended = retry::retry(engine, stop, Backoff::constant(PAUSE), may_pass, delete).await;
}

/// Releases rows that were held only until the events before them were published.
async fn release_rows(engine: &Arc<Engine>, ids: Vec<OutboxId>, stop: &CancellationToken) {
    if ids.is_empty() {
        return;
    }
    let may_pass = |error: &StoreError| {
        tracing::warn!(%error, "cannot release outbox rows of the next attempts, retrying");
        true
    };
    let release = || engine.store.release_outbox(ids.clone(), engine.actor());
    // If this process ends first, the rows are released then.
    let _ended = retry::retry(engine, stop, Backoff::constant(PAUSE), may_pass, release).await;
}

/// Drops the content of a message that the store has as well. Returns whether the message is smaller now.
fn drop_output(message: &mut Outgoing) -> bool {
    match message {
        Outgoing::Reply(reply) => reply.leave_out(),
        Outgoing::Work(_)
        | Outgoing::Hook(_)
        | Outgoing::Hooks { .. }
        | Outgoing::Event(_)
        | Outgoing::PendingEvent { .. } => false,
    }
}

/// Fails the job of a message that the broker will never accept, so that the error is visible.
async fn fail_undeliverable(engine: &Engine, message: Outgoing, error: &BrokerError) {
    let message = match message {
        Outgoing::Reply(reply) => {
            tracing::debug!(
                job = %reply.job, %error,
                "cannot deliver an outcome; usually its sender no longer waits for it"
            );
            return;
        }
        Outgoing::Hook(_) | Outgoing::Hooks { .. } | Outgoing::Event(_) | Outgoing::PendingEvent { .. } => return,
        Outgoing::Work(message) => message,
    };
    tracing::warn!(job = %message.job, task = message.task, %error, "cannot deliver a message");
    let failure = Failure::new(FailureKind::Lost, format!("its message cannot be delivered: {error}"));
    let settled = fail::undeliverable(engine, &message, failure).await;
    if let Err(error) = settled {
        tracing::warn!(%error, "cannot record the failure");
    }
}
