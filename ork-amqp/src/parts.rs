//! Part queues over RabbitMQ. Those of ork are classic queues: short-lived, with one exclusive reader and a window
//! that is large enough.
//!
//! Those of other programs may be quorum queues, which do not support exclusive consumers. There a single active
//! consumer, if the queue was declared with it, keeps readers apart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lapin::Channel;
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::oneshot;

use super::amqp_connection::AmqpConnection;
use super::connection_manager::ConnectionManager;
use super::error::{Failed, LinkError, is_not_found, is_refused};
use super::publish::Publishing;
use super::reader::{Reader, Reading, Readings};
use super::topology::{Names, short};
use super::wire::records;
use ork_ports::broker::{BrokerError, BrokerErrorKind, Opened, PartQueues, PartRecord};

/// The largest window: it has 16 bits, and a quorum queue treats 0 not as unlimited but as 2,000.
const WINDOW: u16 = u16::MAX;

/// Larger sets do not fit into a window and are read without one.
const FITS: u64 = 60_000;

/// The calls that wait for the number of records in a queue.
type Waiting = Vec<oneshot::Sender<Result<Option<u64>, LinkError>>>;

/// The channel on which queues are counted, while it is open.
type Counter = tokio::sync::Mutex<Option<Counting>>;

/// A channel on which queues are counted.
#[derive(Debug)]
struct Counting {
    live: Arc<AmqpConnection>,
    channel: Channel,
    n_counted: u32,
}

/// After this many counts the channel is replaced, because lapin remembers the name of every queue that a channel has
/// declared.
const COUNTS: u32 = 1_000;

/// The part queues of one RabbitMQ.
#[derive(Debug)]
pub(super) struct Parts {
    /// A separate connection, because a message in the queue of another program may end it.
    pub(super) link: Arc<ConnectionManager>,
    pub(super) names: Names,
    pub(super) publishes: Arc<Publishing>,
    /// The queues that are being counted at the moment, and the callers that wait for the next count of each.
    counting: Arc<Mutex<HashMap<String, Waiting>>>,
    channel: Arc<Counter>,
    readings: Arc<Readings>,
}

impl Parts {
    pub(super) fn new(link: Arc<ConnectionManager>, names: Names, publishes: Arc<Publishing>) -> Self {
        Self { link, names, publishes, counting: Arc::default(), channel: Arc::default(), readings: Arc::default() }
    }

    async fn with_channel<T>(
        &self,
        doing: &str,
        call: impl AsyncFnOnce(&AmqpConnection, &Channel) -> Result<T, Failed>,
    ) -> Result<T, LinkError> {
        let (live, channel) = self.link.channel(doing).await?;
        let done = call(&live, &channel).await?;
        live.finish(&channel).await;
        Ok(done)
    }

    fn queue(&self, queue: &str) -> Result<ShortString, LinkError> {
        // A prefix that begins like the name of a part queue must not turn ork's own queues into part queues.
        if !self.names.takes_replies(queue) {
            let detail = format!("`{queue}` is an internal queue of ork and cannot be used as a part queue");
            return Err(LinkError::new(BrokerErrorKind::Undeliverable, detail));
        }
        short(queue)
    }

    async fn consume(&self, queue: &ShortString, total: u64, exclusive: bool) -> Result<Consuming, LinkError> {
        let doing = "read a part queue";
        let (live, channel) = self.link.channel(doing).await?;
        let window = match total {
            0 => 1,
            1..=FITS => WINDOW,
            _ => 0,
        };
        live.within(doing, channel.basic_qos(window, BasicQosOptions { global: false })).await?;
        let options = BasicConsumeOptions { exclusive, ..BasicConsumeOptions::default() };
        let consume = channel.basic_consume(queue.clone(), ShortString::default(), options, FieldTable::default());
        match live.within(doing, consume).await {
            Ok(consumer) => {
                let (names, publisher) = (self.names.clone(), self.publishes.publisher().await.clone());
                let reader = Reader::new(live, channel, consumer, queue.clone(), names, publisher);
                Ok(Consuming::Reader(Box::new(reader)))
            }
            Err(Failed::Lapin(error, _)) if is_not_found(&error) => Ok(Consuming::NoQueue),
            Err(Failed::Lapin(error, _)) if is_refused(&error) => Ok(Consuming::Refused),
            Err(failed) => Err(failed.into()),
        }
    }
}

enum Consuming {
    Reader(Box<Reader>),
    Refused,
    NoQueue,
}

#[async_trait]
impl PartQueues for Parts {
    fn name(&self, task: &str, job: &str) -> Result<String, BrokerError> {
        let prefix = self.names.allowed.part_queues.first().map_or("part.", String::as_str);
        let name = format!("{prefix}{}-{task}-{job}", self.names.exchange);
        short(&name)?;
        Ok(name)
    }

    async fn make(&self, queue: &str) -> Result<(), BrokerError> {
        let queue = self.queue(queue)?;
        let declared = self.with_channel("create a part queue", async |live, channel| {
            let delete = channel.queue_delete(queue.clone(), QueueDeleteOptions::default());
            live.within("create a part queue", delete).await?;
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
            let declare = channel.queue_declare(queue.clone(), options, arguments);
            live.within("create a part queue", declare).await
        });
        declared.await?;
        Ok(())
    }

    async fn record(&self, record: &PartRecord) -> Result<(), BrokerError> {
        self.queue(&record.queue)?;
        Ok(self.publishes.publisher().await.publish_one(records::encode(record)?).await?)
    }

    async fn count(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        let name = self.queue(queue)?;
        let (answer, answered) = oneshot::channel();
        let first = {
            let mut counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
            let first = !counting.contains_key(queue);
            counting.entry(queue.to_owned()).or_default().push(answer);
            first
        };
        // Many parts of a set end together, and one count serves all calls made before it.
        if first {
            let (link, channel, counting) =
                (Arc::clone(&self.link), Arc::clone(&self.channel), Arc::clone(&self.counting));
            let queue = queue.to_owned();
            self.publishes.tasks.spawn(async move { count_for_all(&link, &channel, &counting, queue, name).await });
        }
        let closed = || Err(LinkError::closed());
        Ok(answered.await.unwrap_or_else(|_gone| closed())?)
    }

    async fn open(&self, queue: &str, total: u64) -> Result<Opened, BrokerError> {
        let queue = self.queue(queue)?;
        let Some(reading) = Reading::of(queue.as_str(), &self.readings) else { return Ok(Opened::Busy) };
        let mut consuming = self.consume(&queue, total, true).await?;
        if matches!(consuming, Consuming::Refused) {
            // A classic queue with a single active consumer refuses exclusive consumers. Any other classic queue that
            // refused an exclusive consumer already has one, and accepts no second consumer.
            consuming = self.consume(&queue, total, false).await?;
        }
        Ok(match consuming {
            Consuming::Reader(reader) => Opened::Reader(Box::new(reader.with_reading(reading))),
            Consuming::Refused => Opened::Busy,
            Consuming::NoQueue => Opened::NoQueue,
        })
    }

    async fn remove(&self, queue: &str) -> Result<(), BrokerError> {
        let queue = self.queue(queue)?;
        let removed = self.with_channel("delete a part queue", async |live, channel| {
            // Not "if empty": a quorum queue ends the connection over that option.
            let delete = channel.queue_delete(queue.clone(), QueueDeleteOptions::default());
            live.within("delete a part queue", delete).await
        });
        removed.await?;
        Ok(())
    }
}

/// Counts, and counts again for the callers that came in the meantime, until none is left.
async fn count_for_all(
    link: &Arc<ConnectionManager>,
    channel: &Counter,
    counting: &Mutex<HashMap<String, Waiting>>,
    queue: String,
    name: ShortString,
) {
    loop {
        let waiting = {
            let mut counting = counting.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = counting.get_mut(&queue).map(std::mem::take).unwrap_or_default();
            if waiting.is_empty() {
                counting.remove(&queue);
                return;
            }
            waiting
        };
        let counted = count_once(link, channel, &name).await;
        for answer in waiting {
            // The caller may have gone away.
            let _gone = answer.send(counted.clone());
        }
    }
}

async fn count_once(
    link: &Arc<ConnectionManager>,
    held: &Counter,
    queue: &ShortString,
) -> Result<Option<u64>, LinkError> {
    let mut held = held.lock().await;
    let mut usable = held.take().filter(|held| held.live.is_up() && held.channel.status().connected());
    if let Some(old) = usable.take_if(|held| held.n_counted >= COUNTS || held.live.is_exhausted()) {
        old.live.finish(&old.channel).await;
    }
    let Counting { live, channel, n_counted } = if let Some(usable) = usable {
        usable
    } else {
        let (live, channel) = link.channel("count parts").await?;
        Counting { live, channel, n_counted: 0 }
    };
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match live.within("count parts", channel.queue_declare(queue.clone(), passive, FieldTable::default())).await {
        Ok(found) => {
            *held = Some(Counting { live, channel, n_counted: n_counted + 1 });
            Ok(Some(found.message_count().into()))
        }
        Err(Failed::Lapin(error, _)) if is_not_found(&error) => Ok(None),
        Err(failed) => Err(failed.into()),
    }
}
