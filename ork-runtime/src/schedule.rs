//! Schedules: jobs that never end, and start others by the clock. Pure.
//!
//! The next time of a schedule is the next attempt at its job, so that whichever process is alive takes it, once: what it
//! starts is made in the transaction that settles the attempt.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::{Effect, Job, Phase, State};
use crate::role::JobRole;

/// Where a schedule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScheduleState {
    /// The time it waits for; `None` before the first one is known, and while it is paused.
    pub next: Option<Timestamp>,
    /// The job that it started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<JobId>,
    /// Whether it starts nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

impl Job {
    /// Where it is, if it is a schedule that has begun.
    pub fn schedule_state(&self) -> Option<&ScheduleState> {
        match self.role.as_deref()? {
            JobRole::Schedule(ticks) => Some(ticks),
            JobRole::Workflow(_) | JobRole::Step { .. } | JobRole::Untrusted => None,
        }
    }

    /// The time of a claimed schedule has come: it has started this, and waits for the next one. Without a next one it ends.
    pub(crate) fn fire(&mut self, started: Option<JobId>, next: Option<Timestamp>, now: Timestamp) -> Vec<Effect> {
        let last = started.or_else(|| self.schedule_state()?.last);
        self.role = Some(Box::new(JobRole::Schedule(ScheduleState { next, last, paused: false })));
        self.failure = None;
        match next {
            None => self.finish(State::Succeeded, now),
            Some(next) => vec![self.schedule_attempt(next)],
        }
    }

    /// Lets a schedule start nothing until it is resumed.
    pub(crate) fn pause_schedule(&mut self) {
        let last = self.schedule_state().and_then(|ticks| ticks.last);
        self.role = Some(Box::new(JobRole::Schedule(ScheduleState { next: None, last, paused: true })));
        // The message of the time that it has waited for is of an older attempt then.
        self.attempt += 1;
        (self.state, self.due) = (State::Waiting, None);
    }

    /// Lets a paused schedule go on at this time.
    pub(crate) fn resume_schedule(&mut self, next: Timestamp) -> Effect {
        let last = self.schedule_state().and_then(|ticks| ticks.last);
        self.role = Some(Box::new(JobRole::Schedule(ScheduleState { next: Some(next), last, paused: false })));
        self.schedule_attempt(next)
    }

    fn schedule_attempt(&mut self, next: Timestamp) -> Effect {
        self.attempt += 1;
        (self.state, self.due) = (State::Retrying, Some(next));
        Effect::Dispatch { phase: Phase::Start, attempt: self.attempt, due: Some(next) }
    }
}
