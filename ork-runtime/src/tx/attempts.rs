//! Operations on attempts at parts: start, settle; one at a time or a run at once.

use std::sync::Arc;

use bytes::Bytes;

use super::outbox::{HeldRow, NOT_HELD, OutboxKind};
use super::transaction::{PartWrite, Transaction};
use super::{Actor, Durability, Operation, SettleResult, Shards, StoreNotice};
use crate::clock::Timestamp;
use crate::event::{EventKind, EventScope, brief};
use crate::failure::Failure;
use crate::id::JobId;
use crate::ledger::{Halt, Ledger, PartResult, RecordResult, StartResult};
use crate::policy::OnError;

/// One attempt at one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartKey {
    /// The job it is a part of.
    pub job: JobId,
    /// The run of the split that made it.
    pub epoch: u32,
    /// Which part, from 0.
    pub index: u64,
    /// Which attempt, from 1.
    pub attempt: u32,
}

/// Starts an attempt at a part, if it is still owed.
#[derive(Debug, Clone)]
pub struct StartPart {
    /// Which.
    pub part: PartKey,
    /// Whether that it was begun must outlive this process: its worker may have died before, or what follows rests on it.
    pub durable: bool,
    /// Who.
    pub actor: Actor,
}

/// The answer to [`StartPart`].
#[derive(Debug, Clone, PartialEq)]
pub enum Started {
    /// Run it; the number of parts is told once it is fixed.
    Run {
        /// How many parts there are.
        count: Option<u64>,
        /// How often this attempt was begun, and its worker died while it ran.
        losses: u32,
    },
    /// Run nothing: it has ended, belongs to an older epoch or attempt, or its job takes no further part. What is held
    /// must be sent.
    Stale(Vec<HeldRow>),
    /// There is no such part; its job, if there is one, has this many.
    NotFound {
        /// How many parts there are.
        parts: Option<u64>,
    },
}

impl Operation for StartPart {
    type Output = Started;

    fn job(&self) -> JobId {
        self.part.job
    }

    fn durability(&self) -> Durability {
        if self.durable { Durability::Process } else { Durability::Lazy }
    }

    fn shards(&self, _books: &Transaction) -> Shards {
        Shards::Of(self.part.job, self.part.index)
    }

    fn apply(&self, transaction: &mut Transaction) -> Started {
        let PartKey { job, epoch, index, attempt } = self.part;
        let Some(entry) = transaction.get_mut(job) else {
            return Started::NotFound { parts: None };
        };
        match entry.ledger.start(epoch, index, attempt) {
            StartResult::Run { restarted: again } => {
                // A call was lost, not only a delivery.
                let losses = entry.ledger.losses(index, again && self.durable);
                Started::Run { count: entry.ledger.head().sealed, losses }
            }
            StartResult::Ended | StartResult::Stale => Started::Stale(Vec::new()),
            StartResult::NotFound => Started::NotFound { parts: Some(entry.ledger.head().appended) },
            StartResult::Halted => {
                // News, so that it is written before its message is done with: nobody would settle it again.
                transaction.notify(StoreNotice::JobChanged(job));
                Started::Stale(transaction.finish_parts(job, &self.actor))
            }
        }
    }
}

/// Starts parts of one job that came together, if they are still owed: what [`StartPart`] does for one.
#[derive(Debug, Clone)]
pub struct StartParts {
    /// One of them; the others carry the same epoch and attempt.
    pub first: PartKey,
    /// The indices.
    pub indices: Vec<u64>,
    /// Who.
    pub actor: Actor,
}

/// The answer to [`StartParts`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PartsStarted {
    /// The indices to run, in the order given. What is to become of another, [`StartPart`] says.
    pub run: Vec<u64>,
    /// How many parts there are, once that is fixed.
    pub count: Option<u64>,
    /// What is held and must be sent.
    pub to_send: Vec<HeldRow>,
}

impl Operation for StartParts {
    type Output = PartsStarted;

    fn job(&self) -> JobId {
        self.first.job
    }

    fn durability(&self) -> Durability {
        Durability::Lazy
    }

    fn shards(&self, _books: &Transaction) -> Shards {
        span(self.first.job, self.indices.iter().copied())
    }

    fn apply(&self, transaction: &mut Transaction) -> PartsStarted {
        let PartKey { job, epoch, attempt, .. } = self.first;
        let mut started = PartsStarted::default();
        let Some(entry) = transaction.get_mut(job) else { return started };
        started.count = entry.ledger.head().sealed;
        let mut halted = false;
        let runs = |index: &u64| {
            let start = entry.ledger.start(epoch, *index, attempt);
            halted |= start == StartResult::Halted;
            matches!(start, StartResult::Run { .. })
        };
        started.run = self.indices.iter().copied().filter(runs).collect();
        if halted {
            transaction.notify(StoreNotice::JobChanged(job));
            started.to_send = transaction.finish_parts(job, &self.actor);
        }
        started
    }
}

/// How an attempt at a part ended.
#[derive(Debug, Clone, PartialEq)]
pub enum PartAttemptOutcome {
    /// It returned this.
    Succeeded(Bytes),
    /// It failed; the next attempt is due at `again`, if there is one.
    Failed {
        /// Why.
        failure: Failure,
        /// When the next attempt is due.
        again: Option<Timestamp>,
    },
    /// The worker had to stop; this costs no attempt.
    Interrupted,
}

/// Records how attempts at parts of one job ended; the last part owes what follows.
#[derive(Debug, Clone)]
pub struct SettleParts {
    /// One of them; the others carry the same epoch and attempt.
    pub first: PartKey,
    /// The indices, and how each ended.
    pub ended: Arc<[(u64, PartAttemptOutcome)]>,
    /// Who ran them.
    pub actor: Actor,
}

impl SettleParts {
    /// Records how one attempt ended.
    pub fn one(part: PartKey, outcome: PartAttemptOutcome, actor: Actor) -> Self {
        Self { first: part, ended: Arc::new([(part.index, outcome)]), actor }
    }
}

impl Operation for SettleParts {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.first.job
    }

    /// A failure may be the one that stops the others.
    fn shards(&self, transaction: &Transaction) -> Shards {
        let stops = |entry: &super::LoadedJob| entry.ledger.head().policy.on_error == OnError::Stop;
        let failed = |(_, outcome): &(u64, PartAttemptOutcome)| matches!(outcome, PartAttemptOutcome::Failed { .. });
        if self.ended.iter().any(failed) && transaction.get(self.first.job).is_some_and(stops) {
            return Shards::All(self.first.job);
        }
        span(self.first.job, self.ended.iter().map(|(index, _)| *index))
    }

    fn apply(&self, transaction: &mut Transaction) -> SettleResult {
        let PartKey { job, epoch, attempt, .. } = self.first;
        let Some(entry) = transaction.get_mut(job) else {
            return SettleResult::Stale;
        };
        let mut written = Vec::with_capacity(self.ended.len());
        let mut again = Vec::new();
        for (index, outcome) in self.ended.iter() {
            let part = PartKey { index: *index, ..self.first };
            let Some((write, due)) = settle(&mut entry.ledger, part, outcome) else { continue };
            written.push((job, *index, write));
            again.extend(due.map(|due| (*index, due)));
        }
        if written.is_empty() {
            return SettleResult::Stale;
        }
        if entry.ledger.must_stop() {
            entry.dirty = true;
            entry.ledger.halt(Halt::Stopped);
        }
        let retried = (!again.is_empty()).then(|| entry.job.clone());
        let mut to_send = Vec::new();
        if self.actor.events.scope() == EventScope::Parts {
            let ended = written.iter().filter(|(_, index, _)| again.iter().all(|(retried, _)| retried != index));
            let ended = ended.map(|(_, index, write)| (*index, how_ended(write))).collect();
            let job = entry.job.clone();
            to_send.extend(transaction.emit_parts_ended(&job, attempt, ended, &self.actor));
        }
        transaction.writes().parts.extend(written);
        transaction.notify(StoreNotice::JobChanged(job));
        to_send.extend(transaction.finish_parts(job, &self.actor));
        for ((index, due), job) in again.into_iter().zip(retried.iter().cycle()) {
            let kind = OutboxKind::Parts { epoch, first: index, len: 1 };
            to_send.extend(transaction.enqueue(job, (kind, attempt + 1, Some(due)), &self.actor, NOT_HELD));
        }
        SettleResult::Applied(to_send)
    }
}

/// The event of what is written of a part that has ended.
fn how_ended(write: &PartWrite) -> (EventKind, Option<Failure>) {
    match &write.ended {
        Ok(_) => (EventKind::Completed, None),
        Err(failure) => (EventKind::Failed, Some(brief(failure))),
    }
}

/// Settles one part; answers what is to be written of it and when it is tried again, or nothing if it did not count.
fn settle(ledger: &mut Ledger, part: PartKey, outcome: &PartAttemptOutcome) -> Option<(PartWrite, Option<Timestamp>)> {
    let PartKey { epoch, index, attempt, .. } = part;
    let (count, ended, again) = match outcome {
        PartAttemptOutcome::Succeeded(output) => {
            (ledger.settle(epoch, index, attempt, PartResult::Succeeded), Ok(output.clone()), None)
        }
        PartAttemptOutcome::Failed { failure, again: None } => {
            let count = ledger.settle(epoch, index, attempt, PartResult::Failed);
            (count, Err(failure.clone()), None)
        }
        PartAttemptOutcome::Failed { failure, again: Some(due) } => {
            let due = ledger.head().halted.is_none().then_some(*due);
            (ledger.retry_later(epoch, index, attempt), Err(failure.clone()), due)
        }
        PartAttemptOutcome::Interrupted => {
            ledger.release(epoch, index, attempt);
            return None;
        }
    };
    (count == RecordResult::Recorded).then_some((PartWrite { attempt, ended }, again))
}

/// The shards of these indices and of all between them.
fn span(job: JobId, indices: impl Iterator<Item = u64> + Clone) -> Shards {
    match (indices.clone().min(), indices.max()) {
        (Some(first), Some(last)) => Shards::Between(job, first, last),
        _ => Shards::None,
    }
}
