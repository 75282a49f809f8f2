//! One channel with one consumer, and the calls that settle what came on it. It knows no worker.

use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::time::Instant;

use super::ack::{Acks, Plan};
use super::error::Trouble;
use super::live::Live;

/// One channel with one consumer.
pub(super) struct Session {
    pub(super) live: Arc<Live>,
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
    pub(super) queue: ShortString,
    pub(super) generation: u64,
    /// The window that the broker knows.
    pub(super) window: u16,
    pub(super) acks: Acks,
    /// Copies on their way to the dead letters, or to the queue itself.
    pub(super) n_copying: usize,
    pub(super) since: Instant,
}

/// Why a session is over.
pub(super) enum Ended {
    /// It was asked to stop, and all is settled.
    Stopped,
    /// The channel or its consumer is gone.
    Lost(Gone),
}

/// What was lost, in words, and whether a message was the cause.
pub(super) struct Gone {
    pub(super) why: String,
    pub(super) unreadable: bool,
}

impl From<String> for Gone {
    fn from(why: String) -> Self {
        Self { why, unreadable: false }
    }
}

impl Session {
    /// Cancels the consumer; answers the deliveries that were on their way.
    pub(super) async fn cancel(&mut self) -> Result<Vec<lapin::message::Delivery>, String> {
        let cancel = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        self.live.within("cancel a consumer", cancel).await.map_err(|failed| Trouble::from(failed).words)?;
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
        self.live.within("give deliveries back", nacks).await.map(drop).map_err(|failed| Trouble::from(failed).words)
    }

    pub(super) async fn acknowledge(&self, plan: Plan) -> Result<(), String> {
        let run = plan.upto.map(|tag| (tag, true));
        let tags = run.into_iter().chain(plan.singles.into_iter().map(|tag| (tag, false)));
        let acks = join_all(tags.map(|(tag, multiple)| self.channel.basic_ack(tag, BasicAckOptions { multiple })));
        let sent =
            self.live.within("acknowledge", async { acks.await.into_iter().collect::<lapin::Result<Vec<()>>>() });
        sent.await.map(drop).map_err(|failed| Trouble::from(failed).words)
    }
}

pub(super) async fn consume(
    live: &Live,
    channel: &Channel,
    queue: &ShortString,
    window: u16,
) -> Result<Consumer, Trouble> {
    let doing = "consume";
    // Per consumer: quorum queues refuse a window over the whole channel.
    live.within(doing, channel.basic_qos(window, BasicQosOptions { global: false })).await?;
    let (tag, options, arguments) = (ShortString::default(), BasicConsumeOptions::default(), FieldTable::default());
    Ok(live.within(doing, channel.basic_consume(queue.clone(), tag, options, arguments)).await?)
}
