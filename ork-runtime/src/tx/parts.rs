//! Operations on the parts of a job as a whole: open, append, seal.

use bytes::Bytes;

use super::outbox::{HeldRow, OutboxKind, OutboxRow};
use super::transaction::Transaction;
use super::{Actor, Operation, SettleResult, Shards, StoreNotice};
use crate::id::{Fingerprint, JobId};
use crate::job::State;
use crate::ledger::{self, Halt};
use crate::policy::Policy;

/// Begins a run of the split of a claimed job: a new epoch, no parts. Answers the epoch.
#[derive(Debug, Clone)]
pub struct OpenParts {
    /// The job.
    pub job: JobId,
    /// The attempt that was claimed.
    pub attempt: u32,
    /// What failed parts mean.
    pub policy: Policy,
    /// Whether a join runs in the end.
    pub joined: bool,
    /// The schema that the inputs of its parts are made for.
    pub schemas: Option<Fingerprint>,
}

impl Operation for OpenParts {
    type Output = Option<u32>;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, transaction: &mut Transaction) -> Option<u32> {
        let entry = transaction.current(self.job, self.attempt)?;
        entry.dirty = true;
        // Its claim may have been forgotten.
        (entry.job.state, entry.job.due) = (State::Running, None);
        entry.job.schemas.part = self.schemas;
        let epoch = entry.ledger.open(self.policy, self.joined);
        if entry.job.tree.cancel_mode.is_some() {
            // It was told to begin nothing more before there was a ledger to tell.
            entry.ledger.halt(Halt::Stopped);
        }
        if epoch > 1 {
            transaction.writes().cleared.push(self.job);
        }
        Some(epoch)
    }
}

/// A page of parts that a split has yielded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPage {
    /// The job.
    pub job: JobId,
    /// The run of the split.
    pub epoch: u32,
    /// The index of the first part.
    pub first: u64,
    /// The inputs' JSON.
    pub inputs: Vec<Bytes>,
}

/// Adds a page of parts, if the epoch is current, and owes their dispatch.
#[derive(Debug, Clone)]
pub struct AppendParts {
    /// The page.
    pub page: PartPage,
    /// Who adds it.
    pub actor: Actor,
}

/// The answer to [`AppendParts`].
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// Whether the split may go on.
    pub answer: ledger::AppendResult,
    /// What is held and must be sent.
    pub to_send: Option<HeldRow>,
}

impl Operation for AppendParts {
    type Output = Appended;

    fn job(&self) -> JobId {
        self.page.job
    }

    fn apply(&self, transaction: &mut Transaction) -> Appended {
        let PartPage { job, epoch, first, inputs } = &self.page;
        let len = u64::try_from(inputs.len()).unwrap_or(u64::MAX);
        let Some(entry) = transaction.get_mut(*job) else {
            return Appended { answer: ledger::AppendResult::Stale, to_send: None };
        };
        let answer = entry.ledger.append(*epoch, *first, len);
        if answer != ledger::AppendResult::Added {
            return Appended { answer, to_send: None };
        }
        entry.dirty = true;
        let job = entry.job.clone();
        transaction.writes().pages.push((job.id, *first, inputs.clone()));
        transaction.notify(StoreNotice::JobChanged(job.id));
        let messages = |row: &OutboxRow| {
            let parts = inputs.iter().zip(*first..);
            parts.map(|(input, index)| row.part(&job, *epoch, index, input.clone())).collect()
        };
        let kind = OutboxKind::Parts { epoch: *epoch, first: *first, len };
        Appended { answer, to_send: transaction.enqueue(&job, (kind, 1, None), &self.actor, Some(messages)) }
    }
}

/// Fixes the number of parts, if the epoch is current; the job waits for them, or goes on if none is left.
#[derive(Debug, Clone)]
pub struct SealParts {
    /// The job.
    pub job: JobId,
    /// The run of the split.
    pub epoch: u32,
    /// How many parts it has yielded.
    pub n: u64,
    /// What the function of a task returned that has split itself: the job's output, unless a join makes it.
    pub output: Option<Bytes>,
    /// Who seals.
    pub actor: Actor,
}

impl Operation for SealParts {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.job
    }

    /// A share of failures can be judged only now, and may be too large already.
    fn shards(&self, _books: &Transaction) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, transaction: &mut Transaction) -> SettleResult {
        let Some(entry) = transaction.get_mut(self.job) else { return SettleResult::Stale };
        match entry.ledger.seal(self.epoch, self.n) {
            ledger::SealResult::Stale => SettleResult::Stale,
            ledger::SealResult::Already | ledger::SealResult::Sealed => {
                entry.dirty = true;
                entry.job.wait_for_parts();
                if entry.ledger.must_stop() {
                    entry.ledger.halt(Halt::Stopped);
                }
                let keeps = entry.job.state == State::Waiting && !entry.ledger.head().joined;
                if let Some(output) = self.output.as_ref().filter(|_| keeps) {
                    transaction.writes().outputs.push((self.job, output.clone()));
                }
                transaction.notify(StoreNotice::JobChanged(self.job));
                SettleResult::Applied(transaction.finish_parts(self.job, &self.actor))
            }
        }
    }
}
