//! Submits jobs.

use std::sync::Arc;

use bytes::Bytes;

use super::super::follow::FollowPlan;
use super::super::operation::Operation;
use super::super::outbox::{NewRow, OutboxKind};
use super::super::transaction::Transaction;
use super::super::tree::ChildError;
use super::super::types::{Actor, Shards};
use super::control;
use crate::event::EventKind;
use crate::id::JobId;
use crate::job::{Job, State, UniqueKey};

/// A job to be created, with its input.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// The job, in state `ready`.
    pub job: Job,
    /// Its input, as JSON.
    pub input: Bytes,
}

/// Creates a job and enqueues its first message. If a job with this id exists, it does not change, except that a child
/// which has failed or was cancelled is resumed.
#[derive(Debug, Clone)]
pub struct Submit {
    /// The job.
    pub new: NewJob,
    /// The jobs that the new job follows: it starts when all of them have ended.
    pub after: Vec<JobId>,
    /// The unique key that the job acquires. If another job holds the key, the job is not created.
    pub unique: Option<UniqueKey>,
    /// The process that submits it.
    pub actor: Actor,
}

impl Submit {
    /// Creates the operation for a job that starts at once and has no unique key.
    pub const fn new(new: NewJob, actor: Actor) -> Self {
        Self { new, after: Vec::new(), unique: None, actor }
    }
}

/// The output of [`Submit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The job was created.
    Created,
    /// A job with this id exists.
    Exists,
    /// A child with this id had failed or was cancelled, and was resumed.
    Resumed,
    /// The parent accepts no further children.
    ChildRefused(ChildError),
    /// The new job was to follow a job with this id, which does not exist.
    NoJobToFollow(JobId),
    /// This open job holds the key.
    KeyTaken(JobId),
    /// This open job holds the key, but was last known to be alive longer ago than the key allows.
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

    /// Loads all shards of an existing child, because it may be resumed and have parts.
    fn shards(&self, tx: &Transaction) -> Shards {
        let exists = self.new.job.parent.is_some() && tx.get(self.new.job.id).is_some();
        if exists { Shards::All(self.new.job.id) } else { Shards::None }
    }

    fn apply(&self, tx: &mut Transaction) -> Submitted {
        let NewJob { job, input } = &self.new;
        if let Some(parent) = job.parent
            && let Err(error) = tx.check_accepts_child(parent)
        {
            return Submitted::ChildRefused(error);
        }
        if let Some(known) = tx.get(job.id).map(|loaded| &loaded.job) {
            return self.resume(known.parent, known.state, tx);
        }
        if let Some(holder) = self.unique.as_ref().and_then(|unique| tx.active_holder(unique, self.actor.now)) {
            return if holder.stale { Submitted::KeyHolderStale(holder.job) } else { Submitted::KeyTaken(holder.job) };
        }
        let waits_for = match tx.follow(job.id, &self.after) {
            FollowPlan::Now => None,
            FollowPlan::Later(limit) => Some(limit),
            FollowPlan::Never(unknown) => return Submitted::NoJobToFollow(unknown),
        };
        let mut job = job.clone();
        if let Some(unique) = &self.unique {
            tx.assign_key(&unique.key, job.id, self.actor.now);
            job.unique_key = Some(Arc::clone(&unique.key));
        }
        let Some(limit) = waits_for else {
            tx.submit(&NewJob { job, input: input.clone() }, &self.actor);
            return Submitted::Created;
        };
        tx.create(job.clone(), input.clone());
        tx.enqueue_waiting(&job, NewRow::new(OutboxKind::Start, job.attempt), 0, &limit);
        tx.emit(&job, EventKind::Created, &self.actor);
        Submitted::Created
    }
}

impl Submit {
    /// Handles a job that exists already. A parent that runs again submits its children again, and those that have
    /// failed or were cancelled are resumed.
    fn resume(&self, known_parent: Option<JobId>, state: State, tx: &mut Transaction) -> Submitted {
        let job = &self.new.job;
        let is_child_again = job.parent.is_some() && known_parent == job.parent;
        if !is_child_again || !matches!(state, State::Failed | State::Cancelled) {
            return Submitted::Exists;
        }
        let key = self.unique.as_ref().map(|unique| &unique.key);
        if let Some(holder) = tx.reacquire_key(key, job.id, self.actor.now) {
            return Submitted::KeyTaken(holder);
        }
        control::resume(tx, job.id, &self.after, &self.actor);
        Submitted::Resumed
    }
}
