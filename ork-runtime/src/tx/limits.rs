//! Concurrency limits: work that begins only with a permit, which the transaction that settles it gives back.
//!
//! A limit has so many permits over all processes that share a store. A process holds a number of them, which ends with
//! it. What finds none left waits as a row of the outbox, and whoever gives a permit back wakes one such row. So nobody
//! polls, and no delivery is kept waiting at a broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attempts::{PartAttemptOutcome, PartsStarted, SettleParts, StartPart, StartParts, Started};
use super::jobs::{Claim, Claimed, Settle};
use super::outbox::{OutboxKind, kind_of};
use super::parts::SealParts;
use super::transaction::{LoadedJob, Transaction};
use super::{Actor, Durability, Operation, PartKey, SettleResult, Shards};
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::AttemptOutcome;
use crate::mutant::{self, Mutant};

/// How many calls may run at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// What is limited: a task, or a task for one value of a key.
    pub name: Arc<str>,
    /// How many calls may run at once.
    pub permits: u32,
}

/// How many permits of one limit each process holds, by its boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permits(BTreeMap<[u8; 16], u32>);

impl Permits {
    /// What a store knows of them.
    pub fn new(held: impl IntoIterator<Item = ([u8; 16], u32)>) -> Self {
        Self(held.into_iter().collect())
    }

    /// Takes at most so many; answers how many, and what the process holds then.
    fn take(&mut self, limit: u32, boot: [u8; 16], wanted: u32) -> (u32, u32) {
        let used = self.0.values().fold(0, |sum: u32, held| sum.saturating_add(*held));
        let used = if mutant::is_on(Mutant::OverdrawsPermits) { 0 } else { used };
        let taken = limit.saturating_sub(used).min(wanted);
        let held = self.0.entry(boot).or_default();
        *held += taken;
        (taken, *held)
    }

    /// Gives so many back, if it has them: a process that was taken for dead has none. Answers what it holds then.
    fn give(&mut self, boot: [u8; 16], given: u32) -> u32 {
        let held = self.0.entry(boot).or_default();
        *held = held.saturating_sub(given);
        *held
    }
}

impl Transaction {
    /// Whether the permits of this limit were looked up.
    pub fn knows_permits(&self, limit: &str) -> bool {
        self.permits.contains_key(limit)
    }

    /// Takes what the store knows of the permits of a limit.
    pub fn open_permits(&mut self, limit: Arc<str>, permits: Permits) {
        self.permits.insert(limit, permits);
    }

    fn acquire(&mut self, limit: &Limit, actor: &Actor, wanted: usize) -> usize {
        let (boot, wanted) = (actor.worker.boot(), u32::try_from(wanted).unwrap_or(u32::MAX));
        let permits = self.permits.entry(Arc::clone(&limit.name)).or_default();
        let (taken, held) = permits.take(limit.permits, boot, wanted);
        if taken > 0 {
            self.writes().permits.insert((Arc::clone(&limit.name), boot), held);
        }
        usize::try_from(taken).unwrap_or(usize::MAX)
    }

    fn release(&mut self, limit: &Limit, actor: &Actor, given: usize) {
        let (boot, given) = (actor.worker.boot(), u32::try_from(given).unwrap_or(u32::MAX));
        if given == 0 || mutant::is_on(Mutant::KeepsPermit) {
            return;
        }
        let held = self.permits.entry(Arc::clone(&limit.name)).or_default().give(boot, given);
        let writes = self.writes();
        writes.permits.insert((Arc::clone(&limit.name), boot), held);
        if mutant::is_on(Mutant::WakesNobody) {
            return;
        }
        *writes.woken.entry(Arc::clone(&limit.name)).or_default() += given;
    }
}

/// An operation that begins calls, each of which may need a permit.
pub trait Begin: Operation + Clone {
    /// Who begins them.
    fn actor(&self) -> &Actor;

    /// How many calls it begins at most.
    fn calls(&self) -> usize {
        1
    }

    /// The same for the first `n` of them, at least one.
    #[must_use]
    fn first(&self, _n: usize) -> Self {
        self.clone()
    }

    /// How many of them were begun.
    fn begun(answer: &Self::Output) -> usize;

    /// Makes what must be there before a call can wait.
    fn prepare(&self, _books: &mut Transaction) {}

    /// What asks for one of them again, with its attempt; `None` if it is not owed any more.
    fn dispatch(&self, at: usize, entry: &LoadedJob) -> Option<(OutboxKind, u32)>;
}

/// Begins what has a permit, and lets the rest wait for one.
#[derive(Debug, Clone)]
pub struct Admit<O> {
    /// Where the permits come from.
    pub limit: Limit,
    /// How often workers died with its deliveries: what waits does not forget it.
    pub lost: u32,
    /// What is to begin.
    pub operation: O,
}

/// The answer to [`Admit`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Admitted<A> {
    /// The answer for those that do not wait; `None` if all do.
    pub answer: Option<A>,
    /// Which calls wait in the outbox now: their deliveries are done with.
    pub waiting: Vec<usize>,
}

impl<A> Admitted<A> {
    /// The answer where nothing waits.
    pub const fn all(answer: A) -> Self {
        Self { answer: Some(answer), waiting: Vec::new() }
    }
}

impl<O: Begin> Operation for Admit<O> {
    type Output = Admitted<O::Output>;

    fn job(&self) -> JobId {
        self.operation.job()
    }

    fn durability(&self) -> Durability {
        self.operation.durability()
    }

    fn shards(&self, transaction: &Transaction) -> Shards {
        self.operation.shards(transaction)
    }

    fn limit(&self) -> Option<&Arc<str>> {
        Some(&self.limit.name)
    }

    fn with(&self) -> Option<JobId> {
        self.operation.with()
    }

    fn unique(&self) -> Option<&Arc<str>> {
        self.operation.unique()
    }

    fn apply(&self, transaction: &mut Transaction) -> Self::Output {
        let Self { limit, lost, operation } = self;
        let (actor, calls) = (operation.actor(), operation.calls());
        operation.prepare(transaction);
        let permits = transaction.acquire(limit, actor, calls);
        let mut waiting = Vec::new();
        if let Some(job) = transaction.get(operation.job()).filter(|_| permits < calls).map(|entry| entry.job.clone()) {
            for at in permits..calls {
                let dispatch = transaction.get(job.id).and_then(|entry| operation.dispatch(at, entry));
                if let Some((kind, attempt)) = dispatch {
                    transaction.enqueue_waiting(&job, (kind, attempt, *lost), limit);
                    waiting.push(at);
                }
            }
        }
        // Without a permit nothing begins; what is not owed any more needs none to be told so.
        let answer = if permits > 0 {
            Some(operation.first(permits).apply(transaction))
        } else if waiting.is_empty() {
            Some(operation.apply(transaction))
        } else {
            None
        };
        let begun = answer.as_ref().map_or(0, O::begun);
        debug_assert!(begun <= permits, "a call began without a permit");
        transaction.release(limit, actor, permits.saturating_sub(begun));
        Admitted { answer, waiting }
    }
}

/// An operation that settles calls.
pub trait Settles: Operation<Output = SettleResult> + Clone {
    /// Who made them.
    fn actor(&self) -> &Actor;

    /// How many there were.
    fn calls(&self) -> usize;

    /// The same for each of its calls alone.
    fn each(&self) -> Vec<Self> {
        vec![self.clone()]
    }

    /// Says that the call has failed, in place of how it ended, if it can be said of this one.
    fn failing(&self, failure: Failure) -> Option<Self>;
}

/// Settles calls, and gives their permits back, even if it comes too late to count.
#[derive(Debug, Clone)]
pub struct Release<O> {
    /// Where the permits came from.
    pub limit: Limit,
    /// Settles them.
    pub operation: O,
}

impl<O: Settles> Operation for Release<O> {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.operation.job()
    }

    fn durability(&self) -> Durability {
        self.operation.durability()
    }

    fn shards(&self, transaction: &Transaction) -> Shards {
        self.operation.shards(transaction)
    }

    fn limit(&self) -> Option<&Arc<str>> {
        Some(&self.limit.name)
    }

    fn with(&self) -> Option<JobId> {
        self.operation.with()
    }

    fn unique(&self) -> Option<&Arc<str>> {
        self.operation.unique()
    }

    fn apply(&self, transaction: &mut Transaction) -> SettleResult {
        let Self { limit, operation } = self;
        let answer = operation.apply(transaction);
        transaction.release(limit, operation.actor(), operation.calls());
        answer
    }
}

impl Settles for Settle {
    fn actor(&self) -> &Actor {
        &self.actor
    }

    fn calls(&self) -> usize {
        1
    }

    fn failing(&self, failure: Failure) -> Option<Self> {
        Some(Self { outcome: AttemptOutcome::Failed { failure, retry_at: None }, output: None, ..self.clone() })
    }
}

/// A task that has split itself gives back the permit of its own call.
impl Settles for SealParts {
    fn actor(&self) -> &Actor {
        &self.actor
    }

    fn calls(&self) -> usize {
        1
    }

    /// Its parts are under way.
    fn failing(&self, _failure: Failure) -> Option<Self> {
        None
    }
}

impl Settles for SettleParts {
    fn actor(&self) -> &Actor {
        &self.actor
    }

    fn calls(&self) -> usize {
        self.ended.len()
    }

    fn each(&self) -> Vec<Self> {
        let one = |(index, outcome): &(u64, PartAttemptOutcome)| {
            let first = PartKey { index: *index, ..self.first };
            Self::one(first, outcome.clone(), self.actor.clone())
        };
        self.ended.iter().map(one).collect()
    }

    fn failing(&self, failure: Failure) -> Option<Self> {
        let failed = |(index, _): &(u64, PartAttemptOutcome)| {
            (*index, PartAttemptOutcome::Failed { failure: failure.clone(), again: None })
        };
        Some(Self { ended: self.ended.iter().map(failed).collect(), ..self.clone() })
    }
}

impl Begin for StartPart {
    fn actor(&self) -> &Actor {
        &self.actor
    }

    fn begun(answer: &Started) -> usize {
        usize::from(matches!(answer, Started::Run { .. }))
    }

    fn dispatch(&self, _at: usize, entry: &LoadedJob) -> Option<(OutboxKind, u32)> {
        part(entry, self.part.epoch, self.part.index, self.part.attempt)
    }
}

impl Begin for StartParts {
    fn actor(&self) -> &Actor {
        &self.actor
    }

    fn calls(&self) -> usize {
        self.indices.len()
    }

    fn first(&self, n: usize) -> Self {
        Self { indices: self.indices.iter().copied().take(n).collect(), ..self.clone() }
    }

    fn begun(answer: &PartsStarted) -> usize {
        answer.run.len()
    }

    fn dispatch(&self, at: usize, entry: &LoadedJob) -> Option<(OutboxKind, u32)> {
        part(entry, self.first.epoch, *self.indices.get(at)?, self.first.attempt)
    }
}

impl Begin for Claim {
    fn actor(&self) -> &Actor {
        &self.actor
    }

    fn begun(answer: &Claimed) -> usize {
        usize::from(matches!(answer, Claimed::Granted { .. }))
    }

    fn prepare(&self, transaction: &mut Transaction) {
        self.make(transaction);
    }

    fn dispatch(&self, _at: usize, entry: &LoadedJob) -> Option<(OutboxKind, u32)> {
        entry.job.is_current(self.phase, self.attempt).then_some((kind_of(self.phase), self.attempt))
    }
}

fn part(entry: &LoadedJob, epoch: u32, index: u64, attempt: u32) -> Option<(OutboxKind, u32)> {
    let kind = OutboxKind::Parts { epoch, first: index, len: 1 };
    entry.ledger.is_current(epoch, index, attempt).then_some((kind, attempt))
}
