//! `Lease`: takes a dispatch of long work out of the broker's hands, as a row of the outbox that its worker holds.

use super::outbox::{OutboxId, OutboxKind, OutboxRow};
use super::transaction::{LoadedJob, Transaction};
use super::{Actor, Operation, Shards};
use crate::id::JobId;
use crate::job::Phase;

/// Owes the dispatch that a worker is just running once more, held by that worker.
///
/// While the worker lives nobody else sends it; when it has died, or gives the row back, whoever notices does. So the
/// delivery it came with can be acknowledged long before the work ends.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// What the dispatch asks for: the start, the join, or one part.
    pub kind: OutboxKind,
    /// The attempt that is running.
    pub attempt: u32,
    /// Who runs it.
    pub actor: Actor,
}

impl Operation for Lease {
    /// The row that is held; `None` if the attempt is not current any more.
    type Output = Option<OutboxId>;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _books: &Transaction) -> Shards {
        match self.kind {
            OutboxKind::Parts { first, .. } => Shards::Of(self.job, first),
            OutboxKind::Start
            | OutboxKind::Join
            | OutboxKind::Reply
            | OutboxKind::Hooks { .. }
            | OutboxKind::Event(_) => Shards::None,
        }
    }

    fn apply(&self, transaction: &mut Transaction) -> Option<OutboxId> {
        let entry = transaction.get(self.job).filter(|entry| self.is_current(entry))?;
        let job = entry.job.clone();
        let actor = Actor { hold: true, ..self.actor.clone() };
        let nothing_to_send = |_: &OutboxRow| Vec::new();
        let to_send = transaction.enqueue(&job, (self.kind, self.attempt, None), &actor, Some(nothing_to_send));
        to_send.map(|to_send| to_send.id)
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
