//! Outcomes that come back to this process: a queue of its own, whose name outlives the connection.

use std::sync::Arc;

use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::Trouble;
use super::link::{BackOff, Link, Live};
use super::wire::decode_reply;
use crate::broker::Answered;

/// Outcomes that wait for whoever asked, before the broker has to keep them.
pub(super) const WAITING: usize = 1024;

/// Keeps the queue and hands on what comes in.
pub(super) struct Collector {
    pub(super) link: Arc<Link>,
    pub(super) queue: ShortString,
    pub(super) answers: mpsc::Sender<Answered>,
}

impl Collector {
    /// Declares and consumes the queue.
    ///
    /// It is exclusive: when its connection ends the broker deletes it, so it never collects what nobody waits for.
    pub(super) async fn open(&self) -> Result<(Arc<Live>, Consumer), Trouble> {
        let live = self.link.live().await?;
        let channel = live.channel("open a channel").await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declare = channel.queue_declare(self.queue.clone(), options, FieldTable::default());
        live.within("declare the queue for outcomes", declare).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
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
                        let Some(answer) = decode_reply(&delivery.properties, delivery.data) else {
                            tracing::debug!(queue = %self.queue, "an outcome without a correlation id is of no use");
                            continue;
                        };
                        if self.answers.send(answer).await.is_err() {
                            return;
                        }
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
