//! The reader of one part queue. It has its own channel, so that everything on it happens in order.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
};
use lapin::types::ShortString;
use lapin::{Channel, Consumer};

use super::amqp_connection::AmqpConnection;
use super::error::{Failed, LinkError};
use super::publish::Publisher;
use super::topology::Names;
use super::wire::{RawDelivery, dead_letter, records};
use ork_core::barrier::Entry;
use ork_ports::broker::{DeadLetterReason, PartReader, PartRecord, ReadRecord};

/// The queues that this process is reading at the moment.
pub(super) type Readings = Mutex<HashSet<String>>;

/// The right to be the one reader of a queue in this process. RabbitMQ closes the channel of every second reader, so a
/// process does not even try to open a second one.
#[derive(Debug)]
pub(super) struct Reading {
    queue: String,
    readings: Arc<Readings>,
}

impl Reading {
    /// Returns the right to read this queue, unless it is taken.
    pub(super) fn of(queue: &str, readings: &Arc<Readings>) -> Option<Self> {
        let free = readings.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.to_owned());
        free.then(|| Self { queue: queue.to_owned(), readings: Arc::clone(readings) })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.queue);
    }
}

pub(super) struct Reader {
    live: Arc<AmqpConnection>,
    channel: Channel,
    consumer: Consumer,
    queue: ShortString,
    names: Names,
    publisher: Publisher,
    /// The tags of the deliveries that are not acknowledged yet, in order.
    held: BTreeSet<u64>,
    /// The newest delivery among them.
    last: Option<(u64, RawDelivery)>,
    /// Dropped last: the channel is being closed at that point.
    _reading: Option<Reading>,
}

impl Reader {
    pub(super) fn new(
        live: Arc<AmqpConnection>,
        channel: Channel,
        consumer: Consumer,
        queue: ShortString,
        names: Names,
        publisher: Publisher,
    ) -> Self {
        let held = BTreeSet::new();
        Self { live, channel, consumer, queue, names, publisher, held, last: None, _reading: None }
    }

    /// Adds the right to be the only reader of the queue in this process.
    pub(super) fn with_reading(self, reading: Reading) -> Self {
        Self { _reading: Some(reading), ..self }
    }

    async fn ack(&mut self, tag: u64) -> Result<(), Failed> {
        self.held.remove(&tag);
        self.live.within("acknowledge a record", self.channel.basic_ack(tag, BasicAckOptions::default())).await
    }

    /// Publishes on the consumer's channel, so that the message comes after everything sent there before.
    async fn publish(&self, record: &PartRecord) -> Result<bool, Failed> {
        let publication = records::encode(record).map_err(Failed::Silent)?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let publish = self.channel.basic_publish(
            publication.exchange,
            publication.routing_key,
            options,
            &publication.body,
            publication.properties,
        );
        let confirm = self.live.within("publish a record", async { publish.await?.await }).await?;
        Ok(confirm.is_ack() && confirm.take_message().is_none())
    }

    async fn try_put_back(&mut self, own: &PartRecord, tag: Option<u64>) -> Result<bool, Failed> {
        let cancel = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        self.live.within("stop reading", cancel).await?;
        while let Some(Some(Ok(delivery))) = self.consumer.next().now_or_never() {
            self.held.insert(delivery.delivery_tag);
        }
        let options = BasicNackOptions { multiple: false, requeue: true };
        let rest = self.held.iter().filter(|held| Some(**held) != tag);
        let nacks = try_join_all(rest.map(|tag| self.channel.basic_nack(*tag, options)));
        self.live.within("requeue records", nacks).await?;
        // RabbitMQ does not confirm a nack, but it confirms what is published after it, and handles both in order.
        self.live
            .within("enable publisher confirms", self.channel.confirm_select(ConfirmSelectOptions::default()))
            .await?;
        if !self.publish(own).await? {
            return Ok(false);
        }
        if let Some(tag) = tag {
            self.ack(tag).await?;
        }
        self.live.finish(&self.channel).await;
        Ok(true)
    }
}

#[async_trait]
impl PartReader for Reader {
    async fn next(&mut self) -> Option<ReadRecord> {
        let delivery = self.live.next(&mut self.consumer).await?;
        let tag = delivery.delivery_tag;
        let entry = records::decode(&delivery.properties);
        let body: bytes::Bytes = delivery.data.into();
        self.held.insert(tag);
        if matches!(entry, Entry::Part { .. } | Entry::Unknown(_)) {
            let (exchange, routing_key, redelivered) = (delivery.exchange, delivery.routing_key, delivery.redelivered);
            let properties = delivery.properties;
            self.last = Some((tag, RawDelivery { exchange, routing_key, redelivered, properties, body: body.clone() }));
        }
        Some(ReadRecord { tag, entry, body })
    }

    async fn mark(&mut self, mark: u128) -> bool {
        let (queue, id) = (self.queue.to_string(), format!("mark.{mark:032x}"));
        let record = PartRecord { queue, id, entry: Entry::Mark(mark), body: bytes::Bytes::new() };
        // Before confirms are enabled on the channel, the broker does not answer a publish; if the mark is lost, so
        // is the channel.
        self.publish(&record).await.is_ok()
    }

    async fn done(&mut self, tag: u64) -> bool {
        self.ack(tag).await.is_ok()
    }

    async fn dead_letter(&mut self, tag: u64, why: &str) -> bool {
        let Some((_, raw)) = self.last.take().filter(|(last, _)| *last == tag) else {
            return false;
        };
        tracing::warn!(queue = %self.queue, why, "moving an invalid part record to the dead letters");
        let publication = dead_letter(raw, &self.names, self.queue.as_str(), DeadLetterReason::Undecodable, why);
        self.publisher.publish_one(publication).await.is_ok() && self.done(tag).await
    }

    async fn put_back(mut self: Box<Self>, own: PartRecord, tag: Option<u64>) -> bool {
        match self.try_put_back(&own, tag).await {
            Ok(done) => done,
            Err(failed) => {
                let error = LinkError::from(failed);
                tracing::debug!(error = error.detail, queue = %self.queue, "lost the reader of a part queue");
                false
            }
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("queue", &self.queue).finish_non_exhaustive()
    }
}
