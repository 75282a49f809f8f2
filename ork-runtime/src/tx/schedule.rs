//! Operations on schedules: starting what is due together with the next time, pausing, going on.

use super::jobs::NewJob;
use super::outbox::HeldRow;
use super::transaction::Transaction;
use super::{Actor, Operation, SettleResult};
use crate::clock::Timestamp;
use crate::id::JobId;

/// The time of a claimed schedule has come.
#[derive(Debug, Clone)]
pub struct FireSchedule {
    /// The schedule.
    pub job: JobId,
    /// Which attempt at it was claimed.
    pub attempt: u32,
    /// What it starts now.
    pub starts: Option<NewJob>,
    /// Its next time; without one it ends.
    pub next: Option<Timestamp>,
    /// Who.
    pub actor: Actor,
}

impl Operation for FireSchedule {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, transaction: &mut Transaction) -> SettleResult {
        let Some(entry) = transaction.current(self.job, self.attempt) else { return SettleResult::Stale };
        let started = self.starts.as_ref().map(|new| new.job.id);
        let effects = entry.job.fire(started, self.next, self.actor.now);
        entry.dirty = true;
        let job = entry.job.clone();
        let mut to_send = transaction.apply_effects(&job, effects, None, &self.actor);
        to_send.extend(self.starts.as_ref().and_then(|new| transaction.submit(new, &self.actor)));
        SettleResult::Applied(to_send)
    }
}

/// Lets a schedule start nothing, or go on.
#[derive(Debug, Clone)]
pub struct PauseSchedule {
    /// The schedule.
    pub job: JobId,
    /// Its next time; `None` to pause it.
    pub next: Option<Timestamp>,
    /// Who.
    pub actor: Actor,
}

/// The answer to [`PauseSchedule`].
#[derive(Debug, Clone, PartialEq)]
pub enum PauseResult {
    /// It is so now; what is held must be sent.
    Done(Vec<HeldRow>),
    /// It was so before.
    Already,
    /// There is no such schedule, or not any more.
    Unknown,
}

impl Operation for PauseSchedule {
    type Output = PauseResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, transaction: &mut Transaction) -> PauseResult {
        let Some(entry) = transaction.get_mut(self.job).filter(|entry| !entry.job.state.is_final()) else {
            return PauseResult::Unknown;
        };
        let is_paused = entry.job.schedule_state().is_some_and(|ticks| ticks.paused);
        if is_paused == self.next.is_none() {
            return PauseResult::Already;
        }
        entry.dirty = true;
        let effects = if let Some(next) = self.next {
            vec![entry.job.resume_schedule(next)]
        } else {
            entry.job.pause_schedule();
            Vec::new()
        };
        let job = entry.job.clone();
        PauseResult::Done(transaction.apply_effects(&job, effects, None, &self.actor))
    }
}
