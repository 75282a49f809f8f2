//! A listener that receives all events of jobs, even if their publishers die: a durable queue on the exchange of
//! events, read at the end of a round.

use std::collections::HashSet;

use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use ork::{Event, EventKind, JobId};

use super::processes::Place;

async fn channel(place: &Place) -> (Connection, Channel) {
    let connection = Connection::connect(&place.broker, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

fn queue(place: &Place) -> String {
    format!("{}.received", place.prefix)
}

/// Receives events from now on.
pub(crate) async fn listen(place: &Place) {
    let (_connection, channel) = channel(place).await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(queue(place).into(), durable, quorum).await.unwrap();
    let (exchange, none) = (format!("{}.events", place.prefix), FieldTable::default());
    let bind = channel.queue_bind(queue(place).into(), exchange.into(), "#".into(), QueueBindOptions::default(), none);
    bind.await.unwrap();
}

/// Returns all events that were received, in order.
async fn received(place: &Place) -> Vec<Event> {
    let (_connection, channel) = channel(place).await;
    let mut events = Vec::new();
    while let Some(message) = channel.basic_get(queue(place).into(), BasicGetOptions { no_ack: true }).await.unwrap() {
        events.push(Event::from_json(&message.delivery.data).unwrap());
    }
    events
}

/// Asserts that each end was published, always under one id: the end of this job, and the end of its parts.
pub(crate) async fn audit(place: &Place, id: JobId, parts: u64) {
    let events = received(place).await;
    let n_received = events.len();
    let mut seen = HashSet::new();
    let first: Vec<_> = events.into_iter().filter(|event| event.job == id && seen.insert(event.id.clone())).collect();
    let kinds: Vec<_> = first.iter().map(|event| event.kind).collect();
    for kind in [EventKind::Created, EventKind::PartsCompleted, EventKind::Succeeded] {
        assert_eq!(kinds.iter().filter(|it| **it == kind).count(), 1, "{kind} of {kinds:?}");
    }
    assert_eq!((kinds.first(), kinds.last()), (Some(&EventKind::Created), Some(&EventKind::Succeeded)), "{kinds:?}");
    let completed = first.iter().find_map(|event| event.parts).unwrap();
    assert_eq!((completed.total, completed.completed, completed.failed, completed.canceled), (parts, parts, 0, 0));
    println!("received {n_received} events, {kinds:?} of the job");
}
