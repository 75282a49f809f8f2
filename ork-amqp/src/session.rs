//! One channel with one consumer, and the calls that settle its deliveries. It knows nothing about workers.

use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::time::Instant;

use super::ack::{Acks, Plan};
use super::amqp_connection::AmqpConnection;
use super::error::LinkError;

/// One channel with one consumer.
pub(super) struct Session {
    /// The connection that the channel belongs to.
    pub(super) live: Arc<AmqpConnection>,
    /// The channel, which this session alone uses.
    pub(super) channel: Channel,
    /// The stream of deliveries. It is replaced when the prefetch window changes.
    pub(super) consumer: Consumer,
    /// The full name of the queue.
    pub(super) queue: ShortString,
    /// The number of the session. Settlements of deliveries with another number are stale.
    pub(super) generation: u64,
    /// The window that was last sent to the broker.
    pub(super) window: u16,
    /// The deliveries that are not settled or not acknowledged yet.
    pub(super) acks: Acks,
    /// The number of copies that are being published, to the dead letters or to the queue itself. A delivery is
    /// acknowledged once its copy is confirmed.
    pub(super) n_copying: usize,
    /// The time at which the session was opened. A session that has lasted long enough resets the backoff.
    pub(super) since: Instant,
}

/// The end of a session.
pub(super) enum Ended {
    /// It was stopped, and everything is settled.
    Stopped,
    /// The channel or its consumer was lost.
    Lost(Loss),
}

/// The loss of a session: its reason, and whether an unreadable message was the cause.
pub(super) struct Loss {
    pub(super) why: String,
    pub(super) unreadable: bool,
}

impl From<String> for Loss {
    fn from(why: String) -> Self {
        Self { why, unreadable: false }
    }
}

impl Session {
    /// Cancels the consumer, and returns the deliveries that were already in transit.
    pub(super) async fn cancel(&mut self) -> Result<Vec<lapin::message::Delivery>, String> {
        let cancel = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        self.live.within("cancel a consumer", cancel).await.map_err(|failed| LinkError::from(failed).detail)?;
        let mut rest = Vec::new();
        while let Some(Some(Ok(delivery))) = self.consumer.next().now_or_never() {
            rest.push(delivery);
        }
        Ok(rest)
    }

    pub(super) async fn release(&self, deliveries: &[lapin::message::Delivery]) -> Result<(), String> {
        let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.delivery_tag).collect();
        self.nack(&tags).await
    }

    pub(super) async fn nack(&self, tags: &[u64]) -> Result<(), String> {
        let options = BasicNackOptions { multiple: false, requeue: true };
        let nacks = try_join_all(tags.iter().map(|tag| self.channel.basic_nack(*tag, options)));
        self.live.within("requeue deliveries", nacks).await.map(drop).map_err(|failed| LinkError::from(failed).detail)
    }

    pub(super) async fn acknowledge(&self, plan: Plan) -> Result<(), String> {
        let run = plan.upto.map(|tag| (tag, true));
        let tags = run.into_iter().chain(plan.singles.into_iter().map(|tag| (tag, false)));
        let acks = join_all(tags.map(|(tag, multiple)| self.channel.basic_ack(tag, BasicAckOptions { multiple })));
        let sent =
            self.live.within("acknowledge", async { acks.await.into_iter().collect::<lapin::Result<Vec<()>>>() });
        sent.await.map(drop).map_err(|failed| LinkError::from(failed).detail)
    }
}

pub(super) async fn consume(
    live: &AmqpConnection,
    channel: &Channel,
    queue: &ShortString,
    window: u16,
) -> Result<Consumer, LinkError> {
    let doing = "consume";
    // Per consumer: quorum queues refuse a window for the whole channel.
    live.within(doing, channel.basic_qos(window, BasicQosOptions { global: false })).await?;
    let (tag, options, arguments) = (ShortString::default(), BasicConsumeOptions::default(), FieldTable::default());
    Ok(live.within(doing, channel.basic_consume(queue.clone(), tag, options, arguments)).await?)
}
