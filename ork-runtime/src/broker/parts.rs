//! The port to part queues: where the parts of a set are counted that no store knows. `barrier` says how they are used.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::BrokerError;
use crate::barrier::Entry;

/// What a worker says in a part queue.
#[derive(Debug, Clone, PartialEq)]
pub struct PartRecord {
    /// The queue.
    pub queue: String,
    /// Its name as a message.
    pub id: String,
    /// What it says.
    pub entry: Entry,
    /// What a part returned, or why it failed; what a head knows of its job.
    pub body: Bytes,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRecord {
    /// What it is known by to its reader.
    pub tag: u64,
    /// What it says.
    pub entry: Entry,
    /// Its body.
    pub body: Bytes,
}

/// The answer to [`PartQueues::open`].
#[derive(Debug)]
pub enum Opened {
    /// Read.
    Reader(Box<dyn PartReader>),
    /// Another one reads.
    Busy,
    /// There is no such queue.
    NoQueue,
}

/// The part queues of a broker.
#[async_trait]
pub trait PartQueues: Send + Sync + fmt::Debug {
    /// The name of the queue for a set that ork makes itself.
    ///
    /// # Errors
    /// `Undeliverable` if it is longer than a name can be.
    fn name(&self, task: &str, job: &str) -> Result<String, BrokerError>;

    /// Makes a queue; one of this name that is there is removed with all that is in it.
    ///
    /// # Errors
    /// When the broker cannot be reached in time, or refuses.
    async fn make(&self, queue: &str) -> Result<(), BrokerError>;

    /// Publishes a record, and answers when it is safe.
    ///
    /// # Errors
    /// `Undeliverable` if there is no such queue.
    async fn record(&self, record: &PartRecord) -> Result<(), BrokerError>;

    /// How many records nobody reads just now; `None` if there is no such queue. Whatever was confirmed before is counted.
    ///
    /// # Errors
    /// When the broker cannot be reached in time.
    async fn count(&self, queue: &str) -> Result<Option<u64>, BrokerError>;

    /// Becomes the only reader of a queue that may hold `total` parts, at once or as soon as another one has stopped. With 0
    /// it is handed one record at a time.
    ///
    /// # Errors
    /// When the broker cannot be reached in time, or refuses.
    async fn open(&self, queue: &str, total: u64) -> Result<Opened, BrokerError>;

    /// Removes a queue with all that is in it, if it is there.
    ///
    /// # Errors
    /// When the broker cannot be reached in time, or refuses.
    async fn remove(&self, queue: &str) -> Result<(), BrokerError>;
}

/// The only reader of a part queue. Dropped, all that it has not settled is in the queue again.
///
/// A method that answers `false` says that its channel is lost, and that the same has happened.
#[async_trait]
pub trait PartReader: Send + fmt::Debug {
    /// The next record; `None` when the channel is lost.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    async fn next(&mut self) -> Option<ReadRecord>;

    /// Publishes a mark, which comes after all that is in the queue.
    async fn mark(&mut self, mark: u128) -> bool;

    /// Acknowledges a record.
    async fn done(&mut self, tag: u64) -> bool;

    /// Moves a record to the dead letters.
    async fn bury(&mut self, tag: u64, why: &str) -> bool;

    /// Reads no more and gives all back, `own` by a copy: once that is safe, whoever counts counts all of it.
    async fn put_back(self: Box<Self>, own: PartRecord, tag: Option<u64>) -> bool;
}
