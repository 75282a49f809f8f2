//! Settles jobs: records how a claimed attempt has ended, and what follows from it.

use std::sync::Arc;

use bytes::Bytes;

use super::super::operation::Operation;
use super::super::permits::Permit;
use super::super::transaction::Transaction;
use super::super::types::{Actor, SettleResult, Shards};
use super::SettleCalls;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::tree::CancelMode;
use crate::job::{AttemptEnd, AttemptOutcome, Job, Phase, State};
use crate::ledger::Halt;
use crate::mutant::{self, Mutant};

/// Records how the claimed attempt of a job has ended, and enqueues the rows that follow. The permit of the call is
/// returned even if the attempt is stale.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The job.
    pub job: JobId,
    /// The function that ran: the start or the join.
    pub phase: Phase,
    /// The number of the attempt.
    pub attempt: u32,
    /// The outcome of the attempt.
    pub outcome: AttemptOutcome,
    /// The output of the function, as JSON. `None` if it returned none.
    pub output: Option<Bytes>,
    /// The permit of the call, which is released. `None` if it is under no limit.
    pub permit: Option<Permit>,
    /// The process that ran it.
    pub actor: Actor,
}

impl Operation for Settle {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn limit(&self) -> Option<&Arc<str>> {
        self.permit.as_ref().map(|permit| &permit.limit.name)
    }

    /// Loads all shards for a failed or parked attempt: if it was a split, its parts are halted or forgotten.
    fn shards(&self, _tx: &Transaction) -> Shards {
        match self.outcome {
            AttemptOutcome::Failed { .. } | AttemptOutcome::Parked { .. } => Shards::All(self.job),
            AttemptOutcome::Succeeded | AttemptOutcome::Interrupted => Shards::None,
        }
    }

    fn apply(&self, tx: &mut Transaction) -> SettleResult {
        let result = self.settle(tx);
        let keeps_permit = result == SettleResult::Stale && mutant::is_on(Mutant::KeepsPermitOfStale);
        tx.release(self.permit.as_ref().filter(|_| !keeps_permit), &self.actor, 1);
        result
    }
}

impl Settle {
    fn settle(&self, tx: &mut Transaction) -> SettleResult {
        let outcome = self.outcome(tx);
        let Some(loaded) = tx.get_mut(self.job) else {
            return SettleResult::Stale;
        };
        if outcome == AttemptOutcome::Interrupted && self.runs_elsewhere(&loaded.job) {
            return SettleResult::Stale;
        }
        let AttemptEnd::Applied(effects) = loaded.job.end_attempt(self.phase, self.attempt, outcome, self.actor.now)
        else {
            return SettleResult::Stale;
        };
        loaded.dirty = true;
        // This call has made no parts, but an earlier call of the job that was cut short may have left some.
        let forgets_parts =
            self.phase == Phase::Start && self.outcome == AttemptOutcome::Succeeded && loaded.ledger.head().epoch > 0;
        if forgets_parts {
            loaded.ledger.forget();
        }
        match loaded.job.state {
            State::Failed if loaded.ledger.head().sealed.is_none() => loaded.ledger.halt(Halt::Stopped),
            State::Retrying if self.phase == Phase::Start => loaded.ledger.fence(),
            _ => {}
        }
        let job = Arc::new(loaded.job.clone());
        if forgets_parts {
            tx.writes().cleared.push(self.job);
        }
        if let Some(output) = &self.output {
            tx.writes().outputs.push((self.job, output.clone()));
        }
        tx.apply_effects(&job, effects, self.output.as_ref(), &self.actor);
        SettleResult::Applied
    }

    /// Whether another process has claimed the same attempt since, because this process lost the delivery. An
    /// interrupted call must not make that claim ready again.
    fn runs_elsewhere(&self, job: &Job) -> bool {
        let own = self.actor.worker.to_string();
        let runs_elsewhere = job.state == State::Running && job.worker.as_ref().is_some_and(|worker| *worker != own);
        runs_elsewhere && !mutant::is_on(Mutant::GivesBackOthers)
    }

    /// Returns the outcome to record. Below a cancelled job no further attempt starts, so a retry becomes a failure.
    fn outcome(&self, tx: &Transaction) -> AttemptOutcome {
        let above = tx.get(self.job).and_then(|loaded| tx.cancelled_above(&loaded.job));
        // A graceful cancel lets the join run, as the job had started.
        let is_cancelled = above.is_some_and(|(_, mode)| mode == CancelMode::Immediate || self.phase == Phase::Start)
            && !mutant::is_on(Mutant::RetriesInterrupted);
        match &self.outcome {
            AttemptOutcome::Failed { failure, retry_at: Some(_) } | AttemptOutcome::Parked { failure, .. }
                if is_cancelled =>
            {
                AttemptOutcome::Failed { failure: failure.clone(), retry_at: None }
            }
            outcome => outcome.clone(),
        }
    }
}

impl SettleCalls for Settle {
    fn failing(&self, failure: Failure) -> Option<Self> {
        Some(Self { outcome: AttemptOutcome::Failed { failure, retry_at: None }, output: None, ..self.clone() })
    }
}

/// Records that a hook of a job was not sent, nor the hooks after it.
#[derive(Debug, Clone)]
pub struct RecordHookFailure {
    /// The job.
    pub job: JobId,
    /// The reason, in words for people.
    pub message: String,
}

impl Operation for RecordHookFailure {
    type Output = ();

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, tx: &mut Transaction) {
        let Some(loaded) = tx.get_mut(self.job) else { return };
        if let Some(hooks) = &mut loaded.job.hooks {
            hooks.failure = Some(self.message.clone());
            loaded.dirty = true;
        }
    }
}
