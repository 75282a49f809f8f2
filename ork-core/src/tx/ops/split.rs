//! The operations of a split: it opens a new epoch, appends parts page by page, and seals their number.

use std::sync::Arc;

use bytes::Bytes;

use super::super::operation::Operation;
use super::super::outbox::{NewRow, OutboxKind, OutboxRow};
use super::super::permits::Permit;
use super::super::transaction::Transaction;
use super::super::types::{Actor, SettleResult, Shards, StoreNotice};
use super::SettleCalls;
use crate::failure::Failure;
use crate::id::{Fingerprint, JobId};
use crate::job::State;
use crate::ledger::{AppendResult, Halt, SealResult};
use crate::policy::Policy;

/// Starts a run of the split of a claimed job: a new epoch without parts. Its output is the epoch, or `None` if the
/// attempt is stale.
#[derive(Debug, Clone)]
pub struct OpenParts {
    /// The job.
    pub job: JobId,
    /// The attempt that was claimed.
    pub attempt: u32,
    /// The policy that decides what failed parts mean for the job.
    pub policy: Policy,
    /// Whether the task has a join.
    pub has_join: bool,
    /// The schema of the inputs of the parts.
    pub schema: Option<Fingerprint>,
}

impl Operation for OpenParts {
    type Output = Option<u32>;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, tx: &mut Transaction) -> Option<u32> {
        let loaded = tx.current(self.job, self.attempt)?;
        loaded.dirty = true;
        // The claim may be missing if the store has lost its last commits.
        (loaded.job.state, loaded.job.due) = (State::Running, None);
        loaded.job.schemas.part = self.schema;
        let epoch = loaded.ledger.open(self.policy, self.has_join);
        if loaded.job.tree.cancel_mode.is_some() {
            // The job was cancelled before there was a ledger to halt.
            loaded.ledger.halt(Halt::Stopped);
        }
        if epoch > 1 {
            tx.writes().cleared.push(self.job);
        }
        Some(epoch)
    }
}

/// A page of parts that a split has yielded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPage {
    /// The job.
    pub job: JobId,
    /// The epoch: the run of the split.
    pub epoch: u32,
    /// The index of the first part.
    pub first: u64,
    /// The inputs, as JSON.
    pub inputs: Vec<Bytes>,
}

/// Adds a page of parts and enqueues their messages, unless the epoch is stale.
#[derive(Debug, Clone)]
pub struct AppendParts {
    /// The page.
    pub page: PartPage,
    /// The process that adds it.
    pub actor: Actor,
}

impl Operation for AppendParts {
    /// The result of adding the page, which decides whether the split may continue.
    type Output = AppendResult;

    fn job(&self) -> JobId {
        self.page.job
    }

    fn apply(&self, tx: &mut Transaction) -> AppendResult {
        let PartPage { job, epoch, first, inputs } = &self.page;
        let len = u64::try_from(inputs.len()).unwrap_or(u64::MAX);
        let Some(loaded) = tx.get_mut(*job) else {
            return AppendResult::Stale;
        };
        let result = loaded.ledger.append(*epoch, *first, len);
        if result != AppendResult::Added {
            return result;
        }
        loaded.dirty = true;
        let job = loaded.job.clone();
        tx.writes().pages.push((job.id, *first, inputs.clone()));
        tx.notify(StoreNotice::JobChanged(job.id));
        let messages = |row: &OutboxRow| {
            let parts = inputs.iter().zip(*first..);
            parts.map(|(input, index)| row.part(&job, *epoch, index, input.clone())).collect()
        };
        let new = NewRow::new(OutboxKind::Parts { epoch: *epoch, first: *first, len, waited: false }, 1);
        tx.enqueue(&job, new, &self.actor, Some(messages));
        result
    }
}

/// Seals the number of parts, unless the epoch is stale. The job then waits for its parts, or continues if all have
/// ended. The permit of the call that yielded them is returned in any case.
#[derive(Debug, Clone)]
pub struct SealParts {
    /// The job.
    pub job: JobId,
    /// The epoch: the run of the split.
    pub epoch: u32,
    /// The number of parts that the split has yielded.
    pub n: u64,
    /// The return value of the function of a dynamic split, which is the output of the job unless it has a join. `None`
    /// for any other split.
    pub output: Option<Bytes>,
    /// The permit of the call, which is released. `None` if it is under no limit.
    pub permit: Option<Permit>,
    /// The process that seals.
    pub actor: Actor,
}

impl Operation for SealParts {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn limit(&self) -> Option<&Arc<str>> {
        self.permit.as_ref().map(|permit| &permit.limit.name)
    }

    /// Loads all shards: a tolerated share of failures can be judged only now that the number of parts is known.
    fn shards(&self, _tx: &Transaction) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, tx: &mut Transaction) -> SettleResult {
        let result = self.seal(tx);
        tx.release(self.permit.as_ref(), &self.actor, 1);
        result
    }
}

impl SealParts {
    fn seal(&self, tx: &mut Transaction) -> SettleResult {
        let Some(loaded) = tx.get_mut(self.job) else { return SettleResult::Stale };
        match loaded.ledger.seal(self.epoch, self.n) {
            SealResult::Stale => SettleResult::Stale,
            SealResult::Already | SealResult::Sealed => {
                loaded.dirty = true;
                loaded.job.wait_for_parts();
                if loaded.ledger.must_stop() {
                    loaded.ledger.halt(Halt::Stopped);
                }
                let keeps_output = loaded.job.state == State::Waiting && !loaded.ledger.head().has_join;
                if let Some(output) = self.output.as_ref().filter(|_| keeps_output) {
                    tx.writes().outputs.push((self.job, output.clone()));
                }
                tx.notify(StoreNotice::JobChanged(self.job));
                tx.finish_parts(self.job, &self.actor);
                SettleResult::Applied
            }
        }
    }
}

impl SettleCalls for SealParts {
    /// Returns `None`: the parts are running, so the call cannot fail any more.
    fn failing(&self, _failure: Failure) -> Option<Self> {
        None
    }
}
