//! Operations on attempts at parts: start, settle; one at a time or a run at once.

use std::sync::Arc;

use bytes::Bytes;

use super::books::{Books, PartWrite};
use super::owed::{NOT_HELD, Owed, OwedAsk};
use super::{Answer, By, Change, Operation, Promise, Shards};
use crate::clock::Timestamp;
use crate::event::{EventKind, Scope, brief};
use crate::failure::Failure;
use crate::id::JobId;
use crate::ledger::{Count, Halt, Ledger, Settled, Start};
use crate::policy::OnError;

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
    /// Whether that it was begun must outlive this process: its worker may have died before, or what follows rests on it.
    pub firm: bool,
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
        /// How often this attempt was begun, and its worker died while it ran.
        losses: u32,
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

    fn job(&self) -> JobId {
        self.part.job
    }

    fn promise(&self) -> Promise {
        if self.firm { Promise::Written } else { Promise::Soon }
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
            Start::Run { again } => {
                // A call was lost, not only a delivery.
                let losses = entry.ledger.losses(index, again && self.firm);
                Started::Run { count: entry.ledger.head().sealed, losses }
            }
            Start::Settled | Start::Old => Started::Nothing(Vec::new()),
            Start::Unknown => Started::Unknown { parts: Some(entry.ledger.head().appended) },
            Start::Halted => {
                // News, so that it is written before its message is done with: nobody would settle it again.
                books.tell(Change::Moved(job));
                Started::Nothing(books.complete(job, &self.by))
            }
        }
    }
}

/// Starts parts of one job that came together, if they are still owed: what [`StartPart`] does for one.
#[derive(Debug, Clone)]
pub struct StartRun {
    /// One of them; the others carry the same epoch and attempt.
    pub first: PartKey,
    /// The indices.
    pub indices: Vec<u64>,
    /// Who.
    pub by: By,
}

/// The answer to [`StartRun`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunStarted {
    /// The indices to run, in the order given. What is to become of another, [`StartPart`] says.
    pub run: Vec<u64>,
    /// How many parts there are, once that is fixed.
    pub count: Option<u64>,
    /// What is held and must be sent.
    pub owed: Vec<Owed>,
}

impl Operation for StartRun {
    type Answer = RunStarted;

    fn job(&self) -> JobId {
        self.first.job
    }

    fn promise(&self) -> Promise {
        Promise::Soon
    }

    fn shards(&self, _books: &Books) -> Shards {
        span(self.first.job, self.indices.iter().copied())
    }

    fn apply(&self, books: &mut Books) -> RunStarted {
        let PartKey { job, epoch, attempt, .. } = self.first;
        let mut started = RunStarted::default();
        let Some(entry) = books.get_mut(job) else { return started };
        started.count = entry.ledger.head().sealed;
        let mut halted = false;
        let runs = |index: &u64| {
            let start = entry.ledger.start(epoch, *index, attempt);
            halted |= start == Start::Halted;
            matches!(start, Start::Run { .. })
        };
        started.run = self.indices.iter().copied().filter(runs).collect();
        if halted {
            books.tell(Change::Moved(job));
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

/// Records how attempts at parts of one job ended; the last part owes what follows.
#[derive(Debug, Clone)]
pub struct SettleParts {
    /// One of them; the others carry the same epoch and attempt.
    pub first: PartKey,
    /// The indices, and how each ended.
    pub ended: Arc<[(u64, PartAttempt)]>,
    /// Who ran them.
    pub by: By,
}

impl SettleParts {
    /// Records how one attempt ended.
    pub fn one(part: PartKey, how: PartAttempt, by: By) -> Self {
        Self { first: part, ended: Arc::new([(part.index, how)]), by }
    }
}

impl Operation for SettleParts {
    type Answer = Answer;

    fn job(&self) -> JobId {
        self.first.job
    }

    /// A failure may be the one that stops the others.
    fn shards(&self, books: &Books) -> Shards {
        let stops = |entry: &super::Entry| entry.ledger.head().policy.on_error == OnError::Stop;
        let failed = |(_, how): &(u64, PartAttempt)| matches!(how, PartAttempt::Failed { .. });
        if self.ended.iter().any(failed) && books.get(self.first.job).is_some_and(stops) {
            return Shards::All(self.first.job);
        }
        span(self.first.job, self.ended.iter().map(|(index, _)| *index))
    }

    fn apply(&self, books: &mut Books) -> Answer {
        let PartKey { job, epoch, attempt, .. } = self.first;
        let Some(entry) = books.get_mut(job) else {
            return Answer::Old;
        };
        let mut written = Vec::with_capacity(self.ended.len());
        let mut again = Vec::new();
        for (index, how) in self.ended.iter() {
            let part = PartKey { index: *index, ..self.first };
            let Some((write, due)) = settle(&mut entry.ledger, part, how) else { continue };
            written.push((job, *index, write));
            again.extend(due.map(|due| (*index, due)));
        }
        if written.is_empty() {
            return Answer::Old;
        }
        if entry.ledger.must_stop() {
            entry.dirty = true;
            entry.ledger.halt(Halt::Stopped);
        }
        let retried = (!again.is_empty()).then(|| entry.job.clone());
        let mut owed = Vec::new();
        if self.by.tells.scope() == Scope::Parts {
            let ended = written.iter().filter(|(_, index, _)| again.iter().all(|(retried, _)| retried != index));
            let ended = ended.map(|(_, index, write)| (*index, how_ended(write))).collect();
            let job = entry.job.clone();
            owed.extend(books.parts_ended(&job, attempt, ended, &self.by));
        }
        books.writes().parts.extend(written);
        books.tell(Change::Moved(job));
        owed.extend(books.complete(job, &self.by));
        for ((index, due), job) in again.into_iter().zip(retried.iter().cycle()) {
            let ask = OwedAsk::Parts { epoch, first: index, len: 1 };
            owed.extend(books.owe(job, (ask, attempt + 1, Some(due)), &self.by, NOT_HELD));
        }
        Answer::Counted(owed)
    }
}

/// The event of what is written of a part that has ended.
fn how_ended(write: &PartWrite) -> (EventKind, Option<Failure>) {
    match &write.ended {
        Ok(_) => (EventKind::Completed, None),
        Err(failure) => (EventKind::Failed, Some(brief(failure))),
    }
}

/// Settles one part; answers what is to be written of it and when it is tried again, or nothing if it did not count.
fn settle(ledger: &mut Ledger, part: PartKey, how: &PartAttempt) -> Option<(PartWrite, Option<Timestamp>)> {
    let PartKey { epoch, index, attempt, .. } = part;
    let (count, ended, again) = match how {
        PartAttempt::Ok(output) => (ledger.settle(epoch, index, attempt, Settled::Ok), Ok(output.clone()), None),
        PartAttempt::Failed { failure, again: None } => {
            let count = ledger.settle(epoch, index, attempt, Settled::Failed);
            (count, Err(failure.clone()), None)
        }
        PartAttempt::Failed { failure, again: Some(due) } => {
            let due = ledger.head().halted.is_none().then_some(*due);
            (ledger.again(epoch, index, attempt), Err(failure.clone()), due)
        }
        PartAttempt::Interrupted => {
            ledger.give_back(epoch, index, attempt);
            return None;
        }
    };
    (count == Count::Counted).then_some((PartWrite { attempt, ended }, again))
}

/// The shards of these indices and of all between them.
fn span(job: JobId, indices: impl Iterator<Item = u64> + Clone) -> Shards {
    match (indices.clone().min(), indices.max()) {
        (Some(first), Some(last)) => Shards::Between(job, first, last),
        _ => Shards::None,
    }
}
