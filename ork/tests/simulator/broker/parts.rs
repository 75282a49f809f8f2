//! Part queues: classic queues with one exclusive reader at a time. A reader that has lost its consumer may still hold
//! records on its channel, while another one reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use ork_core::barrier::Entry;
use ork_ports::broker::{BrokerError, BrokerErrorKind, Opened, PartQueues, PartReader, PartRecord, ReadRecord};
use tokio::sync::mpsc;

use super::end::{Sent, error};
use super::{BrokerEnd, NotTaken};
use crate::executor::Owner;
use crate::names::Reached;
use crate::tasks::UNSTORABLE;
use crate::world::World;

/// A record in a part queue.
#[derive(Debug, Clone)]
struct Record {
    entry: Entry,
    body: Bytes,
    /// When it was last delivered, in virtual microseconds.
    delivered: u64,
}

impl Record {
    const fn new(entry: Entry, body: Bytes) -> Self {
        Self { entry, body, delivered: 0 }
    }
}

/// A reader of a queue: a channel, with an exclusive consumer until that is cancelled.
#[derive(Debug)]
struct Reading {
    owner: Owner,
    /// How many unacknowledged records it holds at most; 0 for any number.
    window: usize,
    unacked: BTreeMap<u64, Record>,
    /// The records that are under way to it, in order; `None` once its consumer is cancelled, by itself or by the
    /// broker.
    wire: Option<mpsc::UnboundedSender<(u64, Record)>>,
}

#[derive(Debug, Default)]
struct PartQueue {
    /// Distinguishes it from earlier queues of the same name.
    number: u64,
    ready: VecDeque<Record>,
    /// By their numbers. At most one of them has a consumer.
    readings: BTreeMap<u64, Reading>,
    next_tag: u64,
}

impl PartQueue {
    /// Returns whether it has a consumer.
    fn is_read(&self) -> bool {
        self.readings.values().any(|reading| reading.wire.is_some())
    }

    fn hand_out(&mut self, now: u64) {
        let Self { ready, readings, next_tag, .. } = self;
        for Reading { window, unacked, wire, .. } in readings.values_mut() {
            let Some(wire) = wire else { continue };
            while *window == 0 || unacked.len() < *window {
                let Some(mut record) = ready.pop_front() else { return };
                record.delivered = now;
                *next_tag += 1;
                unacked.insert(*next_tag, record.clone());
                drop(wire.send((*next_tag, record)));
            }
        }
    }

    /// Ends the channel of a reader, and requeues all records that it holds, in their old places.
    fn take_back(&mut self, number: u64, now: u64) {
        let held = self.readings.remove(&number).map(|reading| reading.unacked).unwrap_or_default();
        held.into_values().rev().for_each(|record| self.ready.push_front(record));
        self.hand_out(now);
    }
}

/// The part queues of a broker.
#[derive(Debug, Default)]
pub(super) struct Sets {
    queues: BTreeMap<String, PartQueue>,
    next_reader: u64,
    next_queue: u64,
}

impl Sets {
    /// Ends the channels of the readers of a process whose connection has ended.
    pub(super) fn disconnect(&mut self, owner: Option<Owner>, now: u64) {
        for queue in self.queues.values_mut() {
            let is_of = |reading: &Reading| owner.is_none_or(|owner| reading.owner == owner);
            let gone: Vec<_> = queue.readings.iter().filter(|(_, reading)| is_of(reading)).map(|(n, _)| *n).collect();
            for number in gone {
                queue.take_back(number, now);
            }
        }
    }

    /// Cancels the selected consumers, and returns the names of their queues. Their readers keep what they hold.
    pub(super) fn cancel_readers(&mut self, is_selected: impl Fn(&str, u64) -> bool) -> Vec<String> {
        let mut cancelled = Vec::new();
        for (name, queue) in &mut self.queues {
            let selected = queue.readings.iter_mut().filter(|(number, _)| is_selected(name, **number));
            let consumers = selected.filter_map(|(_, reading)| reading.wire.take());
            cancelled.extend(consumers.map(|_wire| name.clone()));
        }
        cancelled
    }

    /// The readers with a record that is overdue, as judged by the time of its delivery: queue, number and process.
    pub(super) fn overdue(&self, is_overdue: impl Fn(u64) -> bool) -> Vec<(String, u64, Owner)> {
        let is_late = |reading: &Reading| reading.unacked.values().any(|record| is_overdue(record.delivered));
        let of_queue = |(name, queue): (&String, &PartQueue)| {
            let late = queue.readings.iter().filter(|(_, reading)| is_late(reading));
            late.map(|(number, reading)| (name.clone(), *number, reading.owner)).collect::<Vec<_>>()
        };
        self.queues.iter().flat_map(of_queue).collect()
    }

    /// The existing queues, with the number of their records.
    pub(super) fn left(&self) -> Vec<String> {
        let named = |(name, queue): (&String, &PartQueue)| format!("{name} with {} records", queue.ready.len());
        self.queues.iter().map(named).collect()
    }

    /// Returns the queue while the reader with this number has its channel.
    fn reading(&mut self, queue: &str, number: u64) -> Option<&mut PartQueue> {
        self.queues.get_mut(queue).filter(|queue| queue.readings.contains_key(&number))
    }
}

impl World {
    fn sets<T>(&self, look: impl FnOnce(&mut Sets) -> T) -> T {
        self.server().inner(|inner| look(&mut inner.sets))
    }

    /// Declares a part queue for another program, or for a process, as an empty one.
    pub(crate) fn make_part_queue(&self, name: &str) {
        self.sets(|sets| {
            sets.next_queue += 1;
            let queue = PartQueue { number: sets.next_queue, ..PartQueue::default() };
            sets.queues.insert(name.to_owned(), queue);
        });
    }

    /// Handles the arrival of a record.
    pub(super) fn takes_record(&self, from: Owner, record: PartRecord) -> Result<(), NotTaken> {
        let PartRecord { queue: name, entry, body, .. } = record;
        let (detail, now) = (format!("queue  {name} takes {entry:?}"), self.executor.now());
        self.sets(|sets| {
            let queue = sets.queues.get_mut(&name).ok_or(NotTaken::NoQueue)?;
            queue.ready.push_back(Record::new(entry, body));
            queue.hand_out(now);
            Ok(())
        })?;
        self.note(from, format_args!("{detail}"));
        Ok(())
    }

    /// Lets another program take up to `most` records from each part queue without a consumer; it requeues them later.
    pub(crate) fn hold_records(self: &Arc<Self>, most: usize, lasts: u64) {
        let names: Vec<_> = self.sets(|sets| sets.queues.keys().cloned().collect());
        for name in names {
            let (number, taken): (u64, Vec<_>) = self.sets(|sets| {
                let queue = sets.queues.get_mut(&name).filter(|queue| !queue.is_read());
                let held = |queue: &mut PartQueue| queue.ready.drain(..queue.ready.len().min(most)).collect();
                queue.map_or_else(Default::default, |queue| (queue.number, held(queue)))
            });
            if taken.is_empty() {
                continue;
            }
            self.oracle(|oracle| oracle.reaches(Reached::RecordsHeld));
            let world = Arc::clone(self);
            self.executor.spawn(Owner::WORLD, async move {
                world.executor.sleep(lasts * 1_000).await;
                let now = world.executor.now();
                world.sets(|sets| {
                    // A removed queue takes its unacknowledged messages with it.
                    let found = sets.queues.get_mut(&name).filter(|queue| queue.number == number);
                    let Some(queue) = found else { return };
                    taken.into_iter().rev().for_each(|record| queue.ready.push_front(record));
                    queue.hand_out(now);
                });
            });
        }
    }

    /// Ends the channel of a reader.
    pub(super) fn end_reading(&self, queue: &str, number: u64) {
        let now = self.executor.now();
        self.sets(|sets| {
            if let Some(queue) = sets.reading(queue, number) {
                queue.take_back(number, now);
            }
        });
    }
}

#[async_trait]
impl PartQueues for BrokerEnd {
    fn name(&self, task: &str, job: &str) -> Result<String, BrokerError> {
        Ok(format!("part.ork-{task}-{job}"))
    }

    async fn make(&self, queue: &str) -> Result<(), BrokerError> {
        // It takes two requests: a record that is published in between finds no queue.
        self.reach_by_channel().await?;
        self.world.sets(|sets| sets.queues.remove(queue));
        self.reach().await?;
        self.world.note(self.owner, format_args!("declares {queue}"));
        self.world.make_part_queue(queue);
        Ok(())
    }

    async fn record(&self, record: &PartRecord) -> Result<(), BrokerError> {
        if record.body == UNSTORABLE.to_string().as_bytes() {
            self.reach().await?;
            self.world.oracle(|oracle| oracle.reaches(Reached::RecordsTooLarge));
            return Err(error(BrokerErrorKind::TooLarge, "takes no such record"));
        }
        self.send_all(vec![Sent::Record(record.clone())]).await.into_iter().collect()
    }

    async fn count(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        self.request(self.counting_channel().await?).await?;
        let n_ready = self.world.sets(|sets| sets.queues.get(queue).map(|queue| queue.ready.len()));
        if n_ready.is_none() {
            // RabbitMQ closes the channel on which a missing queue is counted.
            self.close_counting_channel();
        }
        Ok(n_ready.map(|n| n.try_into().unwrap()))
    }

    async fn open(&self, queue: &str, total: u64) -> Result<Opened, BrokerError> {
        let Some(end) = self.world.broker_end(self.owner) else {
            return Err(error(BrokerErrorKind::Closed, "was closed"));
        };
        // A process has one reader of a queue at most, and does not ask the broker for a second one.
        let Some(right) = Right::of(&end, queue) else { return Ok(Opened::Busy) };
        let epoch = self.reach_by_channel().await?;
        self.consumes(epoch).await?;
        let (wire, records) = mpsc::unbounded_channel();
        let (owner, window, now) = (self.owner, usize::from(total == 0), self.world.executor.now());
        let opened = self.world.sets(|sets| {
            sets.next_reader += 1;
            let number = sets.next_reader;
            let found = sets.queues.get_mut(queue)?;
            if found.is_read() {
                return Some(None);
            }
            found.readings.insert(number, Reading { owner, window, unacked: BTreeMap::new(), wire: Some(wire) });
            found.hand_out(now);
            Some(Some(number))
        });
        Ok(match opened {
            None => Opened::NoQueue,
            Some(None) => Opened::Busy,
            Some(Some(number)) => {
                self.world.note(owner, format_args!("reads  {queue}"));
                self.world.cancel_reader_soon(queue, number);
                Opened::Reader(Box::new(Reader { end, epoch, number, records, right }))
            }
        })
    }

    async fn remove(&self, queue: &str) -> Result<(), BrokerError> {
        self.reach_by_channel().await?;
        self.world.note(self.owner, format_args!("removes {queue}"));
        self.world.sets(|sets| sets.queues.remove(queue));
        Ok(())
    }
}

/// The right to be the only reader of a queue in a process.
struct Right {
    end: Arc<BrokerEnd>,
    queue: String,
}

impl Right {
    /// Returns the right to read this queue, unless it is taken.
    fn of(end: &Arc<BrokerEnd>, queue: &str) -> Option<Self> {
        let is_free = end.reads.lock().unwrap().insert(queue.to_owned());
        is_free.then(|| Self { end: Arc::clone(end), queue: queue.to_owned() })
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        self.end.reads.lock().unwrap().remove(&self.queue);
    }
}

/// The reader of one part queue.
struct Reader {
    end: Arc<BrokerEnd>,
    epoch: u64,
    number: u64,
    records: mpsc::UnboundedReceiver<(u64, Record)>,
    right: Right,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reader {} of {}", self.number, self.right.queue)
    }
}

impl Reader {
    /// Runs `act` on the broker over the channel of this reader, with its number and the time; `None` if the channel is
    /// lost before or meanwhile.
    async fn with<T>(&self, act: impl FnOnce(&mut PartQueue, u64, u64) -> T + Send) -> Option<T>
    where
        T: Send,
    {
        self.end.pause(self.end.delay()).await;
        let (number, now) = (self.number, self.end.world.executor.now());
        let act = |queue: &mut PartQueue| act(queue, number, now);
        let done = self.end.world.sets(|sets| sets.reading(&self.right.queue, number).map(act));
        self.end.pause(self.end.delay()).await;
        done.filter(|_| self.is_there())
    }

    fn is_there(&self) -> bool {
        let is_read = self.end.world.sets(|sets| sets.reading(&self.right.queue, self.number).is_some());
        is_read && self.end.is_up(self.epoch)
    }
}

#[async_trait]
impl PartReader for Reader {
    async fn next(&mut self) -> Option<ReadRecord> {
        let (tag, Record { entry, body, .. }) = self.records.recv().await?;
        self.is_there().then_some(ReadRecord { tag, entry, body })
    }

    async fn mark(&mut self, mark: u128) -> bool {
        let record = Record::new(Entry::Mark(mark), Bytes::new());
        let marked = self.with(|queue, _, now| {
            queue.ready.push_back(record);
            queue.hand_out(now);
        });
        marked.await.is_some()
    }

    async fn done(&mut self, tag: u64) -> bool {
        let done = self.with(|queue, number, now| {
            if let Some(reading) = queue.readings.get_mut(&number) {
                reading.unacked.remove(&tag);
            }
            queue.hand_out(now);
        });
        done.await.is_some()
    }

    async fn dead_letter(&mut self, tag: u64, why: &str) -> bool {
        let detail = format!("a record of {}: {why}", self.right.queue);
        self.end.world.server().inner(|inner| inner.dead.push(detail));
        self.done(tag).await
    }

    async fn put_back(self: Box<Self>, own: PartRecord, tag: Option<u64>) -> bool {
        let put_back = self.with(|queue, number, now| {
            // Another reader may begin as soon as the consumer of this one is cancelled.
            let Some(reading) = queue.readings.get_mut(&number) else { return };
            reading.wire = None;
            let kept = tag.and_then(|tag| Some((tag, reading.unacked.remove(&tag)?)));
            let held = std::mem::take(&mut reading.unacked);
            reading.unacked.extend(kept);
            held.into_values().rev().for_each(|record| queue.ready.push_front(record));
            queue.ready.push_back(Record::new(own.entry, own.body));
            queue.hand_out(now);
        });
        if put_back.await.is_none() {
            return false;
        }
        // It acknowledges its own record, and closes its channel.
        self.end.pause(self.end.delay()).await;
        let number = self.number;
        let closed = self
            .end
            .world
            .sets(|sets| sets.reading(&self.right.queue, number).map(|queue| queue.readings.remove(&number)));
        closed.is_some()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (world, queue, number) = (Arc::clone(&self.end.world), self.right.queue.clone(), self.number);
        let delay = self.end.delay();
        // Its channel is closed in the background.
        self.end.world.executor.spawn(Owner::WORLD, async move {
            world.executor.sleep(delay).await;
            world.end_reading(&queue, number);
        });
    }
}
