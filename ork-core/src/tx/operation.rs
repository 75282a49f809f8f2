//! The trait that all operations implement.

use std::sync::Arc;

use super::transaction::Transaction;
use super::types::{Durability, Shards};
use crate::id::JobId;
use crate::mutant::{self, Mutant};

/// One change to the recorded state, applied as a whole or not at all.
///
/// The methods before [`apply`](Operation::apply) name what the store must load first.
pub trait Operation: Send + Sync + 'static {
    /// The result that the caller gets once the operation has reached its [`durability`](Operation::durability).
    type Output: Send + 'static;

    /// Returns the job that the operation changes.
    fn job(&self) -> JobId;

    /// Returns another job to load: the parent of a new job. The store also loads the ancestors of that job.
    fn with(&self) -> Option<JobId> {
        None
    }

    /// Returns further jobs to load, each with its ancestors: those that a new job follows.
    fn follows(&self) -> &[JobId] {
        &[]
    }

    /// Returns which failures the operation must survive before the caller gets the output.
    fn durability(&self) -> Durability {
        if mutant::is_on(Mutant::WaitsForNoDisk) { Durability::Process } else { Durability::PowerLoss }
    }

    /// Returns the shards of the ledger to load. Called once the job is loaded.
    fn shards(&self, _tx: &Transaction) -> Shards {
        Shards::None
    }

    /// Returns the concurrency limit for which the store must load the permits.
    fn limit(&self) -> Option<&Arc<str>> {
        None
    }

    /// Returns the unique key for which the store must load the holder.
    fn unique(&self) -> Option<&Arc<str>> {
        None
    }

    /// Applies the operation to the loaded jobs, and records in the transaction what must be written. New rows that the
    /// process holds are recorded there, too; see [`Transaction::take_held`].
    fn apply(&self, tx: &mut Transaction) -> Self::Output;
}
