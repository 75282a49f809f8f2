//! Receives the outcomes and events for this process in a private queue, whose name outlives the connection.

use std::sync::Arc;
use std::time::Duration;

use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::amqp_connection::AmqpConnection;
use super::connection_manager::{ConnectionManager, Pauses};
use super::error::LinkError;

/// The number of messages that may wait in this process before further ones stay with the broker.
pub(super) const WAITING: usize = 1024;

/// The time for which the queue outlives its last consumer, in milliseconds.
const EXPIRES: u32 = 10 * 60 * 1000;

/// The time that deleting the queue may take when the process ends.
const DELETE_DEADLINE: Duration = Duration::from_millis(500);

/// Reads a delivery; returns `None` if it cannot be read.
pub(super) type Read<T> = fn(&Delivery) -> Option<T>;

/// Maintains a private queue and passes on what arrives in it.
pub(super) struct Collector<T> {
    /// The connection over which the queue is consumed.
    pub(super) link: Arc<ConnectionManager>,
    /// The name of the private queue. No other process consumes it.
    pub(super) queue: ShortString,
    /// An exchange from which the queue receives all messages. `None` if messages are sent to the queue by its name.
    pub(super) exchange: Option<ShortString>,
    /// Receives what was read from the messages. If its receiver is dropped, collecting ends.
    pub(super) taken: mpsc::Sender<T>,
    /// Reads one message. Messages that it cannot read are ignored.
    pub(super) read: Read<T>,
}

impl<T: Send + 'static> Collector<T> {
    /// Declares and consumes the queue.
    ///
    /// The queue outlives a lost connection, so that an outcome sent in the meantime is not lost. After a while
    /// without a consumer the broker deletes it, so that it does not keep collecting messages that no process waits
    /// for.
    pub(super) async fn open(&self) -> Result<(Arc<AmqpConnection>, Consumer), LinkError> {
        let (live, channel) = self.link.channel("open a channel").await?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongUInt(EXPIRES));
        let declare = channel.queue_declare(self.queue.clone(), options, arguments);
        live.within("declare a private queue", declare).await?;
        if let Some(exchange) = self.exchange.clone() {
            let (all, options, none) = (ShortString::from("#"), QueueBindOptions::default(), FieldTable::default());
            let bind = channel.queue_bind(self.queue.clone(), exchange, all, options, none);
            live.within("bind a private queue", bind).await?;
        }
        let options = BasicConsumeOptions::default();
        let (tag, arguments) = (ShortString::default(), FieldTable::default());
        let consume = channel.basic_consume(self.queue.clone(), tag, options, arguments);
        let consumer = live.within("consume a private queue", consume).await?;
        Ok((live, consumer))
    }

    /// Passes on what arrives, until the receiver is dropped.
    pub(super) async fn run(self, first: (Arc<AmqpConnection>, Consumer), closed: CancellationToken) {
        tokio::select! {
            () = closed.cancelled() => {}
            () = self.taken.closed() => {}
            () = self.collect(first) => {}
        }
        // A process that shuts down in order leaves no queue behind; for others the broker deletes it later.
        if timeout(DELETE_DEADLINE, self.remove()).await.is_err() {
            tracing::debug!(queue = %self.queue, "cannot delete a private queue; it will expire");
        }
    }

    async fn remove(&self) {
        let removed = async {
            let (live, channel) = self.link.channel("open a channel").await?;
            let delete = channel.queue_delete(self.queue.clone(), QueueDeleteOptions::default());
            live.within("delete a private queue", delete).await?;
            Ok::<_, LinkError>(())
        };
        if let Err(error) = removed.await {
            tracing::debug!(error = error.detail, "cannot delete a private queue; it will expire");
        }
    }

    async fn collect(&self, first: (Arc<AmqpConnection>, Consumer)) {
        let mut open = Some(first);
        let mut pauses = Pauses::new();
        loop {
            let opened = match open.take() {
                Some(opened) => Ok(opened),
                None => self.open().await,
            };
            match opened {
                Ok((live, mut consumer)) => {
                    while let Some(delivery) = live.next(&mut consumer).await {
                        pauses = Pauses::new();
                        if let Some(read) = (self.read)(&delivery) {
                            if self.taken.send(read).await.is_err() {
                                return;
                            }
                        } else {
                            tracing::debug!(
                                queue = %self.queue,
                                "ignoring a message: an outcome without a correlation id, or not an event of ork"
                            );
                        }
                        // If this is lost, the message is delivered again, which is harmless: no call waits for the
                        // outcome any more, and a repeated event has the same id.
                        let acknowledge = delivery.acker.ack(BasicAckOptions::default());
                        if live.within("acknowledge an outcome", acknowledge).await.is_err() {
                            break;
                        }
                    }
                    if !live.is_up() {
                        self.link.mark_lost(&live);
                    }
                }
                Err(error) => tracing::debug!(error = error.detail, "cannot open a private queue yet, retrying"),
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }
}
