//! Settles parts: records how attempts at parts of one job have ended. The end of the last part also decides what the
//! job does next.

use std::sync::Arc;

use bytes::Bytes;

use super::super::events::EndedPart;
use super::super::operation::Operation;
use super::super::outbox::{NOT_HELD, NewRow};
use super::super::permits::Permit;
use super::super::transaction::{LoadedJob, PartWrite, Transaction};
use super::super::types::{Actor, SettleResult, Shards, StoreNotice};
use super::{PartKey, SettleCalls};
use crate::clock::Timestamp;
use crate::event::{EventKind, EventScope, brief};
use crate::failure::Failure;
use crate::id::JobId;
use crate::ledger::{Halt, Ledger, PartResult, RecordResult};
use crate::policy::OnError;

/// The outcome of an attempt at a part.
#[derive(Debug, Clone, PartialEq)]
pub enum PartAttemptOutcome {
    /// The part returned this output.
    Succeeded(Bytes),
    /// The part failed.
    Failed {
        /// The reason.
        failure: Failure,
        /// The time at which the next attempt is due. `None` if there is none, so that the failure is final.
        retry_at: Option<Timestamp>,
    },
    /// The worker had to stop. The attempt is repeated and does not count.
    Interrupted,
}

/// Records how attempts at parts of one job have ended. If the last part has ended, the join or the end of the job
/// follows. The permits of the calls are returned even if the attempts are stale.
#[derive(Debug, Clone)]
pub struct SettleParts {
    /// One of the parts. All parts have the same epoch and attempt.
    pub first: PartKey,
    /// The index of each part, and how its attempt has ended.
    pub ended: Arc<[(u64, PartAttemptOutcome)]>,
    /// The permit of each call, which is released. `None` if they are under no limit.
    pub permit: Option<Permit>,
    /// The process that ran them.
    pub actor: Actor,
}

impl SettleParts {
    /// Creates the operation for one attempt without a concurrency limit.
    pub fn one(part: PartKey, outcome: PartAttemptOutcome, actor: Actor) -> Self {
        Self { first: part, ended: Arc::new([(part.index, outcome)]), permit: None, actor }
    }
}

impl Operation for SettleParts {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.first.job
    }

    fn limit(&self) -> Option<&Arc<str>> {
        self.permit.as_ref().map(|permit| &permit.limit.name)
    }

    /// Loads all shards if a failure may stop all other parts.
    fn shards(&self, tx: &Transaction) -> Shards {
        let stops = |loaded: &LoadedJob| loaded.ledger.head().policy.on_error == OnError::Stop;
        let failed = |(_, outcome): &(u64, PartAttemptOutcome)| matches!(outcome, PartAttemptOutcome::Failed { .. });
        if self.ended.iter().any(failed) && tx.get(self.first.job).is_some_and(stops) {
            return Shards::All(self.first.job);
        }
        Shards::spanning(self.first.job, self.ended.iter().map(|(index, _)| *index))
    }

    fn apply(&self, tx: &mut Transaction) -> SettleResult {
        let result = self.settle(tx);
        tx.release(self.permit.as_ref(), &self.actor, self.ended.len());
        result
    }
}

impl SettleParts {
    fn settle(&self, tx: &mut Transaction) -> SettleResult {
        let PartKey { job: id, epoch, attempt, .. } = self.first;
        let Some(loaded) = tx.get_mut(id) else {
            return SettleResult::Stale;
        };
        let mut written = Vec::with_capacity(self.ended.len());
        let mut retried = Vec::new();
        for (index, outcome) in self.ended.iter() {
            let part = PartKey { index: *index, ..self.first };
            let Some((write, due)) = settle(&mut loaded.ledger, part, outcome) else { continue };
            written.push((id, *index, write));
            retried.extend(due.map(|due| (*index, due)));
        }
        if written.is_empty() {
            return SettleResult::Stale;
        }
        if loaded.ledger.must_stop() {
            loaded.dirty = true;
            loaded.ledger.halt(Halt::Stopped);
        }
        let emits = self.actor.events.scope() == EventScope::Parts;
        let job = (emits || !retried.is_empty()).then(|| loaded.job.clone());
        if let Some(job) = job.as_ref().filter(|_| emits) {
            let is_final = |index: &u64| retried.iter().all(|(retried, _)| retried != index);
            let ended = written.iter().filter(|(_, index, _)| is_final(index));
            let ended = ended.map(|(_, index, write)| ended_part(*index, write)).collect();
            tx.emit_parts_ended(job, attempt, ended, &self.actor);
        }
        tx.writes().parts.extend(written);
        tx.notify(StoreNotice::JobChanged(id));
        tx.finish_parts(id, &self.actor);
        for ((index, due), job) in retried.into_iter().zip(job.iter().cycle()) {
            let new = NewRow { due: Some(due), ..NewRow::part(epoch, index, attempt + 1) };
            tx.enqueue(job, new, &self.actor, NOT_HELD);
        }
        SettleResult::Applied
    }
}

impl SettleCalls for SettleParts {
    fn each(&self) -> Vec<Self> {
        let one = |(index, outcome): &(u64, PartAttemptOutcome)| {
            let first = PartKey { index: *index, ..self.first };
            Self { permit: self.permit.clone(), ..Self::one(first, outcome.clone(), self.actor.clone()) }
        };
        self.ended.iter().map(one).collect()
    }

    fn failing(&self, failure: Failure) -> Option<Self> {
        let failed = |(index, _): &(u64, PartAttemptOutcome)| {
            (*index, PartAttemptOutcome::Failed { failure: failure.clone(), retry_at: None })
        };
        Some(Self { ended: self.ended.iter().map(failed).collect(), ..self.clone() })
    }
}

fn ended_part(index: u64, write: &PartWrite) -> EndedPart {
    match &write.ended {
        Ok(_) => EndedPart { index, kind: EventKind::Succeeded, error: None },
        Err(failure) => EndedPart { index, kind: EventKind::Failed, error: Some(brief(failure)) },
    }
}

/// Settles one part in the ledger. Returns the change of its row and when it is retried, or `None` if there is
/// nothing to write, because the attempt is stale or was interrupted.
fn settle(ledger: &mut Ledger, part: PartKey, outcome: &PartAttemptOutcome) -> Option<(PartWrite, Option<Timestamp>)> {
    let PartKey { epoch, index, attempt, .. } = part;
    let (recorded, ended, retry_at) = match outcome {
        PartAttemptOutcome::Succeeded(output) => {
            (ledger.settle(epoch, index, attempt, PartResult::Succeeded), Ok(output.clone()), None)
        }
        PartAttemptOutcome::Failed { failure, retry_at: None } => {
            (ledger.settle(epoch, index, attempt, PartResult::Failed), Err(failure.clone()), None)
        }
        PartAttemptOutcome::Failed { failure, retry_at: Some(due) } => {
            let due = ledger.head().halted.is_none().then_some(*due);
            (ledger.retry_later(epoch, index, attempt), Err(failure.clone()), due)
        }
        PartAttemptOutcome::Interrupted => {
            ledger.release(epoch, index, attempt);
            return None;
        }
    };
    (recorded == RecordResult::Recorded).then_some((PartWrite { attempt, ended }, retry_at))
}
