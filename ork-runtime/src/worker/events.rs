//! The lane of events: one batch after the other to the broker, so that they come in the order in which they were told.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::relay::PAUSE;
use crate::broker::BrokerErrorKind;
use crate::engine::{Batch, Engine, EventReceiver};
use crate::event::Event;
use crate::message::Outgoing;

/// No more are published at once: beyond it a broker may send them on more than one way.
const MOST: usize = 256;

/// Publishes until `closing` fires and nothing waits any more. Once `stop` fires it waits for no broker.
pub(super) async fn publish(
    engine: &Arc<Engine>,
    mut told: EventReceiver,
    stop: &CancellationToken,
    closing: &CancellationToken,
) {
    loop {
        let first = tokio::select! {
            biased;
            first = told.recv() => first,
            () = closing.cancelled() => told.try_recv().ok(),
        };
        let Some(Batch { mut events, done }) = first else { return };
        let mut all_done = vec![done];
        while events.len() < MOST {
            let Ok(more) = told.try_recv() else { break };
            events.extend(more.events);
            all_done.push(more.done);
        }
        for batch in events.chunks(MOST) {
            if !send(engine, batch, stop).await {
                // Who waits sees that it is not done; rows stay in the outbox for whoever comes next.
                all_done.clear();
            }
        }
        for done in all_done.into_iter().flatten() {
            // Whoever told it need not wait.
            let _gone = done.send(());
        }
    }
}

/// Publishes events until the broker has them; answers whether it has.
async fn send(engine: &Arc<Engine>, events: &[Event], stop: &CancellationToken) -> bool {
    let mut left: Vec<_> = events.iter().map(|event| Outgoing::Event(event.clone().into())).collect();
    loop {
        let results = engine.broker.publish(left.clone()).await;
        let mut again = Vec::new();
        for (event, result) in left.into_iter().zip(results) {
            let Err(error) = result else { continue };
            match error.kind() {
                BrokerErrorKind::TooLarge | BrokerErrorKind::Undeliverable | BrokerErrorKind::Config => {
                    tracing::debug!(%error, "an event cannot be told");
                }
                BrokerErrorKind::Disconnected
                | BrokerErrorKind::Refused
                | BrokerErrorKind::TimedOut
                | BrokerErrorKind::Closed
                | BrokerErrorKind::Protocol => again.push(event),
            }
        }
        if again.is_empty() {
            return true;
        }
        left = again;
        tokio::select! {
            biased;
            () = engine.force.cancelled() => return false,
            () = stop.cancelled() => return false,
            () = engine.clock.pause(PAUSE) => {}
        }
    }
}
