//! Operations by which people steer jobs: cancel, retry.

use std::sync::Arc;

use super::books::Books;
use super::owed::{NOT_HELD, Owed, OwedAsk};
use super::tree::Follow;
use super::{By, Operation, Shards};
use crate::id::JobId;
use crate::job::{Effect, Phase, State};
use crate::ledger::{Halt, Settled};
use crate::tree::Stop;

/// The answer to [`Cancel`] and [`Retry`].
#[derive(Debug, Clone, PartialEq)]
pub enum Steered {
    /// It was done; what is held must be sent.
    Done(Vec<Owed>),
    /// The job is in a state in which it cannot be done.
    Refused(State),
    /// The job's own work ended well: what is to be retried is below it.
    Below,
    /// This job above it was interrupted, so that nothing below that begins.
    Interrupted(JobId),
    /// Its run has begun its task anew, or is about to: as this job.
    Replaced(JobId),
    /// The part is not there, or ended so that there is nothing to retry.
    PartStays(Option<Settled>),
    /// Another job has taken its unique key, and has not ended.
    Taken(JobId),
    /// There is no such job.
    Unknown,
}

/// Cancels a job that has not ended: nothing of it, and nothing below it, starts any more.
///
/// The jobs below it are cancelled one by one, with `below`; what is not reached in time finds out when it is claimed.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// The job.
    pub job: JobId,
    /// Whether what runs is stopped, too.
    pub stop: Stop,
    /// Whether it is cancelled because of a job above it: then what has begun keeps its own end, if it is not stopped.
    pub below: bool,
    /// Who cancels.
    pub by: By,
}

impl Cancel {
    /// Cancels this job and stops what runs of it.
    pub const fn new(job: JobId, by: By) -> Self {
        Self { job, stop: Stop::All, below: false, by }
    }
}

impl Operation for Cancel {
    type Answer = Steered;

    fn job(&self) -> JobId {
        self.job
    }

    fn shards(&self, _books: &Books) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, books: &mut Books) -> Steered {
        let Some(entry) = books.get_mut(self.job) else {
            return Steered::Unknown;
        };
        let job = &mut entry.job;
        if job.state.is_final() {
            return Steered::Refused(job.state);
        }
        let begun = match job.state {
            State::Running => true,
            State::Waiting => job.is_over(),
            // The join of a job is not its beginning.
            State::Ready | State::Retrying => job.phase == Phase::Join && self.below,
            State::Success | State::Failed | State::Cancelled => false,
        };
        let splits = job.state == State::Running && entry.ledger.head().epoch > 0 && job.phase == Phase::Start;
        let in_parts = splits || (job.state == State::Waiting && !job.is_over());
        let mut owed = Vec::new();
        if self.stop == Stop::All || (!begun && !in_parts) {
            let effects = job.cancel(self.by.now).unwrap_or_default();
            entry.dirty = true;
            entry.ledger.halt(Halt::Cancelled);
            let job = entry.job.clone();
            owed = books.carry_out(&job, effects, None, &self.by);
        } else if in_parts {
            job.interrupt(self.stop);
            entry.dirty = true;
            entry.ledger.halt(Halt::Stopped);
            owed = books.complete(self.job, &self.by);
        } else if !self.below {
            job.interrupt(self.stop);
            entry.dirty = true;
        }
        Steered::Done(owed)
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
    pub by: By,
}

impl Retry {
    /// Takes up whatever did not end well.
    pub const fn new(job: JobId, by: By) -> Self {
        Self { job, part: None, unique: None, after: Vec::new(), by }
    }
}

impl Operation for Retry {
    type Answer = Steered;

    fn job(&self) -> JobId {
        self.job
    }

    fn unique(&self) -> Option<&Arc<str>> {
        self.unique.as_ref()
    }

    fn follows(&self) -> &[JobId] {
        &self.after
    }

    fn shards(&self, _books: &Books) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, books: &mut Books) -> Steered {
        let Some(entry) = books.get(self.job) else {
            return Steered::Unknown;
        };
        let job = &entry.job;
        if !matches!(job.state, State::Failed | State::Cancelled) {
            return Steered::Refused(job.state);
        }
        if let Some((above, _)) = books.interrupted_above(job) {
            return Steered::Interrupted(above);
        }
        if let Some(counts) = books.replaced(job) {
            return Steered::Replaced(counts);
        }
        if let Some(keeper) = books.take_again(self.unique.as_ref(), self.job, self.by.now) {
            return Steered::Taken(keeper);
        }
        let Some(entry) = books.get(self.job) else {
            return Steered::Unknown;
        };
        if entry.job.tree.verdict == Some(State::Success) {
            if let Some(entry) = books.get_mut(self.job) {
                entry.dirty = true;
                entry.job.tree.interrupted = None;
                entry.job.judge_again();
            }
            return Steered::Below;
        }
        if let Some(index) = self.part {
            return self.part(books, index);
        }
        Steered::Done(take_up(books, self.job, &self.after, &self.by))
    }
}

impl Retry {
    fn part(&self, books: &mut Books, index: u64) -> Steered {
        let Some(entry) = books.get_mut(self.job) else {
            return Steered::Unknown;
        };
        let head = *entry.ledger.head();
        let stays = entry.ledger.outcome(index);
        // Of a split that was cut short nobody knows whether it would make this part again.
        if head.sealed.is_none() || head.cut || !entry.ledger.reopen_one(index) {
            return Steered::PartStays(stays);
        }
        entry.dirty = true;
        let epoch = entry.ledger.head().epoch;
        let effects = entry.job.resume(Phase::Join, true);
        let job = entry.job.clone();
        let mut owed = books.carry_out(&job, effects, None, &self.by);
        let ask = OwedAsk::Parts { epoch, first: index, len: 1 };
        owed.extend(books.owe(&job, (ask, 1, None), &self.by, NOT_HELD));
        Steered::Done(owed)
    }
}

/// Takes up a job whose own work did not end well. If it starts from the beginning it waits for the ends of these jobs.
pub(super) fn take_up(books: &mut Books, id: JobId, after: &[JobId], by: &By) -> Vec<Owed> {
    let Some(head) = books.get(id).map(|entry| *entry.ledger.head()) else {
        return Vec::new();
    };
    let whole = head.sealed.is_some() && !head.cut;
    let waits = match books.follow(id, if whole { &[] } else { after }) {
        Follow::Later(limit) => Some(limit),
        // A job that does not exist any more has ended.
        Follow::Now | Follow::Never(_) => None,
    };
    let Some(entry) = books.get_mut(id) else {
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
    if let Some(limit) = waits {
        effects.retain(|effect| !matches!(effect, Effect::Dispatch { .. }));
        books.wait(&job, (OwedAsk::Start, job.attempt, 0), &limit);
    }
    let mut owed = books.carry_out(&job, effects, None, by);
    for range in ranges {
        let ask = OwedAsk::Parts { epoch, first: range.start, len: range.end - range.start };
        owed.extend(books.owe(&job, (ask, 1, None), by, NOT_HELD));
    }
    owed.extend(books.complete(id, by));
    owed
}
