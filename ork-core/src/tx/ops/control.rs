//! Cancels and retries jobs on request.

use std::sync::Arc;

use super::super::follow::FollowPlan;
use super::super::operation::Operation;
use super::super::outbox::{NOT_HELD, NewRow, OutboxKind};
use super::super::transaction::Transaction;
use super::super::types::{Actor, Shards};
use crate::id::JobId;
use crate::job::tree::CancelMode;
use crate::job::{Effect, Phase, State};
use crate::ledger::{Halt, PartResult};
use crate::mutant::{self, Mutant};

/// The output of [`Cancel`] and [`Retry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlResult {
    /// The operation was applied.
    Done,
    /// The operation is impossible in this state of the job.
    InvalidState(State),
    /// The own work of the job has succeeded, so only jobs below it can be retried.
    OnlyBelow,
    /// This ancestor was cancelled, so no job below it starts.
    AncestorCancelled(JobId),
    /// The workflow run has restarted the step of this job as this other job, or is about to.
    Superseded(JobId),
    /// The part does not exist, or it has no result that can be retried.
    PartNotRetryable(Option<PartResult>),
    /// Another open job holds the unique key.
    KeyTaken(JobId),
    /// The job does not exist.
    NotFound,
}

/// Cancels an open job: no further call of the job, or of a job below it, starts.
///
/// The caller then cancels the jobs below it one by one, with `from_ancestor`. A job that it does not reach in time is
/// cancelled when it is claimed.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// The job.
    pub job: JobId,
    /// Whether running calls finish or are stopped.
    pub mode: CancelMode,
    /// Whether the job is cancelled because an ancestor was. If so, a job that has started may finish, unless the
    /// mode is [`CancelMode::Immediate`].
    pub from_ancestor: bool,
    /// The process that requests it.
    pub actor: Actor,
}

impl Cancel {
    /// Cancels a job and stops its running calls.
    pub const fn new(job: JobId, actor: Actor) -> Self {
        Self { job, mode: CancelMode::Immediate, from_ancestor: false, actor }
    }
}

impl Operation for Cancel {
    type Output = ControlResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _tx: &Transaction) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, tx: &mut Transaction) -> ControlResult {
        let Some(loaded) = tx.get_mut(self.job) else {
            return ControlResult::NotFound;
        };
        let job = &mut loaded.job;
        if job.state.is_final() {
            return ControlResult::InvalidState(job.state);
        }
        let has_started = match job.state {
            State::Running => true,
            State::Waiting => job.own_work_ended(),
            // A job that waits for its join has started before.
            State::Ready | State::Retrying => job.phase == Phase::Join && self.from_ancestor,
            State::Succeeded | State::Failed | State::Cancelled => false,
        };
        let is_splitting = job.state == State::Running && loaded.ledger.head().epoch > 0 && job.phase == Phase::Start;
        let is_in_parts = is_splitting || (job.state == State::Waiting && !job.own_work_ended());
        if self.mode == CancelMode::Immediate || (!has_started && !is_in_parts) {
            let effects = job.cancel(self.actor.now).unwrap_or_default();
            loaded.dirty = true;
            loaded.ledger.halt(Halt::Cancelled);
            let job = Arc::new(loaded.job.clone());
            tx.apply_effects(&job, effects, None, &self.actor);
        } else if is_in_parts {
            job.request_cancel(self.mode);
            loaded.dirty = true;
            loaded.ledger.halt(Halt::Stopped);
            tx.finish_parts(self.job, &self.actor);
        } else if !self.from_ancestor {
            job.request_cancel(self.mode);
            loaded.dirty = true;
        }
        ControlResult::Done
    }
}

/// Resumes a job that has failed or was cancelled: the parts that have not succeeded run again, then its join.
///
/// A split that was cut short runs again from its start, and so does a job without parts. If the own work of the job
/// has succeeded, the job changes only when a job below it is retried.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The job.
    pub job: JobId,
    /// Retries only this part, and then the join; other parts do not change. `None` retries the whole job.
    pub part: Option<u64>,
    /// The unique key that the job acquired when it was submitted, and must acquire again.
    pub unique: Option<Arc<str>>,
    /// The jobs that it followed, if it was cancelled before it started. It waits again for those that are open.
    pub after: Vec<JobId>,
    /// The process that requests it.
    pub actor: Actor,
}

impl Retry {
    /// Resumes all parts that have not succeeded, or the job itself.
    pub const fn new(job: JobId, actor: Actor) -> Self {
        Self { job, part: None, unique: None, after: Vec::new(), actor }
    }
}

impl Operation for Retry {
    type Output = ControlResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn unique(&self) -> Option<&Arc<str>> {
        self.unique.as_ref()
    }

    fn follows(&self) -> &[JobId] {
        &self.after
    }

    fn shards(&self, _tx: &Transaction) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, tx: &mut Transaction) -> ControlResult {
        let Some(loaded) = tx.get(self.job) else {
            return ControlResult::NotFound;
        };
        let job = &loaded.job;
        if !matches!(job.state, State::Failed | State::Cancelled) {
            return ControlResult::InvalidState(job.state);
        }
        if let Some((above, _)) = tx.cancelled_above(job) {
            return ControlResult::AncestorCancelled(above);
        }
        if let Some(counts) = tx.superseded_by(job) {
            return ControlResult::Superseded(counts);
        }
        let own_work_succeeded = job.tree.verdict == Some(State::Succeeded);
        if let Some(holder) = tx.reacquire_key(self.unique.as_ref(), self.job, self.actor.now) {
            return ControlResult::KeyTaken(holder);
        }
        if own_work_succeeded {
            if let Some(loaded) = tx.get_mut(self.job) {
                loaded.dirty = true;
                loaded.job.tree.cancel_mode = None;
                loaded.job.reevaluate();
            }
            return ControlResult::OnlyBelow;
        }
        if let Some(index) = self.part.filter(|_| !mutant::is_on(Mutant::RetriesAllParts)) {
            return self.retry_part(tx, index);
        }
        resume(tx, self.job, &self.after, &self.actor);
        ControlResult::Done
    }
}

impl Retry {
    fn retry_part(&self, tx: &mut Transaction, index: u64) -> ControlResult {
        let Some(loaded) = tx.get_mut(self.job) else {
            return ControlResult::NotFound;
        };
        let head = *loaded.ledger.head();
        let result = loaded.ledger.outcome(index);
        // A split that was cut short might not yield this part again.
        if head.sealed.is_none() || head.cut || !loaded.ledger.reopen_part(index) {
            return ControlResult::PartNotRetryable(result);
        }
        loaded.dirty = true;
        let epoch = loaded.ledger.head().epoch;
        let effects = loaded.job.resume(Phase::Join, true);
        let job = Arc::new(loaded.job.clone());
        tx.apply_effects(&job, effects, None, &self.actor);
        tx.enqueue(&job, NewRow::part(epoch, index, 1), &self.actor, NOT_HELD);
        ControlResult::Done
    }
}

/// Resumes a job that has not succeeded in its own work. If it starts from the beginning, it first waits for the ends
/// of the jobs in `after`.
pub(super) fn resume(tx: &mut Transaction, id: JobId, after: &[JobId], actor: &Actor) {
    let Some(head) = tx.get(id).map(|loaded| *loaded.ledger.head()) else { return };
    let has_all_parts = head.sealed.is_some() && !head.cut;
    let waits_for = match tx.follow(id, if has_all_parts { &[] } else { after }) {
        FollowPlan::Later(limit) => Some(limit),
        // A job that was removed has ended.
        FollowPlan::Now | FollowPlan::Never(_) => None,
    };
    let Some(loaded) = tx.get_mut(id) else { return };
    loaded.dirty = true;
    let ranges = if has_all_parts {
        loaded.ledger.reopen()
    } else {
        loaded.ledger.fence();
        Vec::new()
    };
    let epoch = loaded.ledger.head().epoch;
    let phase = if has_all_parts { Phase::Join } else { Phase::Start };
    let mut effects = loaded.job.resume(phase, has_all_parts && (!ranges.is_empty() || !head.has_join));
    let job = Arc::new(loaded.job.clone());
    if let Some(limit) = waits_for {
        effects.retain(|effect| !matches!(effect, Effect::Dispatch { .. }));
        tx.enqueue_waiting(&job, NewRow::new(OutboxKind::Start, job.attempt), 0, &limit);
    }
    tx.apply_effects(&job, effects, None, actor);
    for range in ranges {
        let kind = OutboxKind::Parts { epoch, first: range.start, len: range.end - range.start, waited: false };
        tx.enqueue(&job, NewRow::new(kind, 1), actor, NOT_HELD);
    }
    tx.finish_parts(id, actor);
}
