//! Operations on schedules: fire (start the due job and set the next time), pause, and resume.

use std::sync::Arc;

use super::super::operation::Operation;
use super::super::transaction::Transaction;
use super::super::types::{Actor, SettleResult};
use super::NewJob;
use crate::clock::Timestamp;
use crate::id::JobId;

/// Fires a claimed schedule that is due: starts its job and sets its next time, or ends it.
#[derive(Debug, Clone)]
pub struct FireSchedule {
    /// The job of the schedule.
    pub job: JobId,
    /// The attempt that was claimed.
    pub attempt: u32,
    /// The job that the schedule starts now, if any.
    pub starts: Option<NewJob>,
    /// The next time at which the schedule fires. `None` ends the schedule.
    pub next: Option<Timestamp>,
    /// The process that fires it.
    pub actor: Actor,
}

impl Operation for FireSchedule {
    type Output = SettleResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, tx: &mut Transaction) -> SettleResult {
        let Some(loaded) = tx.current(self.job, self.attempt) else { return SettleResult::Stale };
        let started = self.starts.as_ref().map(|new| new.job.id);
        let effects = loaded.job.fire(started, self.next, self.actor.now);
        loaded.dirty = true;
        let job = Arc::new(loaded.job.clone());
        tx.apply_effects(&job, effects, None, &self.actor);
        if let Some(new) = &self.starts {
            tx.submit(new, &self.actor);
        }
        SettleResult::Applied
    }
}

/// Pauses a schedule, or resumes it.
#[derive(Debug, Clone)]
pub struct PauseSchedule {
    /// The job of the schedule.
    pub job: JobId,
    /// The next time at which a resumed schedule fires. `None` pauses the schedule.
    pub next: Option<Timestamp>,
    /// The process that requests it.
    pub actor: Actor,
}

/// The output of [`PauseSchedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseResult {
    /// The schedule was paused or resumed.
    Done,
    /// The schedule was in that state already.
    Already,
    /// The schedule does not exist, or has ended.
    NotFound,
}

impl Operation for PauseSchedule {
    type Output = PauseResult;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, tx: &mut Transaction) -> PauseResult {
        let Some(loaded) = tx.get_mut(self.job).filter(|loaded| !loaded.job.state.is_final()) else {
            return PauseResult::NotFound;
        };
        let is_paused = loaded.job.schedule_state().is_some_and(|state| state.paused);
        if is_paused == self.next.is_none() {
            return PauseResult::Already;
        }
        loaded.dirty = true;
        let effects = if let Some(next) = self.next {
            vec![loaded.job.resume_schedule(next)]
        } else {
            loaded.job.pause_schedule();
            Vec::new()
        };
        let job = Arc::new(loaded.job.clone());
        tx.apply_effects(&job, effects, None, &self.actor);
        PauseResult::Done
    }
}
