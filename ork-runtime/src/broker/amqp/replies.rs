//! Outcomes that come back to this process: a queue of its own, whose name outlives the connection.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::Trouble;
use super::link::{BackOff, Link, Live};
use super::wire::decode_reply;
use crate::broker::Answered;

/// Outcomes that wait for whoever asked, before the broker has to keep them.
pub(super) const WAITING: usize = 1024;

/// How long the queue outlives its last consumer, in milliseconds.
const EXPIRES: u32 = 10 * 60 * 1000;

/// How long the last word to the broker may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Keeps the queue and hands on what comes in.
pub(super) struct Collector {
    pub(super) link: Arc<Link>,
    pub(super) queue: ShortString,
    pub(super) answers: mpsc::Sender<Answered>,
}

impl Collector {
    /// Declares and consumes the queue.
    ///
    /// It outlives a lost connection, so that an outcome that is sent meanwhile is not lost; without a consumer for a
    /// while the broker deletes it, so that it never collects for long what nobody waits for.
    pub(super) async fn open(&self) -> Result<(Arc<Live>, Consumer), Trouble> {
        let live = self.link.live().await?;
        let channel = live.channel("open a channel").await?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongUInt(EXPIRES));
        let declare = channel.queue_declare(self.queue.clone(), options, arguments);
        live.within("declare the queue for outcomes", declare).await?;
        let options = BasicConsumeOptions::default();
        let (tag, arguments) = (ShortString::default(), FieldTable::default());
        let consume = channel.basic_consume(self.queue.clone(), tag, options, arguments);
        let consumer = live.within("consume outcomes", consume).await?;
        Ok((live, consumer))
    }

    /// Hands on outcomes until nobody takes them any more.
    pub(super) async fn run(self, first: (Arc<Live>, Consumer), closed: CancellationToken) {
        tokio::select! {
            () = closed.cancelled() => {}
            () = self.answers.closed() => {}
            () = self.collect(first) => {}
        }
        // Whoever ends in order leaves nothing behind; for the others the broker does it later.
        if timeout(GOODBYE, self.remove()).await.is_err() {
            tracing::debug!(queue = %self.queue, "the queue for outcomes is left to expire");
        }
    }

    async fn remove(&self) {
        let removed = async {
            let live = self.link.live().await?;
            let channel = live.channel("open a channel").await?;
            let delete = channel.queue_delete(self.queue.clone(), QueueDeleteOptions::default());
            live.within("delete the queue for outcomes", delete).await?;
            Ok::<_, Trouble>(())
        };
        if let Err(trouble) = removed.await {
            tracing::debug!(error = trouble.words, "the queue for outcomes is left to expire");
        }
    }

    async fn collect(&self, first: (Arc<Live>, Consumer)) {
        let mut open = Some(first);
        let mut back_off = BackOff::new();
        loop {
            let opened = match open.take() {
                Some(opened) => Ok(opened),
                None => self.open().await,
            };
            match opened {
                Ok((live, mut consumer)) => {
                    while let Some(Ok(delivery)) = consumer.next().await {
                        back_off = BackOff::new();
                        let acker = delivery.acker;
                        let Some(answer) = decode_reply(&delivery.properties, delivery.data) else {
                            tracing::debug!(queue = %self.queue, "an outcome without a correlation id is of no use");
                            acker.ack(BasicAckOptions::default()).await.unwrap_or_default();
                            continue;
                        };
                        if self.answers.send(answer).await.is_err() {
                            return;
                        }
                        // If this does not arrive the outcome comes again, and nobody waits for it any more.
                        acker.ack(BasicAckOptions::default()).await.unwrap_or_default();
                    }
                    if !live.is_up() {
                        self.link.is_lost(&live);
                    }
                }
                Err(trouble) => tracing::debug!(error = trouble.words, "no queue for outcomes yet"),
            }
            tokio::time::sleep(back_off.next()).await;
        }
    }
}
