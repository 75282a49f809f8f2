//! Operations on schedules: starting what is due together with the next time, pausing, going on.

use super::books::Books;
use super::jobs::NewJob;
use super::owed::Owed;
use super::{Answer, By, Operation};
use crate::clock::Timestamp;
use crate::id::JobId;

/// The time of a claimed schedule has come.
#[derive(Debug, Clone)]
pub struct Tick {
    /// The schedule.
    pub job: JobId,
    /// Which attempt at it was claimed.
    pub attempt: u32,
    /// What it starts now.
    pub starts: Option<NewJob>,
    /// Its next time; without one it ends.
    pub next: Option<Timestamp>,
    /// Who.
    pub by: By,
}

impl Operation for Tick {
    type Answer = Answer;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, books: &mut Books) -> Answer {
        let Some(entry) = books.current(self.job, self.attempt) else { return Answer::Old };
        let started = self.starts.as_ref().map(|new| new.job.id);
        let effects = entry.job.tick(started, self.next, self.by.now);
        entry.dirty = true;
        let job = entry.job.clone();
        let mut owed = books.carry_out(&job, effects, None, &self.by);
        owed.extend(self.starts.as_ref().and_then(|new| books.submit(new, &self.by)));
        Answer::Counted(owed)
    }
}

/// Lets a schedule start nothing, or go on.
#[derive(Debug, Clone)]
pub struct Pause {
    /// The schedule.
    pub job: JobId,
    /// Its next time; `None` to pause it.
    pub next: Option<Timestamp>,
    /// Who.
    pub by: By,
}

/// The answer to [`Pause`].
#[derive(Debug, Clone, PartialEq)]
pub enum Paused {
    /// It is so now; what is held must be sent.
    Done(Vec<Owed>),
    /// It was so before.
    Already,
    /// There is no such schedule, or not any more.
    Unknown,
}

impl Operation for Pause {
    type Answer = Paused;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, books: &mut Books) -> Paused {
        let Some(entry) = books.get_mut(self.job).filter(|entry| !entry.job.state.is_final()) else {
            return Paused::Unknown;
        };
        let is_paused = entry.job.ticks().is_some_and(|ticks| ticks.paused);
        if is_paused == self.next.is_none() {
            return Paused::Already;
        }
        entry.dirty = true;
        let effects = if let Some(next) = self.next {
            vec![entry.job.unpause(next)]
        } else {
            entry.job.pause();
            Vec::new()
        };
        let job = entry.job.clone();
        Paused::Done(books.carry_out(&job, effects, None, &self.by))
    }
}
