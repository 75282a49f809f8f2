//! Operations on whole jobs: submit, claim, refuse, settle.

use std::sync::Arc;

use bytes::Bytes;

use super::control::{self, Cancel};
use super::outbox::{HeldRow, OutboxKind, OutboxRow};
use super::transaction::Transaction;
use super::tree::{ChildError, FollowPlan};
use super::unique::key_taken;
use super::{Actor, Durability, Operation, SettleResult, Shards};
use crate::event::{Event, EventKind, EventRouting};
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{self, AttemptEnd, AttemptOutcome, Job, Phase, State, UniqueKey};
use crate::ledger::Halt;
use crate::message::Outgoing;
use crate::mutant::{self, Mutant};
use crate::tree::CancelMode;

/// A job to be made, with its input's JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// The job; its state is `ready`.
    pub job: Job,
    /// The input's JSON.
    pub input: Bytes,
}

/// Makes a job and owes its first dispatch. A job whose id is known stays as it is.
#[derive(Debug, Clone)]
pub struct Submit {
    /// The job.
    pub new: NewJob,
    /// The jobs after whose ends it begins: it waits for the last of them.
    pub after: Vec<JobId>,
    /// The key that it takes, unless another job has it.
    pub unique: Option<UniqueKey>,
    /// Who submits it.
    pub actor: Actor,
}

impl Submit {
    /// Submits a job that begins at once.
    pub const fn new(new: NewJob, actor: Actor) -> Self {
        Self { new, after: Vec::new(), unique: None, actor }
    }
}

/// The answer to [`Submit`].
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// It is new; what is held must be sent.
    Created(Option<HeldRow>),
    /// There was a job of its id.
    Exists,
    /// It was there, had not ended well, and is taken up again; what is held must be sent.
    Resumed(Vec<HeldRow>),
    /// The job above it takes no children any more.
    ChildRefused(ChildError),
    /// There is no job of this id, which it was to follow.
    NoJobToFollow(JobId),
    /// This job has its key and has not ended.
    KeyTaken(JobId),
    /// This job has its key, has not ended, and has shown no sign of life for as long as the key allows.
    KeyHolderStale(JobId),
}

impl Operation for Submit {
    type Output = Submitted;

    fn job(&self) -> JobId {
        self.new.job.id
    }

    fn with(&self) -> Option<JobId> {
        self.new.job.parent
    }

    fn follows(&self) -> &[JobId] {
        &self.after
    }

    fn unique(&self) -> Option<&Arc<str>> {
        self.unique.as_ref().map(|unique| &unique.key)
    }

    /// A child that is taken up again may have parts.
    fn shards(&self, transaction: &Transaction) -> Shards {
        let known = self.new.job.parent.is_some() && transaction.get(self.new.job.id).is_some();
        if known { Shards::All(self.new.job.id) } else { Shards::None }
    }

    fn apply(&self, transaction: &mut Transaction) -> Submitted {
        let NewJob { job, input } = &self.new;
        if let Some(parent) = job.parent
            && let Err(no) = transaction.check_accepts_child(parent)
        {
            return Submitted::ChildRefused(no);
        }
        if let Some(known) = transaction.get(job.id).map(|entry| &entry.job) {
            // The job above it runs again, and asks for it again.
            let again = job.parent.is_some() && known.parent == job.parent;
            if !again || !matches!(known.state, State::Failed | State::Cancelled) {
                return Submitted::Exists;
            }
            return match transaction.reacquire_key(
                self.unique.as_ref().map(|unique| &unique.key),
                job.id,
                self.actor.now,
            ) {
                Some(active_holder) => Submitted::KeyTaken(active_holder),
                None => Submitted::Resumed(control::resume_job(transaction, job.id, &self.after, &self.actor)),
            };
        }
        if let Some(active_holder) =
            self.unique.as_ref().and_then(|unique| transaction.active_holder(unique, self.actor.now))
        {
            return if active_holder.stale {
                Submitted::KeyHolderStale(active_holder.job)
            } else {
                Submitted::KeyTaken(active_holder.job)
            };
        }
        let waits_for = match transaction.follow(job.id, &self.after) {
            FollowPlan::Now => None,
            FollowPlan::Later(limit) => Some(limit),
            FollowPlan::Never(unknown) => return Submitted::NoJobToFollow(unknown),
        };
        let mut job = job.clone();
        if let Some(unique) = &self.unique {
            transaction.assign_key(&unique.key, job.id, self.actor.now);
            job.unique_key = Some(Arc::clone(&unique.key));
        }
        let new = NewJob { job, input: input.clone() };
        let NewJob { job, input } = &new;
        if let Some(limit) = waits_for {
            transaction.create(job.clone(), input.clone());
            transaction.enqueue_waiting(job, (OutboxKind::Start, job.attempt, 0), &limit);
            return Submitted::Created(transaction.emit(job, EventKind::Created, &self.actor));
        }
        Submitted::Created(transaction.submit(&new, &self.actor))
    }
}

impl Transaction {
    /// Makes a job and owes its first dispatch.
    pub(super) fn submit(&mut self, NewJob { job, input }: &NewJob, actor: &Actor) -> Option<HeldRow> {
        self.create(job.clone(), input.clone());
        let to_send = matches!(actor.events, EventRouting::Outbox(_));
        if !to_send {
            self.emit(job, EventKind::Created, actor);
        }
        // Its first message says that it is there.
        let created = to_send.then(|| Event::of(job, EventKind::Created, 0, actor.now));
        let work = |row: &OutboxRow| {
            let event = created.map(|event| Outgoing::Event(event.into()));
            event.into_iter().chain([row.work(job, input.clone())]).collect()
        };
        self.enqueue(job, (OutboxKind::Start, job.attempt, None), actor, Some(work))
    }
}

/// Claims a dispatch of a job, if it is still owed.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The job of the dispatch; it is made first if its id is unknown, as when another program sent it.
    pub unknown: NewJob,
    /// The key that it takes if it is made.
    pub unique: Option<UniqueKey>,
    /// Which function it runs.
    pub phase: Phase,
    /// Which attempt it is.
    pub attempt: u32,
    /// Whether that it was begun must outlive this process: its worker may have died before, or what follows rests on it.
    pub durable: bool,
    /// Whether the message may be another copy of one that a living process works on: then a job that another process
    /// runs stays with that one.
    pub may_be_duplicate: bool,
    /// Who claims.
    pub actor: Actor,
}

/// The answer to [`Claim`].
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// Run it.
    Granted {
        /// The job.
        job: Box<Job>,
        /// Whether this attempt was begun before, and neither ended nor given back: its worker may have died. How often
        /// it did, the job says.
        reclaimed: bool,
        /// Whether the job was made now: its first message has come from another program.
        created: bool,
    },
    /// It is still owed, but this other process runs it, unless that has died: nothing changed.
    RunningElsewhere(String),
    /// It has ended, waits for its parts, or the dispatch is of an older attempt: run nothing.
    Stale,
    /// There is no such job, and the dispatch is not its first: run nothing.
    NotFound,
}

impl Claim {
    /// Makes the job if its first message has come from another program.
    pub(super) fn make(&self, transaction: &mut Transaction) {
        let NewJob { job, input } = &self.unknown;
        if transaction.get(job.id).is_none() && self.phase == Phase::Start && self.attempt == 1 {
            transaction.create(job.clone(), input.clone());
            transaction.created.insert(job.id);
            self.acquire_key(transaction);
        }
    }

    /// Gives its key to the job that was just made, or fails it, if another one has the key.
    fn acquire_key(&self, transaction: &mut Transaction) {
        let (Some(unique), id) = (&self.unique, self.unknown.job.id) else { return };
        let Some(active_holder) = transaction.active_holder(unique, self.actor.now) else {
            if let Some(entry) = transaction.get_mut(id) {
                entry.job.unique_key = Some(Arc::clone(&unique.key));
            }
            return transaction.assign_key(&unique.key, id, self.actor.now);
        };
        let Some(entry) = transaction.get_mut(id) else { return };
        let outcome = AttemptOutcome::Failed { failure: key_taken(&unique.key, active_holder.job), retry_at: None };
        if let AttemptEnd::Applied(effects) = entry.job.end_attempt(self.phase, self.attempt, outcome, self.actor.now) {
            let job = entry.job.clone();
            // Nobody is there to send what this owes.
            let actor = Actor { hold: false, ..self.actor.clone() };
            transaction.apply_effects(&job, effects, None, &actor);
        }
    }

    /// Whether a job above was interrupted, so that this does not begin any more. A join ends what has begun.
    fn is_cancelled_above(&self, transaction: &Transaction, job: &Job) -> bool {
        let begins = job.is_current(self.phase, self.attempt) && job.parent.is_some();
        begins
            && transaction.cancelled_above(job).is_some_and(|(_, mode)| {
                mode == CancelMode::Immediate || (self.phase == Phase::Start && job.state != State::Running)
            })
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

    fn unique(&self) -> Option<&Arc<str>> {
        self.unique.as_ref().map(|unique| &unique.key)
    }

    /// A job that is found to be interrupted may have parts.
    fn shards(&self, transaction: &Transaction) -> Shards {
        let id = self.unknown.job.id;
        let interrupted = transaction.get(id).is_some_and(|entry| self.is_cancelled_above(transaction, &entry.job));
        if interrupted { Shards::All(id) } else { Shards::None }
    }

    fn durability(&self) -> Durability {
        if self.durable { Durability::Process } else { Durability::Lazy }
    }

    fn apply(&self, transaction: &mut Transaction) -> Claimed {
        let id = self.unknown.job.id;
        self.make(transaction);
        // With a limit it was made right before.
        let created = transaction.created.contains(&id);
        let Some(entry) = transaction.get(id) else { return Claimed::NotFound };
        if self.is_cancelled_above(transaction, &entry.job) {
            // Nobody is there to send what this owes.
            let actor = Actor { hold: false, ..self.actor.clone() };
            Cancel { job: id, mode: CancelMode::Immediate, from_ancestor: true, actor }.apply(transaction);
            return Claimed::Stale;
        }
        let Some(entry) = transaction.get_mut(id) else { return Claimed::NotFound };
        let reclaimed = entry.job.state == State::Running;
        if let Some(worker) = entry.job.worker.as_ref().filter(|_| reclaimed && self.may_be_duplicate)
            && entry.job.is_current(self.phase, self.attempt)
            && *worker != self.actor.worker.to_string()
        {
            return Claimed::RunningElsewhere(worker.clone());
        }
        match entry.job.claim(self.phase, self.attempt, &self.actor.worker.to_string(), self.actor.now) {
            job::JobClaim::Granted => {
                entry.dirty = true;
                // A call was lost, not only a delivery: those that come again without having begun count for nothing.
                let lost = (reclaimed && self.durable) || mutant::is_on(Mutant::CountsClaimsAsLosses);
                entry.job.losses += u32::from(lost);
                // Whoever sent this copy of the message may wait elsewhere than whoever sent the first one.
                if let Some(reply) = self.unknown.job.reply.as_ref().filter(|_| entry.job.task == self.unknown.job.task)
                {
                    entry.job.add_reply(reply);
                }
                let job = Box::new(entry.job.clone());
                transaction.notify_started(id);
                Claimed::Granted { job, reclaimed, created }
            }
            job::JobClaim::Ended | job::JobClaim::Stale => Claimed::Stale,
        }
    }
}

/// Fails a job whose message nobody can run: one that is new, or waits for just this message, as one does that was left
/// `running` by a process that died.
///
/// A message that only bears the name of a job does nothing to it: whoever can publish may submit, and no more.
#[derive(Debug, Clone)]
pub struct RejectJob {
    /// The job, as far as its message could be read; it is made if its id is unknown.
    pub unknown: NewJob,
    /// Which function the message asks for, and which attempt; `None` if that could not be read.
    pub requested: Option<(Phase, u32)>,
    /// A process that is known to be dead, as jobs name it.
    pub dead: Option<String>,
    /// Why.
    pub failure: Failure,
    /// Who refuses.
    pub actor: Actor,
}

/// The answer to [`RejectJob`].
#[derive(Debug, Clone, PartialEq)]
pub enum JobRejection {
    /// The job has failed, and this is held by the caller, who must send it.
    Failed(Vec<HeldRow>),
    /// This process runs it: nothing changed, and nothing may as long as it lives.
    RunningElsewhere(String),
    /// The message is not what the job waits for: nothing changed.
    Ignored,
}

impl Operation for RejectJob {
    type Output = JobRejection;

    fn job(&self) -> JobId {
        self.unknown.job.id
    }

    fn with(&self) -> Option<JobId> {
        self.unknown.job.parent
    }

    /// A split that failed and waits for its next attempt has yielded parts.
    fn shards(&self, _books: &Transaction) -> Shards {
        Shards::All(self.unknown.job.id)
    }

    fn apply(&self, transaction: &mut Transaction) -> JobRejection {
        let NewJob { job, input } = &self.unknown;
        let mut to_send = Vec::new();
        if transaction.get(job.id).is_none() {
            transaction.create(job.clone(), input.clone());
            to_send.extend(transaction.emit(job, EventKind::Created, &self.actor));
        }
        let Some(entry) = transaction.get_mut(job.id).filter(|entry| entry.job.task == job.task) else {
            return JobRejection::Ignored;
        };
        let known = &mut entry.job;
        let (phase, attempt) = (known.phase, known.attempt);
        match known.state {
            State::Ready | State::Retrying => {}
            State::Running if self.requested.is_some_and(|add_reply| add_reply != (phase, attempt)) => {
                return JobRejection::Ignored;
            }
            State::Running if self.dead.is_some() && known.worker == self.dead => {}
            State::Running => return JobRejection::RunningElsewhere(known.worker.clone().unwrap_or_default()),
            State::Waiting | State::Succeeded | State::Failed | State::Cancelled => return JobRejection::Ignored,
        }
        let claimed = known.claim(phase, attempt, &self.actor.worker.to_string(), self.actor.now);
        debug_assert_eq!(claimed, job::JobClaim::Granted, "it waits");
        let outcome = AttemptOutcome::Failed { failure: self.failure.clone(), retry_at: None };
        let AttemptEnd::Applied(effects) = known.end_attempt(phase, attempt, outcome, self.actor.now) else {
            return JobRejection::Ignored;
        };
        entry.dirty = true;
        if entry.ledger.head().sealed.is_none() {
            entry.ledger.halt(Halt::Stopped);
        }
        let job = entry.job.clone();
        to_send.extend(transaction.apply_effects(&job, effects, None, &self.actor));
        JobRejection::Failed(to_send)
    }
}

/// Records how the claimed attempt of a job ended, and owes what follows.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The job.
    pub job: JobId,
    /// Which function it ran.
    pub phase: Phase,
    /// Which attempt it was.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What it returned.
    pub output: Option<Bytes>,
    /// Who ran it.
    pub actor: Actor,
}

impl Operation for Settle {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.job
    }

    /// A split that failed halts the parts it has yielded, or forgets them; so does one whose input fits no more.
    fn shards(&self, _books: &Transaction) -> Shards {
        match self.outcome {
            AttemptOutcome::Failed { .. } | AttemptOutcome::Parked { .. } => Shards::All(self.job),
            AttemptOutcome::Succeeded | AttemptOutcome::Interrupted => Shards::None,
        }
    }

    fn apply(&self, transaction: &mut Transaction) -> SettleResult {
        let outcome = self.outcome(transaction);
        let Some(entry) = transaction.get_mut(self.job) else {
            return SettleResult::Stale;
        };
        if outcome == AttemptOutcome::Interrupted && self.runs_elsewhere(&entry.job) {
            return SettleResult::Stale;
        }
        let AttemptEnd::Applied(effects) = entry.job.end_attempt(self.phase, self.attempt, outcome, self.actor.now)
        else {
            return SettleResult::Stale;
        };
        entry.dirty = true;
        // It returned without parts, and an earlier run of it, which was cut short, has left some.
        let forgets =
            self.phase == Phase::Start && self.outcome == AttemptOutcome::Succeeded && entry.ledger.head().epoch > 0;
        if forgets {
            entry.ledger.forget();
        }
        match entry.job.state {
            State::Failed if entry.ledger.head().sealed.is_none() => entry.ledger.halt(Halt::Stopped),
            State::Retrying if self.phase == Phase::Start => entry.ledger.fence(),
            _ => {}
        }
        let job = entry.job.clone();
        if forgets {
            transaction.writes().cleared.push(self.job);
        }
        if let Some(output) = &self.output {
            transaction.writes().outputs.push((self.job, output.clone()));
        }
        SettleResult::Applied(transaction.apply_effects(&job, effects, self.output.as_ref(), &self.actor))
    }
}

impl Settle {
    /// Whether another process has taken the job over meanwhile, as one does that gets a delivery which was lost: it is
    /// not given back by the one that had it.
    fn runs_elsewhere(&self, job: &Job) -> bool {
        let actor = self.actor.worker.to_string();
        let runs_elsewhere = job.state == State::Running && job.worker.as_ref().is_some_and(|worker| *worker != actor);
        runs_elsewhere && !mutant::is_on(Mutant::GivesBackOthers)
    }

    /// How the attempt ended. Below a job that was interrupted no other one begins, so that none is waited for.
    fn outcome(&self, transaction: &Transaction) -> AttemptOutcome {
        let above = transaction.get(self.job).and_then(|entry| transaction.cancelled_above(&entry.job));
        // A join ends what has begun.
        let stopped = above.is_some_and(|(_, mode)| mode == CancelMode::Immediate || self.phase == Phase::Start)
            && !mutant::is_on(Mutant::RetriesInterrupted);
        match &self.outcome {
            AttemptOutcome::Failed { failure, retry_at: Some(_) } if stopped => {
                AttemptOutcome::Failed { failure: failure.clone(), retry_at: None }
            }
            AttemptOutcome::Parked { failure, .. } if stopped => {
                AttemptOutcome::Failed { failure: failure.clone(), retry_at: None }
            }
            outcome => outcome.clone(),
        }
    }
}

/// Notes that a hook of a job was not sent, nor those after it.
#[derive(Debug, Clone)]
pub struct RecordHookFailure {
    /// The job.
    pub job: JobId,
    /// Why, in words.
    pub why: String,
}

impl Operation for RecordHookFailure {
    type Output = ();

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, transaction: &mut Transaction) {
        let Some(entry) = transaction.get_mut(self.job) else { return };
        if let Some(hooks) = &mut entry.job.hooks {
            hooks.failure = Some(self.why.clone());
            entry.dirty = true;
        }
    }
}
