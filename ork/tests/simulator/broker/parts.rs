//! Part queues: classic queues with one exclusive reader at a time.

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
}

/// The exclusive consumer of a queue.
#[derive(Debug)]
struct Reading {
    number: u64,
    owner: Owner,
    /// How many unacknowledged records it holds at most; 0 for any number.
    window: usize,
    unacked: BTreeMap<u64, Record>,
    wire: mpsc::UnboundedSender<(u64, Record)>,
    /// Whether it has cancelled its consumer.
    stops: bool,
}

#[derive(Debug, Default)]
struct PartQueue {
    /// Distinguishes it from earlier queues of the same name.
    number: u64,
    ready: VecDeque<Record>,
    reading: Option<Reading>,
    next_tag: u64,
}

impl PartQueue {
    fn hand_out(&mut self) {
        let Some(reading) = self.reading.as_mut().filter(|reading| !reading.stops) else { return };
        while reading.window == 0 || reading.unacked.len() < reading.window {
            let Some(record) = self.ready.pop_front() else { return };
            self.next_tag += 1;
            reading.unacked.insert(self.next_tag, record.clone());
            drop(reading.wire.send((self.next_tag, record)));
        }
    }

    /// Requeues all records of a reader that has gone, in their old places.
    fn take_back(&mut self) {
        let held = self.reading.take().map(|reading| reading.unacked).unwrap_or_default();
        held.into_values().rev().for_each(|record| self.ready.push_front(record));
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
    /// Removes the readers of a process whose connection has ended.
    pub(super) fn disconnect(&mut self, owner: Option<Owner>) {
        let is_of = |reading: &Reading| owner.is_none_or(|owner| reading.owner == owner);
        for queue in self.queues.values_mut() {
            if queue.reading.as_ref().is_some_and(is_of) {
                queue.take_back();
            }
        }
    }

    /// The existing queues, with the number of their records.
    pub(super) fn left(&self) -> Vec<String> {
        let named = |(name, queue): (&String, &PartQueue)| format!("{name} with {} records", queue.ready.len());
        self.queues.iter().map(named).collect()
    }

    /// Returns the queue while the reader with this number consumes it.
    fn reading(&mut self, queue: &str, number: u64) -> Option<&mut PartQueue> {
        self.queues
            .get_mut(queue)
            .filter(|queue| queue.reading.as_ref().is_some_and(|reading| reading.number == number))
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
        let detail = format!("queue  {name} takes {entry:?}");
        self.sets(|sets| {
            let queue = sets.queues.get_mut(&name).ok_or(NotTaken::NoQueue)?;
            queue.ready.push_back(Record { entry, body });
            queue.hand_out();
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
                let queue = sets.queues.get_mut(&name).filter(|queue| queue.reading.is_none());
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
                world.sets(|sets| {
                    // A removed queue takes its unacknowledged messages with it.
                    let found = sets.queues.get_mut(&name).filter(|queue| queue.number == number);
                    let Some(queue) = found else { return };
                    taken.into_iter().rev().for_each(|record| queue.ready.push_front(record));
                    queue.hand_out();
                });
            });
        }
    }

    fn end_reading(&self, queue: &str, number: u64) {
        self.sets(|sets| {
            if let Some(queue) = sets.reading(queue, number) {
                queue.take_back();
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
        self.reach().await?;
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
        self.reach().await?;
        let n_ready = self.world.sets(|sets| sets.queues.get(queue).map(|queue| queue.ready.len()));
        Ok(n_ready.map(|n| n.try_into().unwrap()))
    }

    async fn open(&self, queue: &str, total: u64) -> Result<Opened, BrokerError> {
        let epoch = self.reach().await?;
        let Some(end) = self.world.broker_end(self.owner) else {
            return Err(error(BrokerErrorKind::Closed, "was closed"));
        };
        let (wire, records) = mpsc::unbounded_channel();
        let (owner, window) = (self.owner, usize::from(total == 0));
        let opened = self.world.sets(|sets| {
            sets.next_reader += 1;
            let number = sets.next_reader;
            let found = sets.queues.get_mut(queue)?;
            if found.reading.is_some() {
                return Some(None);
            }
            found.reading = Some(Reading { number, owner, window, unacked: BTreeMap::new(), wire, stops: false });
            found.hand_out();
            Some(Some(number))
        });
        Ok(match opened {
            None => Opened::NoQueue,
            Some(None) => Opened::Busy,
            Some(Some(number)) => {
                self.world.note(owner, format_args!("reads  {queue}"));
                Opened::Reader(Box::new(Reader { end, epoch, queue: queue.to_owned(), number, records }))
            }
        })
    }

    async fn remove(&self, queue: &str) -> Result<(), BrokerError> {
        self.reach().await?;
        self.world.note(self.owner, format_args!("removes {queue}"));
        self.world.sets(|sets| sets.queues.remove(queue));
        Ok(())
    }
}

/// The reader of one part queue.
struct Reader {
    end: Arc<BrokerEnd>,
    epoch: u64,
    queue: String,
    number: u64,
    records: mpsc::UnboundedReceiver<(u64, Record)>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reader {} of {}", self.number, self.queue)
    }
}

impl Reader {
    /// Runs `act` on the broker over the channel of this reader; `None` if the channel is lost before or meanwhile.
    async fn with<T>(&self, act: impl FnOnce(&mut PartQueue) -> T + Send) -> Option<T>
    where
        T: Send,
    {
        self.end.pause(self.end.delay()).await;
        let done = self.end.world.sets(|sets| sets.reading(&self.queue, self.number).map(act));
        self.end.pause(self.end.delay()).await;
        done.filter(|_| self.is_there())
    }

    fn is_there(&self) -> bool {
        let is_read = self.end.world.sets(|sets| sets.reading(&self.queue, self.number).is_some());
        is_read && self.end.is_up(self.epoch)
    }
}

#[async_trait]
impl PartReader for Reader {
    async fn next(&mut self) -> Option<ReadRecord> {
        let (tag, Record { entry, body }) = self.records.recv().await?;
        self.is_there().then_some(ReadRecord { tag, entry, body })
    }

    async fn mark(&mut self, mark: u128) -> bool {
        let record = Record { entry: Entry::Mark(mark), body: Bytes::new() };
        let marked = self.with(|queue| {
            queue.ready.push_back(record);
            queue.hand_out();
        });
        marked.await.is_some()
    }

    async fn done(&mut self, tag: u64) -> bool {
        let done = self.with(|queue| {
            if let Some(reading) = &mut queue.reading {
                reading.unacked.remove(&tag);
            }
            queue.hand_out();
        });
        done.await.is_some()
    }

    async fn dead_letter(&mut self, tag: u64, why: &str) -> bool {
        let detail = format!("a record of {}: {why}", self.queue);
        self.end.world.server().inner(|inner| inner.dead.push(detail));
        self.done(tag).await
    }

    async fn put_back(self: Box<Self>, own: PartRecord, tag: Option<u64>) -> bool {
        let put_back = self.with(|queue| {
            let Some(reading) = &mut queue.reading else { return };
            reading.stops = true;
            let kept = tag.and_then(|tag| Some((tag, reading.unacked.remove(&tag)?)));
            let held = std::mem::take(&mut reading.unacked);
            reading.unacked.extend(kept);
            held.into_values().rev().for_each(|record| queue.ready.push_front(record));
            queue.ready.push_back(Record { entry: own.entry, body: own.body });
        });
        if put_back.await.is_none() {
            return false;
        }
        // It acknowledges its own record, and closes its channel.
        self.end.pause(self.end.delay()).await;
        let world = &self.end.world;
        world.sets(|sets| sets.reading(&self.queue, self.number).map(|queue| queue.reading.take())).is_some()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (world, queue, number) = (Arc::clone(&self.end.world), std::mem::take(&mut self.queue), self.number);
        let delay = self.end.delay();
        // Its channel is closed in the background.
        self.end.world.executor.spawn(Owner::WORLD, async move {
            world.executor.sleep(delay).await;
            world.end_reading(&queue, number);
        });
    }
}
