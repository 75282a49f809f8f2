//! Operations on the parts of a job as a whole: open, append, seal.

use bytes::Bytes;

use super::books::Books;
use super::owed::{Owed, OwedAsk, OwedRow};
use super::{Answer, By, Change, Operation, Shards};
use crate::id::{Fingerprint, JobId};
use crate::job::State;
use crate::ledger::{self, Halt};
use crate::policy::Policy;

/// Begins a run of the split of a claimed job: a new epoch, no parts. Answers the epoch.
#[derive(Debug, Clone)]
pub struct Open {
    /// The job.
    pub job: JobId,
    /// The attempt that was claimed.
    pub attempt: u32,
    /// What failed parts mean.
    pub policy: Policy,
    /// Whether a join runs in the end.
    pub joined: bool,
    /// The schema that the inputs of its parts are made for.
    pub made_for: Option<Fingerprint>,
}

impl Operation for Open {
    type Answer = Option<u32>;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, books: &mut Books) -> Option<u32> {
        let entry = books.current(self.job, self.attempt)?;
        entry.dirty = true;
        // Its claim may have been forgotten.
        (entry.job.state, entry.job.due) = (State::Running, None);
        entry.job.made_for.part = self.made_for;
        let epoch = entry.ledger.open(self.policy, self.joined);
        if entry.job.tree.interrupted.is_some() {
            // It was told to begin nothing more before there was a ledger to tell.
            entry.ledger.halt(Halt::Stopped);
        }
        if epoch > 1 {
            books.writes().cleared.push(self.job);
        }
        Some(epoch)
    }
}

/// A page of parts that a split has yielded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The job.
    pub job: JobId,
    /// The run of the split.
    pub epoch: u32,
    /// The index of the first part.
    pub first: u64,
    /// The inputs' JSON.
    pub inputs: Vec<Bytes>,
}

/// Adds a page of parts, if the epoch is current, and owes their dispatch.
#[derive(Debug, Clone)]
pub struct Append {
    /// The page.
    pub page: Page,
    /// Who adds it.
    pub by: By,
}

/// The answer to [`Append`].
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// Whether the split may go on.
    pub answer: ledger::Append,
    /// What is held and must be sent.
    pub owed: Option<Owed>,
}

impl Operation for Append {
    type Answer = Appended;

    fn job(&self) -> JobId {
        self.page.job
    }

    fn apply(&self, books: &mut Books) -> Appended {
        let Page { job, epoch, first, inputs } = &self.page;
        let len = u64::try_from(inputs.len()).unwrap_or(u64::MAX);
        let Some(entry) = books.get_mut(*job) else {
            return Appended { answer: ledger::Append::Old, owed: None };
        };
        let answer = entry.ledger.append(*epoch, *first, len);
        if answer != ledger::Append::Added {
            return Appended { answer, owed: None };
        }
        entry.dirty = true;
        let job = entry.job.clone();
        books.writes().pages.push((job.id, *first, inputs.clone()));
        books.tell(Change::Moved(job.id));
        let messages = |row: &OwedRow| {
            let parts = inputs.iter().zip(*first..);
            parts.map(|(input, index)| row.part(&job, *epoch, index, input.clone())).collect()
        };
        let ask = OwedAsk::Parts { epoch: *epoch, first: *first, len };
        Appended { answer, owed: books.owe(&job, (ask, 1, None), &self.by, Some(messages)) }
    }
}

/// Fixes the number of parts, if the epoch is current; the job waits for them, or goes on if none is left.
#[derive(Debug, Clone)]
pub struct Seal {
    /// The job.
    pub job: JobId,
    /// The run of the split.
    pub epoch: u32,
    /// How many parts it has yielded.
    pub n: u64,
    /// What the function of a task returned that has split itself: the job's output, unless a join makes it.
    pub output: Option<Bytes>,
    /// Who seals.
    pub by: By,
}

impl Operation for Seal {
    type Answer = Answer;

    fn job(&self) -> JobId {
        self.job
    }

    /// A share of failures can be judged only now, and may be too large already.
    fn shards(&self, _books: &Books) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, books: &mut Books) -> Answer {
        let Some(entry) = books.get_mut(self.job) else { return Answer::Old };
        match entry.ledger.seal(self.epoch, self.n) {
            ledger::Seal::Old => Answer::Old,
            ledger::Seal::Already | ledger::Seal::Sealed => {
                entry.dirty = true;
                entry.job.wait_for_parts();
                if entry.ledger.must_stop() {
                    entry.ledger.halt(Halt::Stopped);
                }
                let keeps = entry.job.state == State::Waiting && !entry.ledger.head().joined;
                if let Some(output) = self.output.as_ref().filter(|_| keeps) {
                    books.writes().outputs.push((self.job, output.clone()));
                }
                books.tell(Change::Moved(self.job));
                Answer::Counted(books.complete(self.job, &self.by))
            }
        }
    }
}
