//! Operations on whole jobs: submit, claim, settle, cancel, retry.

use bytes::Bytes;

use super::books::Books;
use super::owed::{NOT_HELD, Owed, OwedAsk, OwedRow};
use super::{Answer, By, Operation, Promise, Shards};
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{self, Attempt, Ended, Job, Phase, State};
use crate::ledger::Halt;

/// A job to be made, with its input's JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// The job; its state is `ready`.
    pub job: Job,
    /// The input's JSON.
    pub input: Bytes,
}

/// Makes a job and owes its first dispatch. A job whose id is known stays as it is.
#[derive(Debug, Clone)]
pub struct Submit {
    /// The job.
    pub new: NewJob,
    /// Who submits it.
    pub by: By,
}

/// The answer to [`Submit`].
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// It is new; what is held must be sent.
    Created(Option<Owed>),
    /// There was a job of its id.
    Known,
}

impl Operation for Submit {
    type Answer = Submitted;

    fn job(&self) -> JobId {
        self.new.job.id
    }

    fn apply(&self, books: &mut Books) -> Submitted {
        let NewJob { job, input } = &self.new;
        if books.get(job.id).is_some() {
            return Submitted::Known;
        }
        books.create(job.clone(), input.clone());
        let work = |row: &OwedRow| vec![row.work(job, input.clone())];
        Submitted::Created(books.owe(job, (OwedAsk::Start, job.attempt, None), &self.by, Some(work)))
    }
}

/// Claims a dispatch of a job, if it is still owed.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The job of the dispatch; it is made first if its id is unknown, as when another program sent it.
    pub unknown: NewJob,
    /// Which function it runs.
    pub phase: Phase,
    /// Which attempt it is.
    pub attempt: u32,
    /// Whether that it was begun must outlive this process: its worker may have died before, or what follows rests on it.
    pub firm: bool,
    /// Who claims.
    pub by: By,
}

/// The answer to [`Claim`].
#[derive(Debug, Clone, PartialEq)]
pub enum Claimed {
    /// Run it.
    Ours {
        /// The job.
        job: Box<Job>,
        /// Whether this attempt was begun before, and neither ended nor given back: its worker may have died.
        again: bool,
    },
    /// It has ended, waits for its parts, or the dispatch is of an older attempt: run nothing.
    Nothing,
    /// There is no such job, and the dispatch is not its first: run nothing.
    Unknown,
}

impl Claim {
    /// Makes the job if its first message has come from another program.
    pub(super) fn make(&self, books: &mut Books) {
        let NewJob { job, input } = &self.unknown;
        if books.get(job.id).is_none() && self.phase == Phase::Start && self.attempt == 1 {
            books.create(job.clone(), input.clone());
        }
    }
}

impl Operation for Claim {
    type Answer = Claimed;

    fn job(&self) -> JobId {
        self.unknown.job.id
    }

    fn promise(&self) -> Promise {
        if self.firm { Promise::Written } else { Promise::Soon }
    }

    fn apply(&self, books: &mut Books) -> Claimed {
        let id = self.unknown.job.id;
        self.make(books);
        let Some(entry) = books.get_mut(id) else { return Claimed::Unknown };
        let again = entry.job.state == State::Running;
        match entry.job.claim(self.phase, self.attempt, &self.by.worker.to_string(), self.by.now) {
            job::Claim::Ours => {
                entry.dirty = true;
                Claimed::Ours { job: Box::new(entry.job.clone()), again }
            }
            job::Claim::Ended | job::Claim::Old => Claimed::Nothing,
        }
    }
}

/// Fails a job whose message nobody can run: one that is new, or waits for just this message.
///
/// A message that only bears the name of a job does nothing to it: whoever can publish may submit, and no more.
#[derive(Debug, Clone)]
pub struct Refuse {
    /// The job, as far as its message could be read; it is made if its id is unknown.
    pub unknown: NewJob,
    /// Why.
    pub failure: Failure,
    /// Who refuses.
    pub by: By,
}

impl Operation for Refuse {
    type Answer = Vec<Owed>;

    fn job(&self) -> JobId {
        self.unknown.job.id
    }

    /// A split that failed and waits for its next attempt has yielded parts.
    fn shards(&self, _books: &Books) -> Shards {
        Shards::All(self.unknown.job.id)
    }

    fn apply(&self, books: &mut Books) -> Vec<Owed> {
        let NewJob { job, input } = &self.unknown;
        if books.get(job.id).is_none() {
            books.create(job.clone(), input.clone());
        }
        let Some(entry) = books.get_mut(job.id) else {
            return Vec::new();
        };
        let known = &mut entry.job;
        let waits = matches!(known.state, State::Ready | State::Retrying);
        if !waits || known.task != job.task {
            return Vec::new();
        }
        let (phase, attempt) = (known.phase, known.attempt);
        let claimed = known.claim(phase, attempt, &self.by.worker.to_string(), self.by.now);
        debug_assert_eq!(claimed, job::Claim::Ours, "it waits");
        let how = Attempt::Failed { failure: self.failure.clone(), again: None };
        let Ended::Counted(effects) = known.end_attempt(phase, attempt, how, self.by.now) else {
            return Vec::new();
        };
        entry.dirty = true;
        if entry.ledger.head().sealed.is_none() {
            entry.ledger.halt(Halt::Stopped);
        }
        let job = entry.job.clone();
        books.carry_out(&job, effects, None, &self.by)
    }
}

/// Records how the claimed attempt of a job ended, and owes what follows.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The job.
    pub job: JobId,
    /// Which function it ran.
    pub phase: Phase,
    /// Which attempt it was.
    pub attempt: u32,
    /// How it ended.
    pub how: Attempt,
    /// What it returned.
    pub output: Option<Bytes>,
    /// Who ran it.
    pub by: By,
}

impl Operation for Settle {
    type Answer = Answer;

    fn job(&self) -> JobId {
        self.job
    }

    /// A split that failed halts the parts it has yielded, or forgets them.
    fn shards(&self, _books: &Books) -> Shards {
        match self.how {
            Attempt::Failed { .. } => Shards::All(self.job),
            Attempt::Succeeded | Attempt::Interrupted => Shards::None,
        }
    }

    fn apply(&self, books: &mut Books) -> Answer {
        let Some(entry) = books.get_mut(self.job) else {
            return Answer::Old;
        };
        let Ended::Counted(effects) = entry.job.end_attempt(self.phase, self.attempt, self.how.clone(), self.by.now)
        else {
            return Answer::Old;
        };
        entry.dirty = true;
        match entry.job.state {
            State::Failed if entry.ledger.head().sealed.is_none() => entry.ledger.halt(Halt::Stopped),
            State::Retrying if self.phase == Phase::Start => entry.ledger.fence(),
            _ => {}
        }
        let job = entry.job.clone();
        if let Some(output) = &self.output {
            books.writes().outputs.push((self.job, output.clone()));
        }
        Answer::Counted(books.carry_out(&job, effects, self.output.as_ref(), &self.by))
    }
}

/// Notes that a hook of a job was not sent, nor those after it.
#[derive(Debug, Clone)]
pub struct HookFailed {
    /// The job.
    pub job: JobId,
    /// Why, in words.
    pub why: String,
}

impl Operation for HookFailed {
    type Answer = ();

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, books: &mut Books) {
        let Some(entry) = books.get_mut(self.job) else { return };
        if let Some(hooks) = &mut entry.job.hooks {
            hooks.failure = Some(self.why.clone());
            entry.dirty = true;
        }
    }
}

/// The answer to [`Cancel`] and [`Retry`].
#[derive(Debug, Clone, PartialEq)]
pub enum Steered {
    /// It was done; what is held must be sent.
    Done(Vec<Owed>),
    /// The job is in a state in which it cannot be done.
    Refused(State),
    /// There is no such job.
    Unknown,
}

/// Cancels a job that has not ended: no part of it starts any more.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// The job.
    pub job: JobId,
    /// Who cancels.
    pub by: By,
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
        let Some(effects) = entry.job.cancel(self.by.now) else {
            return Steered::Refused(entry.job.state);
        };
        entry.dirty = true;
        entry.ledger.halt(Halt::Cancelled);
        let job = entry.job.clone();
        Steered::Done(books.carry_out(&job, effects, None, &self.by))
    }
}

/// Takes up a job that failed or was cancelled: exactly the parts that are not `ok`, then its join.
///
/// A split that was cut short runs again from its start; a job without parts runs again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The job.
    pub job: JobId,
    /// Who asks for it.
    pub by: By,
}

impl Operation for Retry {
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
        if !matches!(entry.job.state, State::Failed | State::Cancelled) {
            return Steered::Refused(entry.job.state);
        }
        entry.dirty = true;
        let head = *entry.ledger.head();
        let whole = head.sealed.is_some() && !head.cut;
        let ranges = if whole {
            entry.ledger.reopen()
        } else {
            entry.ledger.fence();
            Vec::new()
        };
        let epoch = entry.ledger.head().epoch;
        let phase = if whole { Phase::Join } else { Phase::Start };
        let effects = entry.job.resume(phase, whole && (!ranges.is_empty() || !head.joined));
        let job = entry.job.clone();
        let mut owed = books.carry_out(&job, effects, None, &self.by);
        for range in ranges {
            let ask = OwedAsk::Parts { epoch, first: range.start, len: range.end - range.start };
            owed.extend(books.owe(&job, (ask, 1, None), &self.by, NOT_HELD));
        }
        owed.extend(books.complete(self.job, &self.by));
        Steered::Done(owed)
    }
}
