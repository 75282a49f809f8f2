//! The port for part queues, in which the parts of a set are counted if no store counts them. See `barrier` for how
//! they are used.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::BrokerError;
use ork_core::barrier::Entry;

/// A record that a worker publishes to a part queue.
#[derive(Debug, Clone, PartialEq)]
pub struct PartRecord {
    /// The name of the queue.
    pub queue: String,
    /// The message id.
    pub id: String,
    /// The content of the record.
    pub entry: Entry,
    /// The output of a part, or its failure; for a head, what it stores about its job.
    pub body: Bytes,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRecord {
    /// The tag by which its reader refers to it.
    pub tag: u64,
    /// The content of the record.
    pub entry: Entry,
    /// The body of the record.
    pub body: Bytes,
}

/// The result of [`PartQueues::open`].
#[derive(Debug)]
pub enum Opened {
    /// The caller is the reader now.
    Reader(Box<dyn PartReader>),
    /// Another reader has the queue.
    Busy,
    /// The queue does not exist.
    NoQueue,
}

/// The part queues of a broker.
#[async_trait]
pub trait PartQueues: Send + Sync + fmt::Debug {
    /// Returns the name of the queue for a set that ork makes itself.
    ///
    /// # Errors
    /// `Undeliverable` if it is longer than a name can be.
    fn name(&self, task: &str, job: &str) -> Result<String, BrokerError>;

    /// Declares a queue. An existing queue of this name is removed first, with everything in it.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached in time, or refuses.
    async fn make(&self, queue: &str) -> Result<(), BrokerError>;

    /// Publishes a record, and returns once the broker has confirmed it.
    ///
    /// # Errors
    /// `Undeliverable` if there is no such queue.
    async fn record(&self, record: &PartRecord) -> Result<(), BrokerError>;

    /// Returns how many records no reader holds, or `None` if the queue does not exist. Every record that was
    /// confirmed before the call is counted.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached in time.
    async fn count(&self, queue: &str) -> Result<Option<u64>, BrokerError>;

    /// Becomes the only reader of a queue that may hold `total` parts, at once or as soon as the current reader has
    /// stopped. If `total` is 0, the reader receives one record at a time.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached in time, or refuses.
    async fn open(&self, queue: &str, total: u64) -> Result<Opened, BrokerError>;

    /// Removes a queue and everything in it, if it exists.
    ///
    /// # Errors
    /// Returns an error if the broker cannot be reached in time, or refuses.
    async fn remove(&self, queue: &str) -> Result<(), BrokerError>;
}

/// The only reader of a part queue. When it is dropped, all records that it has not settled return to the queue.
///
/// If a method returns `false`, the channel is lost, which has the same effect.
#[async_trait]
pub trait PartReader: Send + fmt::Debug {
    /// Waits for the next record; returns `None` if the channel is lost.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    async fn next(&mut self) -> Option<ReadRecord>;

    /// Publishes a mark, which is delivered after everything that is in the queue now.
    async fn mark(&mut self, mark: u128) -> bool;

    /// Acknowledges a record.
    async fn done(&mut self, tag: u64) -> bool;

    /// Moves a record to the dead letters.
    async fn dead_letter(&mut self, tag: u64, why: &str) -> bool;

    /// Stops reading and puts all records back, `own` as a new copy. Once that is confirmed, any later count includes
    /// all of them.
    async fn put_back(self: Box<Self>, own: PartRecord, tag: Option<u64>) -> bool;
}
