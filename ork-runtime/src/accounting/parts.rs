//! Operations on the parts of a job: open, append, seal, start, settle.

use bytes::Bytes;

use super::books::{Books, PartWrite};
use super::owed::{NOT_HELD, Owed, OwedAsk, OwedRow};
use super::{Answer, By, Change, Operation, Shards};
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{Phase, State};
use crate::ledger::{self, Count, Halt, Settled, Start};
use crate::policy::{OnError, Policy};

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
}

impl Operation for Open {
    type Answer = Option<u32>;

    fn job(&self) -> JobId {
        self.job
    }

    fn apply(&self, books: &mut Books) -> Option<u32> {
        let entry = books.get_mut(self.job)?;
        let current = (State::Running, Phase::Start, self.attempt);
        if (entry.job.state, entry.job.phase, entry.job.attempt) != current {
            return None;
        }
        entry.dirty = true;
        let epoch = entry.ledger.open(self.policy, self.joined);
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
    /// Who seals.
    pub by: By,
}

impl Operation for Seal {
    type Answer = (ledger::Seal, Vec<Owed>);

    fn job(&self) -> JobId {
        self.job
    }

    /// A share of failures can be judged only now, and may be too large already.
    fn shards(&self, _books: &Books) -> Shards {
        Shards::All(self.job)
    }

    fn apply(&self, books: &mut Books) -> Self::Answer {
        let Some(entry) = books.get_mut(self.job) else {
            return (ledger::Seal::Old, Vec::new());
        };
        let answer = entry.ledger.seal(self.epoch, self.n);
        match answer {
            ledger::Seal::Old => (answer, Vec::new()),
            ledger::Seal::Already | ledger::Seal::Sealed => {
                entry.dirty = true;
                entry.job.wait_for_parts();
                if entry.ledger.must_stop() {
                    entry.ledger.halt(Halt::Stopped);
                }
                books.tell(Change::Moved(self.job));
                (answer, books.complete(self.job, &self.by))
            }
        }
    }
}

/// One attempt at one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartKey {
    /// The job it is a part of.
    pub job: JobId,
    /// The run of the split that made it.
    pub epoch: u32,
    /// Which part, from 0.
    pub index: u64,
    /// Which attempt, from 1.
    pub attempt: u32,
}

/// Starts an attempt at a part, if it is still owed.
#[derive(Debug, Clone)]
pub struct StartPart {
    /// Which.
    pub part: PartKey,
    /// Who.
    pub by: By,
}

/// The answer to [`StartPart`].
#[derive(Debug, Clone, PartialEq)]
pub enum Started {
    /// Run it; the number of parts is told once it is fixed.
    Run {
        /// How many parts there are.
        count: Option<u64>,
        /// Whether this attempt was begun before, and neither ended nor given back: its worker may have died.
        again: bool,
    },
    /// Run nothing: it has ended, belongs to an older epoch or attempt, or its job takes no further part. What is held
    /// must be sent.
    Nothing(Vec<Owed>),
    /// There is no such part; its job, if there is one, has this many.
    Unknown {
        /// How many parts there are.
        parts: Option<u64>,
    },
}

impl Operation for StartPart {
    type Answer = Started;

    const DURABLE: bool = false;

    fn job(&self) -> JobId {
        self.part.job
    }

    fn shards(&self, _books: &Books) -> Shards {
        Shards::Of(self.part.job, self.part.index)
    }

    fn apply(&self, books: &mut Books) -> Started {
        let PartKey { job, epoch, index, attempt } = self.part;
        let Some(entry) = books.get_mut(job) else {
            return Started::Unknown { parts: None };
        };
        match entry.ledger.start(epoch, index, attempt) {
            Start::Run { again } => Started::Run { count: entry.ledger.head().sealed, again },
            Start::Settled | Start::Old => Started::Nothing(Vec::new()),
            Start::Unknown => Started::Unknown { parts: Some(entry.ledger.head().appended) },
            Start::Halted => Started::Nothing(books.complete(job, &self.by)),
        }
    }
}

/// Starts a run of parts that a process has taken, if they are still owed: what [`StartPart`] does for one.
#[derive(Debug, Clone)]
pub struct StartRun {
    /// The first part; the others carry the same epoch and attempt.
    pub first: PartKey,
    /// The indices.
    pub indices: Vec<u64>,
    /// Who.
    pub by: By,
}

/// The answer to [`StartRun`].
#[derive(Debug, Clone, PartialEq)]
pub struct RunStarted {
    /// The indices to run, in order; nothing is to be done about the others.
    pub run: Vec<u64>,
    /// How many parts there are, once that is fixed.
    pub count: Option<u64>,
    /// What is held and must be sent.
    pub owed: Vec<Owed>,
}

impl Operation for StartRun {
    type Answer = RunStarted;

    const DURABLE: bool = false;

    fn job(&self) -> JobId {
        self.first.job
    }

    /// A run may lie across two shards.
    fn shards(&self, _books: &Books) -> Shards {
        let last = self.indices.last().copied().unwrap_or(self.first.index);
        Shards::Between(self.first.job, self.first.index, last)
    }

    fn apply(&self, books: &mut Books) -> RunStarted {
        let PartKey { job, epoch, attempt, .. } = self.first;
        let mut started = RunStarted { run: Vec::new(), count: None, owed: Vec::new() };
        let Some(entry) = books.get_mut(job) else { return started };
        started.count = entry.ledger.head().sealed;
        let runs = |index: &u64| matches!(entry.ledger.start(epoch, *index, attempt), Start::Run { .. });
        started.run = self.indices.iter().copied().filter(runs).collect();
        if started.run.len() < self.indices.len() {
            started.owed = books.complete(job, &self.by);
        }
        started
    }
}

/// How an attempt at a part ended.
#[derive(Debug, Clone, PartialEq)]
pub enum PartAttempt {
    /// It returned this.
    Ok(Bytes),
    /// It failed; the next attempt is due at `again`, if there is one.
    Failed {
        /// Why.
        failure: Failure,
        /// When the next attempt is due.
        again: Option<Timestamp>,
    },
    /// The worker had to stop; this costs no attempt.
    Interrupted,
}

/// Records how an attempt at a part ended; the last part owes what follows.
#[derive(Debug, Clone)]
pub struct SettlePart {
    /// Which.
    pub part: PartKey,
    /// How it ended.
    pub how: PartAttempt,
    /// Who ran it.
    pub by: By,
}

impl Operation for SettlePart {
    type Answer = Answer;

    fn job(&self) -> JobId {
        self.part.job
    }

    /// A failure may be the one that stops the others.
    fn shards(&self, books: &Books) -> Shards {
        let stops = |entry: &super::Entry| entry.ledger.head().policy.on_error == OnError::Stop;
        match self.how {
            PartAttempt::Failed { .. } if books.get(self.part.job).is_some_and(stops) => Shards::All(self.part.job),
            _ => Shards::Of(self.part.job, self.part.index),
        }
    }

    fn apply(&self, books: &mut Books) -> Answer {
        let PartKey { job, epoch, index, attempt } = self.part;
        let Some(entry) = books.get_mut(job) else {
            return Answer::Old;
        };
        let ledger = &mut entry.ledger;
        let (count, write, again) = match &self.how {
            PartAttempt::Ok(output) => {
                (ledger.settle(epoch, index, attempt, Settled::Ok), Some(PartWrite::Output(output.clone())), None)
            }
            PartAttempt::Failed { failure, again: None } => {
                let count = ledger.settle(epoch, index, attempt, Settled::Failed);
                (count, Some(PartWrite::Failure(failure.clone())), None)
            }
            PartAttempt::Failed { failure, again: Some(due) } => {
                let due = ledger.head().halted.is_none().then_some(*due);
                (ledger.again(epoch, index, attempt), Some(PartWrite::Failure(failure.clone())), due)
            }
            PartAttempt::Interrupted => {
                ledger.give_back(epoch, index, attempt);
                (Count::Already, None, None)
            }
        };
        if count != Count::Counted {
            return Answer::Old;
        }
        if entry.ledger.must_stop() {
            entry.dirty = true;
            entry.ledger.halt(Halt::Stopped);
        }
        let retried = again.map(|due| (entry.job.clone(), due));
        books.writes().parts.extend(write.map(|write| (job, index, write)));
        books.tell(Change::Moved(job));
        match retried {
            None => Answer::Counted(books.complete(job, &self.by)),
            Some((waiting, due)) => {
                let ask = OwedAsk::Parts { epoch, first: index, len: 1 };
                let owed = books.owe(&waiting, (ask, attempt + 1, Some(due)), &self.by, NOT_HELD);
                Answer::Counted(owed.into_iter().collect())
            }
        }
    }
}
