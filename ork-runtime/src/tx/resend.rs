//! `Resend`: sends again what a job waits for, because the broker has lost it.

use super::outbox::{HeldRow, NOT_HELD, OutboxKind};
use super::transaction::Transaction;
use super::{Actor, Operation, Shards};
use crate::id::JobId;
use crate::job::State;

/// Sends again what a job waits for: its own message, or those of its parts that have not ended.
///
/// That the messages are gone, and that no process works on them, is for the caller to know. A message of the job itself
/// gets a new attempt, so that the one before changes nothing if it turns up. A part is sent again as it is: should it
/// run twice, one end counts.
#[derive(Debug, Clone)]
pub struct Resend {
    /// The job.
    pub job: JobId,
    /// The attempt that it was seen to wait at: another process may have sent it again in the meantime.
    pub attempt: u32,
    /// Who.
    pub actor: Actor,
}

impl Operation for Resend {
    /// What is held and must be sent; `None` if the job does not wait at this attempt any more.
    type Output = Option<Vec<HeldRow>>;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _books: &Transaction) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, transaction: &mut Transaction) -> Option<Vec<HeldRow>> {
        let entry = transaction.get_mut(self.job).filter(|entry| entry.job.attempt == self.attempt)?;
        let waits_for_parts = entry.job.state == State::Waiting && !entry.job.own_work_ended();
        if entry.job.state.is_final() || (entry.job.state == State::Waiting && !waits_for_parts) {
            return None;
        }
        let epoch = entry.ledger.head().epoch;
        let runs = if waits_for_parts { entry.ledger.open_ranges() } else { Vec::new() };
        let effects = entry.job.resend();
        entry.dirty = true;
        let job = entry.job.clone();
        let mut to_send = transaction.apply_effects(&job, effects, None, &self.actor);
        for run in runs {
            let kind = OutboxKind::Parts { epoch, first: run.first, len: run.len };
            to_send.extend(transaction.enqueue(&job, (kind, run.attempt, None), &self.actor, NOT_HELD));
        }
        Some(to_send)
    }
}
