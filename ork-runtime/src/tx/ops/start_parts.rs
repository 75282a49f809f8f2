//! Starting parts of one job: their attempts are marked as running.

use std::sync::Arc;

use super::super::limits::Limit;
use super::super::operation::Operation;
use super::super::outbox::NewRow;
use super::super::transaction::Transaction;
use super::super::types::{Actor, Durability, Shards, StoreNotice};
use super::settle_parts::span;
use crate::id::JobId;
use crate::ledger::StartResult;

/// One attempt at one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartKey {
    /// The job that the part belongs to.
    pub job: JobId,
    /// The run of the split that made it.
    pub epoch: u32,
    /// The index of the part, from 0.
    pub index: u64,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// Starts parts of one job whose messages came together, except those whose messages are stale.
#[derive(Debug, Clone)]
pub struct StartParts {
    /// One of the parts; all have the same epoch and attempt.
    pub first: PartKey,
    /// The indices of all of them.
    pub indices: Vec<u64>,
    /// Whether the start must survive the death of this process: the last worker of an attempt may have died.
    pub durable: bool,
    /// The limit that the calls are under.
    pub limit: Option<Limit>,
    /// How many workers have died with the messages; the rows of calls that wait for a permit keep that number.
    pub losses: u32,
    /// The process that starts them.
    pub actor: Actor,
}

impl StartParts {
    /// Starts one part that is under no limit.
    pub fn one(part: PartKey, durable: bool, actor: Actor) -> Self {
        Self { first: part, indices: vec![part.index], durable, limit: None, losses: 0, actor }
    }
}

/// What to do with one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartStart {
    /// Run it.
    Run {
        /// How many workers have died while they ran this attempt.
        losses: u32,
    },
    /// It waits for a permit, as a row of the outbox: acknowledge the delivery.
    Waiting,
    /// It has ended, the message is of an older epoch or attempt, or the job starts no further parts: run nothing.
    Stale,
    /// There is no such part: run nothing.
    NotFound {
        /// How many parts the job has; `None` if there is no such job.
        parts: Option<u64>,
    },
}

/// The output of [`StartParts`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartsStarted {
    /// One entry for each index, in the same order.
    pub parts: Vec<PartStart>,
    /// The total number of parts, once it is fixed.
    pub count: Option<u64>,
}

impl Operation for StartParts {
    type Output = PartsStarted;

    fn job(&self) -> JobId {
        self.first.job
    }

    fn durability(&self) -> Durability {
        if self.durable { Durability::Process } else { Durability::Lazy }
    }

    fn limit(&self) -> Option<&Arc<str>> {
        self.limit.as_ref().map(|limit| &limit.name)
    }

    fn shards(&self, _tx: &Transaction) -> Shards {
        span(self.first.job, self.indices.iter().copied())
    }

    fn apply(&self, tx: &mut Transaction) -> PartsStarted {
        let PartKey { job, .. } = self.first;
        let Some(loaded) = tx.get(job) else {
            let parts = self.indices.iter().map(|_| PartStart::NotFound { parts: None }).collect();
            return PartsStarted { parts, ..PartsStarted::default() };
        };
        let count = loaded.ledger.head().sealed;
        let permits = tx.acquire(self.limit.as_ref(), &self.actor, self.indices.len());
        let (mut parts, mut is_halted, mut n_started) = (Vec::with_capacity(self.indices.len()), false, 0);
        for (at, index) in self.indices.iter().enumerate() {
            let part = PartKey { index: *index, ..self.first };
            let waits = self.limit.as_ref().filter(|_| at >= permits).is_some_and(|limit| self.wait(tx, part, limit));
            let start = if waits { PartStart::Waiting } else { self.start(tx, part, &mut is_halted) };
            n_started += usize::from(matches!(start, PartStart::Run { .. }));
            parts.push(start);
        }
        debug_assert!(n_started <= permits, "a stale message starts nothing");
        tx.release(self.limit.as_ref(), &self.actor, permits.saturating_sub(n_started));
        if is_halted {
            // The notice has the store write this before the deliveries are acknowledged: no other message would settle
            // these parts.
            tx.notify(StoreNotice::JobChanged(job));
            tx.finish_parts(job, &self.actor);
        }
        PartsStarted { parts, count }
    }
}

impl StartParts {
    fn start(&self, tx: &mut Transaction, part: PartKey, is_halted: &mut bool) -> PartStart {
        let PartKey { job, epoch, index, attempt } = part;
        let Some(loaded) = tx.get_mut(job) else { return PartStart::NotFound { parts: None } };
        match loaded.ledger.start(epoch, index, attempt) {
            // Only a lost call counts, not a lost delivery whose call had not started.
            StartResult::Run { restarted } => {
                PartStart::Run { losses: loaded.ledger.losses(index, restarted && self.durable) }
            }
            StartResult::Ended | StartResult::Stale => PartStart::Stale,
            StartResult::NotFound => PartStart::NotFound { parts: Some(loaded.ledger.head().appended) },
            StartResult::Halted => {
                *is_halted = true;
                PartStart::Stale
            }
        }
    }

    /// Lets a part wait for a permit. Returns `false` if its message is stale.
    fn wait(&self, tx: &mut Transaction, part: PartKey, limit: &Limit) -> bool {
        let PartKey { job, epoch, index, attempt } = part;
        let current = tx.get(job).filter(|loaded| loaded.ledger.is_current(epoch, index, attempt));
        let Some(job) = current.map(|loaded| loaded.job.clone()) else { return false };
        tx.enqueue_waiting(&job, NewRow::part(epoch, index, attempt), self.losses, limit);
        true
    }
}
