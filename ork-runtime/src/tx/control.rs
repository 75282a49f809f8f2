//! Operations by which people steer jobs: cancel, retry.

use std::sync::Arc;

use super::outbox::{HeldRow, NOT_HELD, OutboxKind};
use super::transaction::Transaction;
use super::tree::FollowPlan;
use super::{Actor, Operation, Shards};
use crate::id::JobId;
use crate::job::{Effect, Phase, State};
use crate::ledger::{Halt, PartResult};
use crate::tree::CancelMode;

/// The answer to [`Cancel`] and [`Retry`].
#[derive(Debug, Clone, PartialEq)]
pub enum ControlResult {
    /// It was done; what is held must be sent.
    Done(Vec<HeldRow>),
    /// The job is in a state in which it cannot be done.
    InvalidState(State),
    /// The job's own work ended well: what is to be retried is below it.
    OnlyBelow,
    /// This job above it was interrupted, so that nothing below that begins.
    AncestorCancelled(JobId),
    /// Its run has begun its task anew, or is about to: as this job.
    Superseded(JobId),
    /// The part is not there, or ended so that there is nothing to retry.
    PartNotRetryable(Option<PartResult>),
    /// Another job has taken its unique key, and has not ended.
    KeyTaken(JobId),
    /// There is no such job.
    NotFound,
}

/// Cancels a job that has not ended: nothing of it, and nothing below it, starts any more.
///
/// The jobs below it are cancelled one by one, with `below`; what is not reached in time finds out when it is claimed.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// The job.
    pub job: JobId,
    /// Whether what runs is stopped, too.
    pub mode: CancelMode,
    /// Whether it is cancelled because of a job above it: then what has begun keeps its own end, if it is not stopped.
    pub from_ancestor: bool,
    /// Who cancels.
    pub actor: Actor,
}

impl Cancel {
    /// Cancels this job and stops what runs of it.
    pub const fn new(job: JobId, actor: Actor) -> Self {
        Self { job, mode: CancelMode::Immediate, from_ancestor: false, actor }
    }
}

impl Operation for Cancel {
    type Output = ControlResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _books: &Transaction) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, transaction: &mut Transaction) -> ControlResult {
        let Some(entry) = transaction.get_mut(self.job) else {
            return ControlResult::NotFound;
        };
        let job = &mut entry.job;
        if job.state.is_final() {
            return ControlResult::InvalidState(job.state);
        }
        let begun = match job.state {
            State::Running => true,
            State::Waiting => job.own_work_ended(),
            // The join of a job is not its beginning.
            State::Ready | State::Retrying => job.phase == Phase::Join && self.from_ancestor,
            State::Succeeded | State::Failed | State::Cancelled => false,
        };
        let splits = job.state == State::Running && entry.ledger.head().epoch > 0 && job.phase == Phase::Start;
        let in_parts = splits || (job.state == State::Waiting && !job.own_work_ended());
        let mut to_send = Vec::new();
        if self.mode == CancelMode::Immediate || (!begun && !in_parts) {
            let effects = job.cancel(self.actor.now).unwrap_or_default();
            entry.dirty = true;
            entry.ledger.halt(Halt::Cancelled);
            let job = entry.job.clone();
            to_send = transaction.apply_effects(&job, effects, None, &self.actor);
        } else if in_parts {
            job.request_cancel(self.mode);
            entry.dirty = true;
            entry.ledger.halt(Halt::Stopped);
            to_send = transaction.finish_parts(self.job, &self.actor);
        } else if !self.from_ancestor {
            job.request_cancel(self.mode);
            entry.dirty = true;
        }
        ControlResult::Done(to_send)
    }
}

/// Takes up a job that failed or was cancelled: exactly the parts that are not `ok`, then its join.
///
/// A split that was cut short runs again from its start; a job without parts runs again; a job whose own work ended well
/// stays as it is until a job below it is taken up.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The job.
    pub job: JobId,
    /// Only this part of it, then its join; the others stay as they are.
    pub part: Option<u64>,
    /// The unique key that it took when it was submitted: it takes it again.
    pub unique: Option<Arc<str>>,
    /// The jobs that it waited for when it was cancelled before it began: it waits again for those that have not ended.
    pub after: Vec<JobId>,
    /// Who asks for it.
    pub actor: Actor,
}

impl Retry {
    /// Takes up whatever did not end well.
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

    fn shards(&self, _books: &Transaction) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, transaction: &mut Transaction) -> ControlResult {
        let Some(entry) = transaction.get(self.job) else {
            return ControlResult::NotFound;
        };
        let job = &entry.job;
        if !matches!(job.state, State::Failed | State::Cancelled) {
            return ControlResult::InvalidState(job.state);
        }
        if let Some((above, _)) = transaction.cancelled_above(job) {
            return ControlResult::AncestorCancelled(above);
        }
        if let Some(counts) = transaction.superseded_by(job) {
            return ControlResult::Superseded(counts);
        }
        if let Some(active_holder) = transaction.reacquire_key(self.unique.as_ref(), self.job, self.actor.now) {
            return ControlResult::KeyTaken(active_holder);
        }
        let Some(entry) = transaction.get(self.job) else {
            return ControlResult::NotFound;
        };
        if entry.job.tree.verdict == Some(State::Succeeded) {
            if let Some(entry) = transaction.get_mut(self.job) {
                entry.dirty = true;
                entry.job.tree.cancel_mode = None;
                entry.job.reevaluate();
            }
            return ControlResult::OnlyBelow;
        }
        if let Some(index) = self.part {
            return self.part(transaction, index);
        }
        ControlResult::Done(resume_job(transaction, self.job, &self.after, &self.actor))
    }
}

impl Retry {
    fn part(&self, transaction: &mut Transaction, index: u64) -> ControlResult {
        let Some(entry) = transaction.get_mut(self.job) else {
            return ControlResult::NotFound;
        };
        let head = *entry.ledger.head();
        let stays = entry.ledger.outcome(index);
        // Of a split that was cut short nobody knows whether it would make this part again.
        if head.sealed.is_none() || head.cut || !entry.ledger.reopen_part(index) {
            return ControlResult::PartNotRetryable(stays);
        }
        entry.dirty = true;
        let epoch = entry.ledger.head().epoch;
        let effects = entry.job.resume(Phase::Join, true);
        let job = entry.job.clone();
        let mut to_send = transaction.apply_effects(&job, effects, None, &self.actor);
        let kind = OutboxKind::Parts { epoch, first: index, len: 1 };
        to_send.extend(transaction.enqueue(&job, (kind, 1, None), &self.actor, NOT_HELD));
        ControlResult::Done(to_send)
    }
}

/// Takes up a job whose own work did not end well. If it starts from the beginning it waits for the ends of these jobs.
pub(super) fn resume_job(transaction: &mut Transaction, id: JobId, after: &[JobId], actor: &Actor) -> Vec<HeldRow> {
    let Some(head) = transaction.get(id).map(|entry| *entry.ledger.head()) else {
        return Vec::new();
    };
    let whole = head.sealed.is_some() && !head.cut;
    let waits_for = match transaction.follow(id, if whole { &[] } else { after }) {
        FollowPlan::Later(limit) => Some(limit),
        // A job that does not exist any more has ended.
        FollowPlan::Now | FollowPlan::Never(_) => None,
    };
    let Some(entry) = transaction.get_mut(id) else {
        return Vec::new();
    };
    entry.dirty = true;
    let ranges = if whole {
        entry.ledger.reopen()
    } else {
        entry.ledger.fence();
        Vec::new()
    };
    let epoch = entry.ledger.head().epoch;
    let phase = if whole { Phase::Join } else { Phase::Start };
    let mut effects = entry.job.resume(phase, whole && (!ranges.is_empty() || !head.joined));
    let job = entry.job.clone();
    if let Some(limit) = waits_for {
        effects.retain(|effect| !matches!(effect, Effect::Dispatch { .. }));
        transaction.enqueue_waiting(&job, (OutboxKind::Start, job.attempt, 0), &limit);
    }
    let mut to_send = transaction.apply_effects(&job, effects, None, actor);
    for range in ranges {
        let kind = OutboxKind::Parts { epoch, first: range.start, len: range.end - range.start };
        to_send.extend(transaction.enqueue(&job, (kind, 1, None), actor, NOT_HELD));
    }
    to_send.extend(transaction.finish_parts(id, actor));
    to_send
}
