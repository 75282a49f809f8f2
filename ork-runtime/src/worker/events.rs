//! Publishes events: one batch after the other, so that they reach the broker in the order in which they were emitted.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EventBatch, EventReceiver, retry};
use crate::event::Event;
use crate::message::Outgoing;

/// The maximum number of events in one publish. A broker may send a larger one on more than one channel, out of order.
const MOST: usize = 256;

/// Publishes events until `closing` is cancelled and none are left. Once `stop` is cancelled, it no longer retries
/// while the broker cannot be reached.
pub(super) async fn publish(
    engine: &Arc<Engine>,
    mut batches: EventReceiver,
    stop: &CancellationToken,
    closing: &CancellationToken,
) {
    loop {
        let first = tokio::select! {
            biased;
            first = batches.recv() => first,
            () = closing.cancelled() => batches.try_recv().ok(),
        };
        let Some(EventBatch { mut events, done }) = first else { return };
        let mut all_done = vec![done];
        while events.len() < MOST {
            let Ok(more) = batches.try_recv() else { break };
            events.extend(more.events);
            all_done.push(more.done);
        }
        for batch in events.chunks(MOST) {
            if !send(engine, batch, stop).await {
                // The dropped senders show the waiting callers that the events were not published. Their rows stay in
                // the outbox, for the next process.
                all_done.clear();
            }
        }
        for done in all_done.into_iter().flatten() {
            // The caller may have stopped waiting.
            let _gone = done.send(());
        }
    }
}

/// Publishes events until the broker has confirmed them. Returns whether it has.
async fn send(engine: &Arc<Engine>, events: &[Event], stop: &CancellationToken) -> bool {
    let mut left: Vec<_> = events.iter().map(|event| Outgoing::Event(event.clone().into())).collect();
    loop {
        let results = engine.broker.publish(left.clone()).await;
        let mut unconfirmed = Vec::new();
        for (event, result) in left.into_iter().zip(results) {
            let Err(error) = result else { continue };
            if error.kind().is_permanent() {
                tracing::debug!(%error, "cannot publish an event");
            } else {
                unconfirmed.push(event);
            }
        }
        if unconfirmed.is_empty() {
            return true;
        }
        left = unconfirmed;
        if retry::pause(engine, stop, retry::PAUSE).await.is_err() {
            return false;
        }
    }
}
