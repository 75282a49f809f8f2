//! Operations on whole jobs: submit, claim, refuse, settle.

use std::sync::Arc;

use bytes::Bytes;

use super::books::Books;
use super::owed::{Owed, OwedAsk, OwedRow};
use super::steer::{self, Cancel};
use super::tree::{Follow, NoChild};
use super::unique::taken;
use super::{Answer, By, Operation, Promise, Shards};
use crate::event::{Event, EventKind, Telling};
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{self, Attempt, Ended, Job, Phase, State, Unique};
use crate::ledger::Halt;
use crate::message::Outgoing;
use crate::mutant::{self, Mutant};
use crate::tree::Stop;

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
    /// The jobs after whose ends it begins: it waits for the last of them.
    pub after: Vec<JobId>,
    /// The key that it takes, unless another job has it.
    pub unique: Option<Unique>,
    /// Who submits it.
    pub by: By,
}

impl Submit {
    /// Submits a job that begins at once.
    pub const fn new(new: NewJob, by: By) -> Self {
        Self { new, after: Vec::new(), unique: None, by }
    }
}

/// The answer to [`Submit`].
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// It is new; what is held must be sent.
    Created(Option<Owed>),
    /// There was a job of its id.
    Known,
    /// It was there, had not ended well, and is taken up again; what is held must be sent.
    Again(Vec<Owed>),
    /// The job above it takes no children any more.
    NoChild(NoChild),
    /// There is no job of this id, which it was to follow.
    NothingToFollow(JobId),
    /// This job has its key and has not ended.
    Taken(JobId),
    /// This job has its key, has not ended, and has shown no sign of life for as long as the key allows.
    Stale(JobId),
}

impl Operation for Submit {
    type Answer = Submitted;

    fn job(&self) -> JobId {
        self.new.job.id
    }

    fn with(&self) -> Option<JobId> {
        self.new.job.parent
    }

    fn follows(&self) -> &[JobId] {
        &self.after
    }

    fn unique(&self) -> Option<&Arc<str>> {
        self.unique.as_ref().map(|unique| &unique.key)
    }

    /// A child that is taken up again may have parts.
    fn shards(&self, books: &Books) -> Shards {
        let known = self.new.job.parent.is_some() && books.get(self.new.job.id).is_some();
        if known { Shards::All(self.new.job.id) } else { Shards::None }
    }

    fn apply(&self, books: &mut Books) -> Submitted {
        let NewJob { job, input } = &self.new;
        if let Some(parent) = job.parent
            && let Err(no) = books.takes_child(parent)
        {
            return Submitted::NoChild(no);
        }
        if let Some(known) = books.get(job.id).map(|entry| &entry.job) {
            // The job above it runs again, and asks for it again.
            let again = job.parent.is_some() && known.parent == job.parent;
            if !again || !matches!(known.state, State::Failed | State::Cancelled) {
                return Submitted::Known;
            }
            return match books.take_again(self.unique.as_ref().map(|unique| &unique.key), job.id, self.by.now) {
                Some(keeper) => Submitted::Taken(keeper),
                None => Submitted::Again(steer::take_up(books, job.id, &self.after, &self.by)),
            };
        }
        if let Some(keeper) = self.unique.as_ref().and_then(|unique| books.keeper(unique, self.by.now)) {
            return if keeper.stale { Submitted::Stale(keeper.job) } else { Submitted::Taken(keeper.job) };
        }
        let waits = match books.follow(job.id, &self.after) {
            Follow::Now => None,
            Follow::Later(limit) => Some(limit),
            Follow::Never(unknown) => return Submitted::NothingToFollow(unknown),
        };
        let mut job = job.clone();
        if let Some(unique) = &self.unique {
            books.hold(&unique.key, job.id, self.by.now);
            job.unique_key = Some(Arc::clone(&unique.key));
        }
        let new = NewJob { job, input: input.clone() };
        let NewJob { job, input } = &new;
        if let Some(limit) = waits {
            books.create(job.clone(), input.clone());
            books.wait(job, (OwedAsk::Start, job.attempt, 0), &limit);
            return Submitted::Created(books.happened(job, EventKind::Created, &self.by));
        }
        Submitted::Created(books.submit(&new, &self.by))
    }
}

impl Books {
    /// Makes a job and owes its first dispatch.
    pub(super) fn submit(&mut self, NewJob { job, input }: &NewJob, by: &By) -> Option<Owed> {
        self.create(job.clone(), input.clone());
        let owed = matches!(by.tells, Telling::Owed(_));
        if !owed {
            self.happened(job, EventKind::Created, by);
        }
        // Its first message says that it is there.
        let created = owed.then(|| Event::of(job, EventKind::Created, 0, by.now));
        let work = |row: &OwedRow| {
            let event = created.map(|event| Outgoing::Event(event.into()));
            event.into_iter().chain([row.work(job, input.clone())]).collect()
        };
        self.owe(job, (OwedAsk::Start, job.attempt, None), by, Some(work))
    }
}

/// Claims a dispatch of a job, if it is still owed.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The job of the dispatch; it is made first if its id is unknown, as when another program sent it.
    pub unknown: NewJob,
    /// The key that it takes if it is made.
    pub unique: Option<Unique>,
    /// Which function it runs.
    pub phase: Phase,
    /// Which attempt it is.
    pub attempt: u32,
    /// Whether that it was begun must outlive this process: its worker may have died before, or what follows rests on it.
    pub firm: bool,
    /// Whether the message may be another copy of one that a living process works on: then a job that another process
    /// runs stays with that one.
    pub may_be_copy: bool,
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
        /// Whether this attempt was begun before, and neither ended nor given back: its worker may have died. How often
        /// it did, the job says.
        again: bool,
        /// Whether the job was made now: its first message has come from another program.
        made: bool,
    },
    /// It is still owed, but this other process runs it, unless that has died: nothing changed.
    Runs(String),
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
            books.made.insert(job.id);
            self.take_key(books);
        }
    }

    /// Gives its key to the job that was just made, or fails it, if another one has the key.
    fn take_key(&self, books: &mut Books) {
        let (Some(unique), id) = (&self.unique, self.unknown.job.id) else { return };
        let Some(keeper) = books.keeper(unique, self.by.now) else {
            if let Some(entry) = books.get_mut(id) {
                entry.job.unique_key = Some(Arc::clone(&unique.key));
            }
            return books.hold(&unique.key, id, self.by.now);
        };
        let Some(entry) = books.get_mut(id) else { return };
        let how = Attempt::Failed { failure: taken(&unique.key, keeper.job), again: None };
        if let Ended::Counted(effects) = entry.job.end_attempt(self.phase, self.attempt, how, self.by.now) {
            let job = entry.job.clone();
            // Nobody is there to send what this owes.
            let by = By { hold: false, ..self.by.clone() };
            books.carry_out(&job, effects, None, &by);
        }
    }

    /// Whether a job above was interrupted, so that this does not begin any more. A join ends what has begun.
    fn is_stopped(&self, books: &Books, job: &Job) -> bool {
        let begins = job.is_current(self.phase, self.attempt) && job.parent.is_some();
        begins
            && books.interrupted_above(job).is_some_and(|(_, stop)| {
                stop == Stop::All || (self.phase == Phase::Start && job.state != State::Running)
            })
    }
}

impl Operation for Claim {
    type Answer = Claimed;

    fn job(&self) -> JobId {
        self.unknown.job.id
    }

    fn with(&self) -> Option<JobId> {
        self.unknown.job.parent
    }

    fn unique(&self) -> Option<&Arc<str>> {
        self.unique.as_ref().map(|unique| &unique.key)
    }

    /// A job that is found to be interrupted may have parts.
    fn shards(&self, books: &Books) -> Shards {
        let id = self.unknown.job.id;
        let interrupted = books.get(id).is_some_and(|entry| self.is_stopped(books, &entry.job));
        if interrupted { Shards::All(id) } else { Shards::None }
    }

    fn promise(&self) -> Promise {
        if self.firm { Promise::Written } else { Promise::Soon }
    }

    fn apply(&self, books: &mut Books) -> Claimed {
        let id = self.unknown.job.id;
        self.make(books);
        // With a limit it was made right before.
        let made = books.made.contains(&id);
        let Some(entry) = books.get(id) else { return Claimed::Unknown };
        if self.is_stopped(books, &entry.job) {
            // Nobody is there to send what this owes.
            let by = By { hold: false, ..self.by.clone() };
            Cancel { job: id, stop: Stop::All, below: true, by }.apply(books);
            return Claimed::Nothing;
        }
        let Some(entry) = books.get_mut(id) else { return Claimed::Unknown };
        let again = entry.job.state == State::Running;
        if let Some(worker) = entry.job.worker.as_ref().filter(|_| again && self.may_be_copy)
            && entry.job.is_current(self.phase, self.attempt)
            && *worker != self.by.worker.to_string()
        {
            return Claimed::Runs(worker.clone());
        }
        match entry.job.claim(self.phase, self.attempt, &self.by.worker.to_string(), self.by.now) {
            job::Claim::Ours => {
                entry.dirty = true;
                // A call was lost, not only a delivery: those that come again without having begun count for nothing.
                let lost = (again && self.firm) || mutant::is_on(Mutant::CountsClaimsAsLosses);
                entry.job.losses += u32::from(lost);
                // Whoever sent this copy of the message may wait elsewhere than whoever sent the first one.
                if let Some(reply) = self.unknown.job.reply.as_ref().filter(|_| entry.job.task == self.unknown.job.task)
                {
                    entry.job.replies_to(reply);
                }
                let job = Box::new(entry.job.clone());
                books.tell_begun(id);
                Claimed::Ours { job, again, made }
            }
            job::Claim::Ended | job::Claim::Old => Claimed::Nothing,
        }
    }
}

/// Fails a job whose message nobody can run: one that is new, or waits for just this message, as one does that was left
/// `running` by a process that died.
///
/// A message that only bears the name of a job does nothing to it: whoever can publish may submit, and no more.
#[derive(Debug, Clone)]
pub struct Refuse {
    /// The job, as far as its message could be read; it is made if its id is unknown.
    pub unknown: NewJob,
    /// Which function the message asks for, and which attempt; `None` if that could not be read.
    pub asked: Option<(Phase, u32)>,
    /// A process that is known to be dead, as jobs name it.
    pub dead: Option<String>,
    /// Why.
    pub failure: Failure,
    /// Who refuses.
    pub by: By,
}

/// The answer to [`Refuse`].
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The job has failed, and this is held by the caller, who must send it.
    Failed(Vec<Owed>),
    /// This process runs it: nothing changed, and nothing may as long as it lives.
    Runs(String),
    /// The message is not what the job waits for: nothing changed.
    Nothing,
}

impl Operation for Refuse {
    type Answer = Refusal;

    fn job(&self) -> JobId {
        self.unknown.job.id
    }

    fn with(&self) -> Option<JobId> {
        self.unknown.job.parent
    }

    /// A split that failed and waits for its next attempt has yielded parts.
    fn shards(&self, _books: &Books) -> Shards {
        Shards::All(self.unknown.job.id)
    }

    fn apply(&self, books: &mut Books) -> Refusal {
        let NewJob { job, input } = &self.unknown;
        let mut owed = Vec::new();
        if books.get(job.id).is_none() {
            books.create(job.clone(), input.clone());
            owed.extend(books.happened(job, EventKind::Created, &self.by));
        }
        let Some(entry) = books.get_mut(job.id).filter(|entry| entry.job.task == job.task) else {
            return Refusal::Nothing;
        };
        let known = &mut entry.job;
        let (phase, attempt) = (known.phase, known.attempt);
        match known.state {
            State::Ready | State::Retrying => {}
            State::Running if self.asked.is_some_and(|asked| asked != (phase, attempt)) => return Refusal::Nothing,
            State::Running if self.dead.is_some() && known.worker == self.dead => {}
            State::Running => return Refusal::Runs(known.worker.clone().unwrap_or_default()),
            State::Waiting | State::Success | State::Failed | State::Cancelled => return Refusal::Nothing,
        }
        let claimed = known.claim(phase, attempt, &self.by.worker.to_string(), self.by.now);
        debug_assert_eq!(claimed, job::Claim::Ours, "it waits");
        let how = Attempt::Failed { failure: self.failure.clone(), again: None };
        let Ended::Counted(effects) = known.end_attempt(phase, attempt, how, self.by.now) else {
            return Refusal::Nothing;
        };
        entry.dirty = true;
        if entry.ledger.head().sealed.is_none() {
            entry.ledger.halt(Halt::Stopped);
        }
        let job = entry.job.clone();
        owed.extend(books.carry_out(&job, effects, None, &self.by));
        Refusal::Failed(owed)
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

    /// A split that failed halts the parts it has yielded, or forgets them; so does one whose input fits no more.
    fn shards(&self, _books: &Books) -> Shards {
        match self.how {
            Attempt::Failed { .. } | Attempt::Parked { .. } => Shards::All(self.job),
            Attempt::Succeeded | Attempt::Interrupted => Shards::None,
        }
    }

    fn apply(&self, books: &mut Books) -> Answer {
        let how = self.how(books);
        let Some(entry) = books.get_mut(self.job) else {
            return Answer::Old;
        };
        if how == Attempt::Interrupted && self.is_of_another(&entry.job) {
            return Answer::Old;
        }
        let Ended::Counted(effects) = entry.job.end_attempt(self.phase, self.attempt, how, self.by.now) else {
            return Answer::Old;
        };
        entry.dirty = true;
        // It returned without parts, and an earlier run of it, which was cut short, has left some.
        let forgets = self.phase == Phase::Start && self.how == Attempt::Succeeded && entry.ledger.head().epoch > 0;
        if forgets {
            entry.ledger.forget();
        }
        match entry.job.state {
            State::Failed if entry.ledger.head().sealed.is_none() => entry.ledger.halt(Halt::Stopped),
            State::Retrying if self.phase == Phase::Start => entry.ledger.fence(),
            _ => {}
        }
        let job = entry.job.clone();
        if forgets {
            books.writes().cleared.push(self.job);
        }
        if let Some(output) = &self.output {
            books.writes().outputs.push((self.job, output.clone()));
        }
        Answer::Counted(books.carry_out(&job, effects, self.output.as_ref(), &self.by))
    }
}

impl Settle {
    /// Whether another process has taken the job over meanwhile, as one does that gets a delivery which was lost: it is
    /// not given back by the one that had it.
    fn is_of_another(&self, job: &Job) -> bool {
        let by = self.by.worker.to_string();
        let is_of_another = job.state == State::Running && job.worker.as_ref().is_some_and(|worker| *worker != by);
        is_of_another && !mutant::is_on(Mutant::GivesBackOthers)
    }

    /// How the attempt ended. Below a job that was interrupted no other one begins, so that none is waited for.
    fn how(&self, books: &Books) -> Attempt {
        let above = books.get(self.job).and_then(|entry| books.interrupted_above(&entry.job));
        // A join ends what has begun.
        let stopped = above.is_some_and(|(_, stop)| stop == Stop::All || self.phase == Phase::Start)
            && !mutant::is_on(Mutant::RetriesInterrupted);
        match &self.how {
            Attempt::Failed { failure, again: Some(_) } if stopped => {
                Attempt::Failed { failure: failure.clone(), again: None }
            }
            Attempt::Parked { failure, .. } if stopped => Attempt::Failed { failure: failure.clone(), again: None },
            how => how.clone(),
        }
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
