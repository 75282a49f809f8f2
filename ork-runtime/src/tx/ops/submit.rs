//! Submitting a job.

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
    /// The job; its state is `ready`.
    pub job: Job,
    /// The JSON of its input.
    pub input: Bytes,
}

/// Creates a job and enqueues its first message. A job with a known id stays as it is.
#[derive(Debug, Clone)]
pub struct Submit {
    /// The job.
    pub new: NewJob,
    /// The jobs that it follows: it starts when all of them have ended.
    pub after: Vec<JobId>,
    /// The key that it acquires, unless another job holds it.
    pub unique: Option<UniqueKey>,
    /// The process that submits it.
    pub actor: Actor,
}

impl Submit {
    /// Submits a job that starts at once and has no unique key.
    pub const fn new(new: NewJob, actor: Actor) -> Self {
        Self { new, after: Vec::new(), unique: None, actor }
    }
}

/// The output of [`Submit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The job is new.
    Created,
    /// A job with this id exists.
    Exists,
    /// A child with this id exists, had failed or was cancelled, and is resumed.
    Resumed,
    /// The parent takes no further children.
    ChildRefused(ChildError),
    /// There is no job with this id, which the new job was to follow.
    NoJobToFollow(JobId),
    /// This open job holds the key.
    KeyTaken(JobId),
    /// This open job holds the key, and its last sign of life is older than the key allows.
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

    /// A child that is resumed may have parts.
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
    /// A job with this id exists. A parent that runs again submits its children again: those that have failed or were
    /// cancelled are resumed.
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
