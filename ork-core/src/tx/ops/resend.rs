//! Resends the messages of a job that the broker has lost.

use std::sync::Arc;

use super::super::operation::Operation;
use super::super::outbox::{NOT_HELD, NewRow, OutboxKind};
use super::super::transaction::Transaction;
use super::super::types::{Actor, Shards};
use crate::id::JobId;
use crate::job::State;

/// Enqueues the messages that a job waits for again: its own message, or those of its parts that have not ended.
///
/// The caller must know that the messages are lost and that no process works on them. The message of the job itself
/// gets a new attempt, so that the lost one is stale if it still arrives. Parts are sent again with the same attempt:
/// if one runs twice, only one result counts.
#[derive(Debug, Clone)]
pub struct Resend {
    /// The job.
    pub job: JobId,
    /// The attempt at which the job was seen waiting. If it has changed, another process has resent the messages
    /// already.
    pub attempt: u32,
    /// The process that sends them.
    pub actor: Actor,
}

impl Operation for Resend {
    /// Whether the job still waited at this attempt, so that its messages were enqueued again.
    type Output = bool;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _tx: &Transaction) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, tx: &mut Transaction) -> bool {
        let Some(loaded) = tx.get_mut(self.job).filter(|loaded| loaded.job.attempt == self.attempt) else {
            return false;
        };
        let waits_for_parts = loaded.job.state == State::Waiting && !loaded.job.own_work_ended();
        if loaded.job.state.is_final() || (loaded.job.state == State::Waiting && !waits_for_parts) {
            return false;
        }
        let epoch = loaded.ledger.head().epoch;
        let open = if waits_for_parts { loaded.ledger.open_ranges() } else { Vec::new() };
        loaded.ledger.forget_waits();
        let effects = loaded.job.resend();
        loaded.dirty = true;
        let job = Arc::new(loaded.job.clone());
        tx.apply_effects(&job, effects, None, &self.actor);
        for range in open {
            let kind = OutboxKind::Parts { epoch, first: range.first, len: range.len, waited: false };
            tx.enqueue(&job, NewRow::new(kind, range.attempt), &self.actor, NOT_HELD);
        }
        true
    }
}
