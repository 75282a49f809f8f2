//! The relay: publishes what is owed until the broker has confirmed it, then removes it from the outbox.
//!
//! Only for brokers that do not take the outbox themselves. What the engine has just written comes straight from it;
//! what is due later, or was left by a dead process, is taken from the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, BrokerErrorKind};
use crate::engine::{Engine, OutboxReceiver, RowReceiver, events, fail, hooks};
use crate::failure::{Failure, FailureKind};
use crate::message::Outgoing;
use crate::mutant::{self, Mutant};
use crate::store::Take;
use crate::tx::{HeldRow, OutboxId, StoreNotice};

/// How many messages are published at once.
const BATCH: usize = 512;

/// How many batches may be unconfirmed.
const BATCHES: usize = 8;

/// How long to wait after the broker was found to be away.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// Relays until `stop` fires and nothing is left on its way.
pub(super) async fn relay(engine: Arc<Engine>, to_send: OutboxReceiver, stop: CancellationToken) {
    let OutboxReceiver { rows, events } = to_send;
    let closing = CancellationToken::new();
    let lane = super::events::publish(&engine, events, &stop, &closing);
    let rows = async {
        send_rows(&engine, rows, &stop).await;
        closing.cancel();
    };
    tokio::join!(lane, rows);
}

async fn send_rows(engine: &Arc<Engine>, mut to_send: RowReceiver, stop: &CancellationToken) {
    let mut changes = engine.store.notifier().watch();
    let (mut sending, mut hooking) = (FuturesUnordered::new(), FuturesUnordered::new());
    let (mut look, mut next_due) = (true, None);
    loop {
        if look && sending.len() < BATCHES && hooking.len() < BATCH {
            let take = Take { limit: BATCH, tasks: None, actor: engine.actor() };
            match engine.store.take_outbox(take).await {
                Ok(taken) => {
                    next_due = taken.next_due;
                    look = !taken.to_send.is_empty();
                    if look {
                        let (hooks, rest) = apart(taken.to_send);
                        hooking.extend(hooks.into_iter().map(|row| follow(engine, row)));
                        let rest = read_events(engine, rest, stop).await;
                        // What was written here before the store was asked comes before what it found.
                        let mut rows = Vec::new();
                        if !mutant::is_on(Mutant::SendsFoundRowsFirst) {
                            while let Ok(row) = to_send.try_recv() {
                                rows.push(row);
                            }
                        }
                        if !rows.is_empty() {
                            let (hooks, own) = apart(rows);
                            hooking.extend(hooks.into_iter().map(|row| follow(engine, row)));
                            sending.push(send(engine, (own, false), stop));
                        }
                        sending.push(send(engine, (rest, true), stop));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be read");
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
            taken = to_send.recv_many(&mut rows, BATCH), if sending.len() < BATCHES => {
                if taken == 0 {
                    break;
                }
                let (hooks, rest) = apart(rows);
                hooking.extend(hooks.into_iter().map(|row| follow(engine, row)));
                sending.push(send(engine, (rest, false), stop));
            }
            change = changes.recv() => {
                if is_owed(&change) {
                    look = true;
                    // One look is enough for all that was told until now.
                    while changes.try_recv().is_ok() {}
                }
            }
            () = due, if !look => look = true,
            () = stop.cancelled() => break,
        }
    }
    // What came in while the last batches were on their way.
    let mut rows = Vec::new();
    while let Ok(row) = to_send.try_recv() {
        rows.push(row);
    }
    let (hooks, rest) = apart(rows);
    hooking.extend(hooks.into_iter().map(|row| follow(engine, row)));
    sending.push(send(engine, (rest, false), stop));
    while sending.next().await.is_some() {}
    while hooking.next().await.is_some() {}
}

/// The rows that have hooks sent, one after the other and each by itself, and the rest.
fn apart(rows: Vec<HeldRow>) -> (Vec<HeldRow>, Vec<HeldRow>) {
    rows.into_iter().partition(|row| matches!(row.messages.first(), Some(Outgoing::Hooks { .. })))
}

/// Has the hooks of one job sent, then removes their row.
async fn follow(engine: &Arc<Engine>, row: HeldRow) {
    let Some(Outgoing::Hooks { job, mask: which, .. }) = row.messages.first() else { return };
    let mut begun = row.losses;
    loop {
        let before = begun;
        begun = begun.saturating_add(1);
        let done = async {
            let paid = hooks::pay(engine, *job, *which, before).await?;
            if paid { engine.store.delete_outbox(vec![row.id], engine.actor()).await } else { Ok(()) }
        };
        let Err(error) = done.await else { return };
        tracing::warn!(%error, %job, "what follows a job is not sent yet");
        tokio::select! {
            biased;
            // The row stays in the outbox, for whoever comes next.
            () = engine.force.cancelled() => return,
            () = engine.clock.pause(PAUSE) => {}
        }
    }
}

fn is_owed(change: &Result<StoreNotice, RecvError>) -> bool {
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

/// Makes the events that rows stand for which another process has left.
async fn read_events(engine: &Engine, mut rows: Vec<HeldRow>, stop: &CancellationToken) -> Vec<HeldRow> {
    for row in &mut rows {
        while let Some(Outgoing::PendingEvent { job, row: id, what }) = row.messages.first() {
            match events::read(engine, (*job, *id), *what).await {
                Ok(events) => row.messages = events,
                Err(error) => {
                    tracing::warn!(%error, %job, "what happened to a job is not told yet");
                    if stop.run_until_cancelled(engine.clock.pause(PAUSE)).await.is_none() {
                        return Vec::new();
                    }
                }
            }
        }
    }
    rows
}

/// Has events told, then publishes rows until each message is confirmed or cannot be, then removes them. Rows that were
/// `found` in the outbox may be those of a process that died before it told anything.
fn send<'a>(
    engine: &'a Arc<Engine>,
    (rows, found): (Vec<HeldRow>, bool),
    stop: &'a CancellationToken,
) -> impl Future<Output = ()> + use<'a> {
    let ids =
        |back: bool| rows.iter().filter(|row| row.release_after_events == back).map(|row| row.id).collect::<Vec<_>>();
    let (back, ids) = (ids(true), ids(false));
    let (mut told, mut messages) = (Vec::new(), Vec::new());
    for message in rows.into_iter().flat_map(|row| row.messages) {
        match message {
            Outgoing::Event(event) => told.push(*event),
            Outgoing::Work(message) => {
                told.extend(engine.before(&message, found));
                messages.push(Outgoing::Work(message));
            }
            message => messages.push(message),
        }
    }
    // Their place is taken here, whichever batch is done first.
    let told = (!told.is_empty() || !back.is_empty()).then(|| engine.outbox.tell(told));
    async move {
        let is_told = match told {
            Some(told) => told.await.is_ok(),
            None => true,
        };
        if is_told {
            give_back(engine, back, stop).await;
            publish(engine, (ids, messages), stop).await;
        }
    }
}

async fn publish(engine: &Arc<Engine>, (ids, mut messages): (Vec<OutboxId>, Vec<Outgoing>), stop: &CancellationToken) {
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
        let mut again = Vec::new();
        for (mut message, result) in messages.into_iter().zip(results) {
            let Err(error) = result else { continue };
            if mutant::is_on(Mutant::ForgetsUnconfirmed) {
                continue;
            }
            match error.kind() {
                BrokerErrorKind::TooLarge if leaves_out(&mut message) => again.push(message),
                BrokerErrorKind::TooLarge | BrokerErrorKind::Undeliverable | BrokerErrorKind::Config => {
                    refused(engine, message, &error).await;
                }
                BrokerErrorKind::Disconnected
                | BrokerErrorKind::Refused
                | BrokerErrorKind::TimedOut
                | BrokerErrorKind::Closed
                | BrokerErrorKind::Protocol => again.push(message),
            }
        }
        messages = again;
        if !messages.is_empty() {
            tokio::select! {
                biased;
                // The rows stay in the outbox, for whoever comes next.
                () = engine.force.cancelled() => return,
                () = stop.cancelled() => return,
                () = engine.clock.pause(PAUSE) => {}
            }
        }
    }
    while let Err(error) = engine.store.delete_outbox(ids.clone(), engine.actor()).await {
        tracing::warn!(%error, "published messages are still in the outbox");
        tokio::select! {
            biased;
            // They are published again by whoever comes next, and then found to be done.
            () = engine.force.cancelled() => return,
            () = stop.cancelled() => return,
            () = engine.clock.pause(PAUSE) => {}
        }
    }
}

/// Lets others have rows that waited for what was sent before.
async fn give_back(engine: &Arc<Engine>, ids: Vec<OutboxId>, stop: &CancellationToken) {
    if ids.is_empty() {
        return;
    }
    while let Err(error) = engine.store.release_outbox(ids.clone(), engine.actor()).await {
        tracing::warn!(%error, "the next attempt of a job waits for the store");
        // They are free once this process has ended.
        if stop.run_until_cancelled(engine.clock.pause(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Leaves out what the store has; says whether that made the message smaller.
fn leaves_out(message: &mut Outgoing) -> bool {
    match message {
        Outgoing::Reply(reply) => reply.leave_out(),
        Outgoing::Work(_)
        | Outgoing::Hook(_)
        | Outgoing::Hooks { .. }
        | Outgoing::Event(_)
        | Outgoing::PendingEvent { .. } => false,
    }
}

/// A message that the broker will never take: its job fails, visibly.
async fn refused(engine: &Engine, message: Outgoing, error: &BrokerError) {
    let message = match message {
        Outgoing::Reply(reply) => {
            tracing::debug!(job = %reply.job, %error, "an outcome cannot be delivered: mostly nobody waits for it any more");
            return;
        }
        Outgoing::Hook(_) | Outgoing::Hooks { .. } | Outgoing::Event(_) | Outgoing::PendingEvent { .. } => return,
        Outgoing::Work(message) => message,
    };
    tracing::warn!(job = %message.job, task = message.task, %error, "a message cannot be delivered");
    let failure = Failure::new(FailureKind::Lost, format!("its message cannot be delivered: {error}"));
    let settled = fail::undeliverable(engine, &message, failure).await;
    if let Err(error) = settled {
        tracing::warn!(%error, "the failure could not be written down");
    }
}
