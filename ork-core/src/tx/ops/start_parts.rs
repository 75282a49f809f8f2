//! Starts parts of one job: marks their attempts as running.

use std::sync::Arc;

use super::super::operation::Operation;
use super::super::outbox::NewRow;
use super::super::permits::{Limit, Permit};
use super::super::transaction::{LoadedJob, Transaction};
use super::super::types::{Actor, Durability, Shards, StoreNotice};
use crate::id::JobId;
use crate::ledger::StartResult;

/// One attempt at one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartKey {
    /// The job that the part belongs to.
    pub job: JobId,
    /// The epoch: the run of the split that yielded the part.
    pub epoch: u32,
    /// The index of the part, from 0.
    pub index: u64,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// Starts parts of one job that were delivered together, except those with stale messages.
#[derive(Debug, Clone)]
pub struct StartParts {
    /// One of the parts. All parts have the same epoch and attempt.
    pub first: PartKey,
    /// The indices of all parts, including the first.
    pub indices: Vec<u64>,
    /// Whether the start must survive the death of this process, because the last worker of an attempt may have died.
    pub durable: bool,
    /// The concurrency limit of the calls, if they have one.
    pub limit: Option<Limit>,
    /// The number of workers that have died while they held the messages. The rows of calls that must wait for a permit
    /// keep this number.
    pub losses: u32,
    /// Whether the parts have waited for a permit, and these are the messages of the rows in which they have waited.
    pub waited: bool,
    /// The process that starts them.
    pub actor: Actor,
}

impl StartParts {
    /// Creates the operation for one part without a concurrency limit.
    pub fn one(part: PartKey, durable: bool, actor: Actor) -> Self {
        Self { first: part, indices: vec![part.index], durable, limit: None, losses: 0, waited: false, actor }
    }
}

/// The result of the start of one part: the action that the caller must take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartStart {
    /// Run it.
    Run {
        /// The number of workers that have died while they were running this attempt.
        losses: u32,
    },
    /// The part waits for a permit as an outbox row: acknowledge the delivery.
    Waiting,
    /// The part has ended, the message is of an older epoch or attempt, or the job starts no further parts: run
    /// nothing.
    Stale,
    /// The part does not exist: run nothing.
    NotFound {
        /// The number of parts that the job has so far. `None` if the job does not exist.
        parts: Option<u64>,
    },
}

/// The output of [`StartParts`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartsStarted {
    /// One entry for each index, in the same order.
    pub parts: Vec<PartStart>,
    /// The total number of parts. `None` until it is sealed.
    pub count: Option<u64>,
    /// The permit of each call, to be released when it ends. `None` if they are under no limit.
    pub permit: Option<Permit>,
}

impl Operation for StartParts {
    type Output = PartsStarted;

    fn job(&self) -> JobId {
        self.first.job
    }

    /// Parts that wait for a permit, and parts of a stopped job that end here, are acknowledged.
    fn durability(&self) -> Durability {
        if self.durable { Durability::PowerLoss } else { Durability::Lazy }
    }

    fn limit(&self) -> Option<&Arc<str>> {
        self.limit.as_ref().map(|limit| &limit.name)
    }

    fn shards(&self, _tx: &Transaction) -> Shards {
        Shards::spanning(self.first.job, self.indices.iter().copied())
    }

    fn apply(&self, tx: &mut Transaction) -> PartsStarted {
        let PartKey { job, .. } = self.first;
        let Some(loaded) = tx.get(job) else {
            let parts = self.indices.iter().map(|_| PartStart::NotFound { parts: None }).collect();
            return PartsStarted { parts, ..PartsStarted::default() };
        };
        let count = loaded.ledger.head().sealed;
        let (permits, permit) = tx.acquire(self.limit.as_ref(), &self.actor, self.indices.len());
        let (mut parts, mut is_halted, mut n_started) = (Vec::with_capacity(self.indices.len()), false, 0);
        for (at, index) in self.indices.iter().enumerate() {
            let part = PartKey { index: *index, ..self.first };
            let waits = self.limit.as_ref().filter(|_| at >= permits).is_some_and(|limit| self.wait(tx, part, limit));
            let start = if waits { PartStart::Waiting } else { self.start(tx, part, &mut is_halted) };
            n_started += usize::from(matches!(start, PartStart::Run { .. }));
            parts.push(start);
        }
        debug_assert!(n_started <= permits, "a stale message starts nothing");
        tx.release(permit.as_ref(), &self.actor, permits.saturating_sub(n_started));
        if is_halted {
            // The notice makes the store write this before the deliveries are acknowledged, because no other message
            // would settle these parts.
            tx.notify(StoreNotice::JobChanged(job));
            tx.finish_parts(job, &self.actor);
        }
        PartsStarted { parts, count, permit }
    }
}

impl StartParts {
    fn start(&self, tx: &mut Transaction, part: PartKey, is_halted: &mut bool) -> PartStart {
        let PartKey { job, epoch, index, attempt } = part;
        let Some(loaded) = tx.get_mut(job) else { return PartStart::NotFound { parts: None } };
        match loaded.ledger.start(epoch, index, attempt, self.waited) {
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

    /// Enqueues a part that must wait for a permit. Returns `false` if its message is stale.
    fn wait(&self, tx: &mut Transaction, part: PartKey, limit: &Limit) -> bool {
        let PartKey { job, epoch, index, attempt } = part;
        let is_current = |loaded: &&mut LoadedJob| {
            loaded.ledger.is_current(epoch, index, attempt) && (self.waited || !loaded.ledger.has_waited(index))
        };
        let Some(loaded) = tx.get_mut(job).filter(is_current) else { return false };
        loaded.ledger.wait(index);
        let job = loaded.job.clone();
        tx.enqueue_waiting(&job, NewRow::waiting_part(epoch, index, attempt), self.losses, limit);
        true
    }
}
