//! Leases long work: an outbox row that the worker holds replaces the delivery.

use super::super::operation::Operation;
use super::super::outbox::{NewRow, OutboxId, OutboxKind};
use super::super::transaction::{LoadedJob, Transaction};
use super::super::types::{Actor, Shards};
use crate::id::JobId;
use crate::job::Phase;

/// Adds an outbox row for the message that a worker is running. The worker holds the row as a lease.
///
/// No process sends the row while the worker is alive. If the worker dies, or releases the row, another process sends
/// it. Therefore the delivery can be acknowledged long before the work ends.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The work that the message requests: the start, the join, or one part.
    pub kind: OutboxKind,
    /// The attempt that is running.
    pub attempt: u32,
    /// The process that runs it.
    pub actor: Actor,
}

impl Operation for Lease {
    /// The number of the row, or `None` if the attempt is stale.
    type Output = Option<OutboxId>;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _tx: &Transaction) -> Shards {
        match self.kind {
            OutboxKind::Parts { first, .. } => Shards::Of(self.job, first),
            OutboxKind::Start
            | OutboxKind::Join
            | OutboxKind::Reply
            | OutboxKind::Hooks { .. }
            | OutboxKind::Event(_) => Shards::None,
        }
    }

    fn apply(&self, tx: &mut Transaction) -> Option<OutboxId> {
        let loaded = tx.get(self.job).filter(|loaded| self.is_current(loaded))?;
        let job = loaded.job.clone();
        Some(tx.enqueue_lease(&job, NewRow::new(self.kind, self.attempt), &self.actor))
    }
}

impl Lease {
    fn is_current(&self, LoadedJob { job, ledger, .. }: &LoadedJob) -> bool {
        let phase = match self.kind {
            OutboxKind::Parts { epoch, first, .. } => return ledger.is_current(epoch, first, self.attempt),
            OutboxKind::Start => Phase::Start,
            OutboxKind::Join => Phase::Join,
            OutboxKind::Reply | OutboxKind::Hooks { .. } | OutboxKind::Event(_) => return false,
        };
        job.is_current(phase, self.attempt)
    }
}
