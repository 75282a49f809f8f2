//! Claims a job, its split or its join: marks the attempt as running in this process.

use std::sync::Arc;

use super::super::operation::Operation;
use super::super::outbox::{NewRow, OutboxKind};
use super::super::permits::{Limit, Permit};
use super::super::transaction::Transaction;
use super::super::types::{Actor, Durability, Shards};
use super::super::unique::key_taken;
use super::{Cancel, NewJob};
use crate::id::JobId;
use crate::job::tree::CancelMode;
use crate::job::{AttemptEnd, AttemptOutcome, Job, JobClaim, Phase, State, UniqueKey};
use crate::mutant::{self, Mutant};

/// Claims the attempt at a job that a message requests, unless the message is stale.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The job of the message. It is created if its id is unknown and this is its first message, which is the case if
    /// another program has sent it.
    pub unknown: NewJob,
    /// The key that the job acquires if it is created.
    pub unique: Option<UniqueKey>,
    /// The function that the message requests: the start or the join.
    pub phase: Phase,
    /// The attempt of the message.
    pub attempt: u32,
    /// Whether the claim must survive the death of this process, because the last worker of the attempt may have
    /// died, or because later steps rely on the claim.
    pub durable: bool,
    /// Whether the message may be a duplicate of one that a live process works on. If so, a job that runs in another
    /// process stays with that process.
    pub may_be_duplicate: bool,
    /// The concurrency limit of the call, if it has one.
    pub limit: Option<Limit>,
    /// The number of workers that have died while they held the message. If the call must wait for a permit, its row
    /// keeps this number.
    pub losses: u32,
    /// The process that claims.
    pub actor: Actor,
}

/// The output of [`Claim`].
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// The attempt is claimed: run it.
    Granted {
        /// The job, as claimed.
        job: Box<Job>,
        /// Whether the attempt was already running, so that its worker may have died. `job.losses` counts how often
        /// that happened.
        reclaimed: bool,
        /// Whether the job was created for this message, which another program has sent.
        created: bool,
        /// The permit of the call, to be released when it ends. `None` if it is under no limit.
        permit: Option<Permit>,
    },
    /// The attempt waits for a permit as an outbox row: acknowledge the delivery.
    Waiting,
    /// This other process runs the job, unless it has died. Nothing changed.
    RunningElsewhere(String),
    /// The job has ended or waits for its parts, or the message is of an older attempt: run nothing.
    Stale,
    /// There is no such job, and the message is not its first: run nothing.
    NotFound,
}

impl Claim {
    /// Claims an attempt of a job for a message that was delivered once, under no limit and without a unique key.
    pub const fn new(unknown: NewJob, phase: Phase, attempt: u32, actor: Actor) -> Self {
        let (durable, may_be_duplicate) = (false, false);
        Self { unknown, unique: None, phase, attempt, durable, may_be_duplicate, limit: None, losses: 0, actor }
    }
}

impl Operation for Claim {
    type Output = Claimed;

    fn job(&self) -> JobId {
        self.unknown.job.id
    }

    fn with(&self) -> Option<JobId> {
        self.unknown.job.parent
    }

    fn limit(&self) -> Option<&Arc<str>> {
        self.limit.as_ref().map(|limit| &limit.name)
    }

    fn unique(&self) -> Option<&Arc<str>> {
        self.unique.as_ref().map(|unique| &unique.key)
    }

    /// Loads all shards if an ancestor was cancelled, because the job is then cancelled and may have parts.
    fn shards(&self, tx: &Transaction) -> Shards {
        let id = self.unknown.job.id;
        let is_cancelled = tx.get(id).is_some_and(|loaded| self.is_cancelled_above(tx, &loaded.job));
        if is_cancelled { Shards::All(id) } else { Shards::None }
    }

    fn durability(&self) -> Durability {
        match &self.limit {
            _ if !self.durable => Durability::Lazy,
            None => Durability::Process,
            // A call that waits for a permit is a row, and its delivery is acknowledged.
            Some(_) => Durability::PowerLoss,
        }
    }

    fn apply(&self, tx: &mut Transaction) -> Claimed {
        self.create_if_unknown(tx);
        let (n_permits, permit) = tx.acquire(self.limit.as_ref(), &self.actor, 1);
        let has_permit = n_permits == 1;
        if let Some(limit) = self.limit.as_ref().filter(|_| !has_permit)
            && let Some(job) = self.current(tx)
        {
            let new = NewRow::new(OutboxKind::of_phase(self.phase), self.attempt);
            tx.enqueue_waiting(&job, new, self.losses, limit);
            return Claimed::Waiting;
        }
        let claimed = self.claim(tx, permit.as_ref());
        let is_granted = matches!(claimed, Claimed::Granted { .. });
        debug_assert!(has_permit || !is_granted, "a stale message is not granted");
        if has_permit && !is_granted {
            tx.release(permit.as_ref(), &self.actor, 1);
        }
        claimed
    }
}

impl Claim {
    fn claim(&self, tx: &mut Transaction, permit: Option<&Permit>) -> Claimed {
        let id = self.unknown.job.id;
        let created = tx.created.contains(&id);
        let Some(loaded) = tx.get(id) else { return Claimed::NotFound };
        if self.is_cancelled_above(tx, &loaded.job) {
            let actor = self.actor_without_rows();
            Cancel { job: id, mode: CancelMode::Immediate, from_ancestor: true, actor }.apply(tx);
            return Claimed::Stale;
        }
        let Some(loaded) = tx.get_mut(id) else { return Claimed::NotFound };
        let reclaimed = loaded.job.state == State::Running;
        if let Some(worker) = loaded.job.worker.as_ref().filter(|_| reclaimed && self.may_be_duplicate)
            && loaded.job.is_current(self.phase, self.attempt)
            && *worker != self.actor.worker.to_string()
        {
            return Claimed::RunningElsewhere(worker.clone());
        }
        // A process may claim an attempt again that it runs itself, after an error of the store. No call was lost then.
        let by_itself = loaded.job.worker.as_deref() == Some(&*self.actor.worker.to_string());
        match loaded.job.claim(self.phase, self.attempt, &self.actor.worker.to_string(), self.actor.now) {
            JobClaim::Granted => {
                loaded.dirty = true;
                // Only a lost call counts, not a lost delivery whose call had not started.
                let may_be_own = by_itself && !mutant::is_on(Mutant::LosesItsOwnCalls);
                let is_loss = (reclaimed && self.durable && !may_be_own) || mutant::is_on(Mutant::CountsClaimsAsLosses);
                loaded.job.losses += u32::from(is_loss);
                // The sender of a duplicate may wait at another reply queue than the sender of the first message.
                if let Some(reply) =
                    self.unknown.job.reply.as_ref().filter(|_| loaded.job.task == self.unknown.job.task)
                {
                    loaded.job.add_reply(reply);
                }
                let job = Box::new(loaded.job.clone());
                tx.notify_started(id);
                Claimed::Granted { job, reclaimed, created, permit: permit.cloned() }
            }
            JobClaim::Ended | JobClaim::Stale => Claimed::Stale,
        }
    }

    /// Returns the job if this attempt has not ended.
    fn current(&self, tx: &Transaction) -> Option<Job> {
        let loaded = tx.get(self.unknown.job.id)?;
        loaded.job.is_current(self.phase, self.attempt).then(|| loaded.job.clone())
    }

    /// Creates the job if it does not exist and this is its first message, which another program has sent.
    fn create_if_unknown(&self, tx: &mut Transaction) {
        let NewJob { job, input } = &self.unknown;
        if tx.get(job.id).is_none() && self.phase == Phase::Start && self.attempt == 1 {
            tx.create(job.clone(), input.clone());
            tx.created.insert(job.id);
            self.acquire_key(tx);
        }
    }

    /// Lets the new job acquire its unique key. If another job holds the key, the new job fails.
    fn acquire_key(&self, tx: &mut Transaction) {
        let (Some(unique), id) = (&self.unique, self.unknown.job.id) else { return };
        let Some(holder) = tx.active_holder(unique, self.actor.now) else {
            if let Some(loaded) = tx.get_mut(id) {
                loaded.job.unique_key = Some(Arc::clone(&unique.key));
            }
            return tx.assign_key(&unique.key, id, self.actor.now);
        };
        let Some(loaded) = tx.get_mut(id) else { return };
        let outcome = AttemptOutcome::Failed { failure: key_taken(&unique.key, holder.job), retry_at: None };
        let ended = loaded.job.end_attempt(self.phase, self.attempt, outcome, self.actor.now);
        if let AttemptEnd::Applied(effects) = ended {
            let job = Arc::new(loaded.job.clone());
            tx.apply_effects(&job, effects, None, &self.actor_without_rows());
        }
    }

    /// Returns the actor without the right to hold rows: a claim returns no rows to its caller, which could not send
    /// them.
    fn actor_without_rows(&self) -> Actor {
        Actor { hold: false, ..self.actor.clone() }
    }

    /// Whether an ancestor was cancelled, so that this attempt does not start any more. A graceful cancel lets the join
    /// run, as the job had started.
    fn is_cancelled_above(&self, tx: &Transaction, job: &Job) -> bool {
        let starts = job.is_current(self.phase, self.attempt) && job.parent.is_some();
        starts
            && tx.cancelled_above(job).is_some_and(|(_, mode)| {
                mode == CancelMode::Immediate || (self.phase == Phase::Start && job.state != State::Running)
            })
    }
}
