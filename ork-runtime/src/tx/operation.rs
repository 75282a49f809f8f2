//! The trait of all operations.

use std::sync::Arc;

use super::transaction::Transaction;
use super::types::{Durability, Shards};
use crate::id::JobId;

/// One change to the recorded state, applied as a whole or not at all.
///
/// The methods before [`apply`](Operation::apply) say what the store must load first.
pub trait Operation: Send + Sync + 'static {
    /// What the caller gets once the operation is as durable as [`Operation::durability`] demands.
    type Output: Send + 'static;

    /// The job that the operation is about.
    fn job(&self) -> JobId;

    /// Another job to load: the parent of a new job. The store also loads the ancestors of that job.
    fn with(&self) -> Option<JobId> {
        None
    }

    /// Further jobs to load, each with its ancestors: those that a new job follows.
    fn follows(&self) -> &[JobId] {
        &[]
    }

    /// Which failures the operation must survive before the caller gets the output.
    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }

    /// The shards to load, once the job is loaded.
    fn shards(&self, _tx: &Transaction) -> Shards {
        Shards::None
    }

    /// The concurrency limit whose permits the store must load.
    fn limit(&self) -> Option<&Arc<str>> {
        None
    }

    /// The unique key whose holder the store must load.
    fn unique(&self) -> Option<&Arc<str>> {
        None
    }

    /// Decides, and records in the transaction what is to be written. Rows that the process holds are in the transaction,
    /// too: [`Transaction::take_held`].
    fn apply(&self, tx: &mut Transaction) -> Self::Output;
}
