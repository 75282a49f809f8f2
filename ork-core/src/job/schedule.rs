//! Schedules: jobs that start other jobs at scheduled times. A schedule ends only if it has no next time. Pure code.
//!
//! Each scheduled time is an attempt of the schedule's job. Any live process can take it, but only once: the job that
//! it starts is created in the transaction that settles the attempt.

use super::role::{JobRole, ScheduleState};
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::{Effect, Job, Phase, State};
use crate::mutant::{self, Mutant};

impl Job {
    /// Records that a scheduled time has come, for which job `started` was started, and waits for the next time. The
    /// schedule ends if there is no next time.
    pub fn fire(&mut self, started: Option<JobId>, next: Option<Timestamp>, now: Timestamp) -> Vec<Effect> {
        let last = started.or_else(|| self.schedule_state()?.last);
        self.role = Some(Box::new(JobRole::Schedule(ScheduleState { next, last, paused: false })));
        self.failure = None;
        match next {
            None => self.finish(State::Succeeded, now),
            Some(next) => vec![self.schedule_attempt(next)],
        }
    }

    /// Pauses a schedule: it starts no jobs until it is resumed.
    pub fn pause_schedule(&mut self) {
        let last = self.schedule_state().and_then(|schedule| schedule.last);
        self.role = Some(Box::new(JobRole::Schedule(ScheduleState { next: None, last, paused: true })));
        if mutant::is_on(Mutant::FiresWhilePaused) {
            return;
        }
        // The pending message for the next time belongs to the old attempt and is now stale.
        self.attempt += 1;
        (self.state, self.due) = (State::Waiting, None);
    }

    /// Resumes a paused schedule, with this next time.
    pub fn resume_schedule(&mut self, next: Timestamp) -> Effect {
        let last = self.schedule_state().and_then(|schedule| schedule.last);
        self.role = Some(Box::new(JobRole::Schedule(ScheduleState { next: Some(next), last, paused: false })));
        self.schedule_attempt(next)
    }

    fn schedule_attempt(&mut self, next: Timestamp) -> Effect {
        self.attempt += 1;
        (self.state, self.due) = (State::Retrying, Some(next));
        Effect::Dispatch { phase: Phase::Start, attempt: self.attempt, due: Some(next) }
    }
}
