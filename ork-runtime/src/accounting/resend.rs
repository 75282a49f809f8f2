//! `Resend`: sends again what a job waits for, because the broker has lost it.

use super::books::Books;
use super::owed::{NOT_HELD, Owed, OwedAsk};
use super::{By, Operation, Shards};
use crate::id::JobId;
use crate::job::State;

/// Sends again what a job waits for: its own message, or those of its parts that have not ended.
///
/// That the messages are gone, and that no process works on them, is for the caller to know. A message of the job itself
/// gets a new attempt, so that the one before changes nothing if it turns up. A part is sent again as it is: should it
/// run twice, one end counts.
#[derive(Debug, Clone)]
pub struct Resend {
    /// The job.
    pub job: JobId,
    /// The attempt that it was seen to wait at: another process may have sent it again in the meantime.
    pub attempt: u32,
    /// Who.
    pub by: By,
}

impl Operation for Resend {
    /// What is held and must be sent; `None` if the job does not wait at this attempt any more.
    type Answer = Option<Vec<Owed>>;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _books: &Books) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, books: &mut Books) -> Option<Vec<Owed>> {
        let entry = books.get_mut(self.job).filter(|entry| entry.job.attempt == self.attempt)?;
        let waits_for_parts = entry.job.state == State::Waiting && !entry.job.is_over();
        if entry.job.state.is_final() || (entry.job.state == State::Waiting && !waits_for_parts) {
            return None;
        }
        let epoch = entry.ledger.head().epoch;
        let runs = if waits_for_parts { entry.ledger.open_runs() } else { Vec::new() };
        let effects = entry.job.send_again();
        entry.dirty = true;
        let job = entry.job.clone();
        let mut owed = books.carry_out(&job, effects, None, &self.by);
        for run in runs {
            let ask = OwedAsk::Parts { epoch, first: run.first, len: run.len };
            owed.extend(books.owe(&job, (ask, run.attempt, None), &self.by, NOT_HELD));
        }
        Some(owed)
    }
}
