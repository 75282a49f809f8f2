//! A job and its life: the states, and the one place that says which change is allowed. Pure.
//!
//! `docs/states.md` draws it. Every change answers with the effects it owes; stores carry them out in the same
//! transaction, so that nothing can be done without being owed, or owed without being done.

#![warn(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::failure::{Failure, FailureKind};
use crate::hook::StoredHooks;
use crate::id::{JobId, SchemaIds};
use crate::ledger::{Counts, Head};
use crate::mutant::{self, Mutant};
use crate::role::JobRole;
use crate::tree::{CancelMode, Tree};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "OrkJobState")]
pub enum State {
    /// Waits for a worker.
    Ready,
    /// A worker runs it.
    Running,
    /// An attempt failed; the next one is due later.
    Retrying,
    /// Its parts are under way, or the jobs below it.
    Waiting,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended by request.
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 7] =
        [Self::Ready, Self::Running, Self::Retrying, Self::Waiting, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Whether nothing can change any more.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
            Self::Ready | Self::Running | Self::Retrying | Self::Waiting => false,
        }
    }

    /// The word for it in stores, documents and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Succeeded => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a job asks of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// The whole task: its split, its parts and its join where it has them.
    Full,
    /// The function alone, on one item, even where the task has a split.
    Single,
    /// The whole task, as a step of a run: its input comes from what the steps before it returned.
    Step,
}

impl JobKind {
    /// The word that stores and messages use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "job",
            Self::Single => "item",
            Self::Step => "step",
        }
    }

    /// The kind of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Full, Self::Single, Self::Step].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Which function of the task is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The function itself, or the split.
    Start,
    /// The join.
    Join,
}

impl Phase {
    /// The word that stores use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Join => "join",
        }
    }

    /// The phase of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Start, Self::Join].into_iter().find(|phase| phase.as_str() == word)
    }
}

/// To how many more than the first one that asked an outcome is sent.
const MOST_REPLIES: usize = 32;

/// Where the outcome of a job is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// The queue.
    pub queue: String,
    /// What the sender wants to see again.
    pub correlation: String,
}

/// A key, and for how long the job that has it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    /// The key.
    pub key: Arc<str>,
    /// A job that has shown no sign of life for so long is cancelled, and loses the key.
    pub stale_after: Option<Duration>,
}

/// A job, apart from its input and output.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Which one.
    pub id: JobId,
    /// The job a client submitted, from which this one comes; its own id for such a job.
    pub root: JobId,
    /// The job that created this one.
    pub parent: Option<JobId>,
    /// The task's name.
    pub task: String,
    /// What it asks of its task.
    pub kind: JobKind,
    /// Which function is next.
    pub phase: Phase,
    /// Where it stands.
    pub state: State,
    /// The attempt that is current, from 1; it never goes back, so it fences off older ones.
    pub attempt: u32,
    /// Attempts made before the retries began to count: by an earlier phase, or before a resume.
    pub uncounted_attempts: u32,
    /// 0 to 9; higher goes first.
    pub priority: u8,
    /// Who runs it, or ran it last.
    pub worker: Option<String>,
    /// When it was submitted.
    pub created: Timestamp,
    /// When its first attempt began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When its next attempt is due, while it is retrying.
    pub due: Option<Timestamp>,
    /// Why it failed, or why its last attempt did.
    pub failure: Option<Failure>,
    /// Where its outcome goes.
    pub reply: Option<ReplyTo>,
    /// What it knows of the jobs below it.
    pub tree: Tree,
    /// What follows when it has ended.
    pub hooks: Option<Box<StoredHooks>>,
    /// What it is besides a call of its task.
    pub role: Option<Box<JobRole>>,
    /// The schemas that its input and its parts were made for, as far as that is known.
    pub schemas: SchemaIds,
    /// How often the worker of the current attempt died, or lost its connection, while it ran.
    pub losses: u32,
    /// The unique key that it took when it was submitted.
    pub unique_key: Option<Arc<str>>,
}

/// What a change of a job owes to the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A message that runs this phase.
    Dispatch {
        /// Which function.
        phase: Phase,
        /// Which attempt.
        attempt: u32,
        /// Not before.
        due: Option<Timestamp>,
    },
    /// The outcome, to whoever asked for it.
    Reply,
    /// Word of its end, to the jobs above it and to those that wait for it.
    Ended,
    /// Word that it goes on, to the jobs above it.
    Reopened {
        /// How it had ended.
        was: State,
    },
    /// These hooks, a bit for each.
    Hooks(u32),
    /// Word to whoever listens.
    Emit(EventKind),
}

/// The answer to [`Job::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobClaim {
    /// Run it.
    Granted,
    /// It has ended, or waits for its parts: run nothing.
    Ended,
    /// The dispatch is of an older attempt: run nothing.
    Stale,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptOutcome {
    /// It returned; the output is kept by the store.
    Succeeded,
    /// It failed; the next attempt is due at `again`, if there is one.
    Failed {
        /// Why.
        failure: Failure,
        /// When the next attempt is due.
        retry_at: Option<Timestamp>,
    },
    /// Its input does not fit here, and may fit elsewhere: it is looked at again at `again`. This costs no attempt.
    Parked {
        /// What does not fit.
        failure: Failure,
        /// When it is looked at again.
        retry_at: Timestamp,
    },
    /// The worker had to stop; this costs no attempt.
    Interrupted,
}

/// The answer to [`Job::end_attempt`].
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptEnd {
    /// It counted, and this is owed.
    Applied(Vec<Effect>),
    /// An older attempt, or an ended job: nothing changed.
    Stale,
}

impl Job {
    /// A new job, ready to be dispatched.
    pub fn new(id: JobId, task: impl Into<String>, created: Timestamp) -> Self {
        Self {
            id,
            root: id,
            parent: None,
            task: task.into(),
            kind: JobKind::Full,
            phase: Phase::Start,
            state: State::Ready,
            attempt: 1,
            uncounted_attempts: 0,
            priority: 0,
            worker: None,
            created,
            started: None,
            ended: None,
            due: None,
            failure: None,
            reply: None,
            tree: Tree::default(),
            hooks: None,
            role: None,
            schemas: SchemaIds::default(),
            losses: 0,
            unique_key: None,
        }
    }

    /// The attempt of the current phase since the last resume, from 1: what retries are counted by.
    pub const fn phase_attempt(&self) -> u32 {
        self.attempt.saturating_sub(self.uncounted_attempts)
    }

    /// A worker wants to run a dispatch of this job.
    pub fn claim(&mut self, phase: Phase, attempt: u32, worker: &str, now: Timestamp) -> JobClaim {
        match self.state {
            State::Cancelled if mutant::is_on(Mutant::ClaimsEnded) => JobClaim::Granted,
            State::Succeeded | State::Failed | State::Cancelled | State::Waiting => JobClaim::Ended,
            State::Ready | State::Running | State::Retrying => {
                if self.phase != phase || self.attempt != attempt {
                    return JobClaim::Stale;
                }
                self.state = State::Running;
                self.worker = Some(worker.to_owned());
                self.started.get_or_insert(now);
                self.due = None;
                JobClaim::Granted
            }
        }
    }

    /// Where its outcome is sent.
    pub fn replies(&self) -> impl Iterator<Item = &ReplyTo> {
        let others = self.hooks.as_deref().map(|kept| &kept.replies[..]).unwrap_or_default();
        self.reply.iter().chain(others)
    }

    /// Its outcome is sent there, too. Answers whether that is new.
    pub fn add_reply(&mut self, reply: &ReplyTo) -> bool {
        if self.replies().any(|known| known == reply) {
            return false;
        }
        if self.reply.is_none() {
            self.reply = Some(reply.clone());
            return true;
        }
        let others = &mut self.hooks.get_or_insert_default().replies;
        // Those that asked first are the likeliest to have gone.
        if others.len() >= MOST_REPLIES {
            others.remove(0);
        }
        others.push(reply.clone());
        true
    }

    /// Whether this attempt is the current one and has not ended. A store may have forgotten that it was claimed: what
    /// was claimed is known by its attempt.
    pub fn is_current(&self, phase: Phase, attempt: u32) -> bool {
        let under_way = matches!(self.state, State::Ready | State::Running | State::Retrying);
        under_way && self.phase == phase && self.attempt == attempt
    }

    /// The attempt a worker claimed has ended.
    pub fn end_attempt(&mut self, phase: Phase, attempt: u32, outcome: AttemptOutcome, now: Timestamp) -> AttemptEnd {
        if !self.is_current(phase, attempt) && !mutant::is_on(Mutant::SettlesOldAttempt) {
            return AttemptEnd::Stale;
        }
        AttemptEnd::Applied(match outcome {
            AttemptOutcome::Succeeded => {
                self.failure = None;
                self.finish(State::Succeeded, now)
            }
            AttemptOutcome::Failed { failure, retry_at } => {
                self.failure = Some(failure);
                match retry_at.filter(|_| self.tree.cancel_mode.is_none()) {
                    None => self.finish(State::Failed, now),
                    Some(due) => self.schedule_retry(phase, due),
                }
            }
            AttemptOutcome::Parked { .. } if self.tree.cancel_mode.is_some() => self.finish(State::Cancelled, now),
            AttemptOutcome::Parked { failure, retry_at } => {
                self.failure = Some(failure);
                self.uncounted_attempts += 1;
                self.schedule_retry(phase, retry_at)
            }
            AttemptOutcome::Interrupted => {
                (self.state, self.due) = (State::Ready, None);
                Vec::new()
            }
        })
    }

    /// The next attempt is made later.
    fn schedule_retry(&mut self, phase: Phase, due: Timestamp) -> Vec<Effect> {
        self.state = State::Retrying;
        self.losses = 0;
        self.attempt += 1;
        self.due = Some(due);
        let dispatch = Effect::Dispatch { phase, attempt: self.attempt, due: Some(due) };
        vec![Effect::Emit(EventKind::Retrying), dispatch]
    }

    /// The split has yielded its last part: from now on the job waits for them. Another worker of the same attempt, which
    /// was overtaken, may have given it back in the meantime.
    pub fn wait_for_parts(&mut self) {
        if matches!(self.state, State::Ready | State::Running) && self.phase == Phase::Start {
            self.state = State::Waiting;
            self.failure = None;
        }
    }

    /// Every part has ended: the join is next, or the verdict.
    pub fn on_parts_completed(&mut self, head: &Head, counts: Counts, now: Timestamp) -> Vec<Effect> {
        if self.state != State::Waiting || self.own_work_ended() {
            return Vec::new();
        }
        let effects = if self.tree.cancel_mode.is_some() {
            self.finish(State::Cancelled, now)
        } else if head.joined {
            self.start_phase(Phase::Join)
        } else if counts.skipped + counts.cancelled == 0 && !head.policy.is_broken(counts, counts.settled(), true) {
            self.finish(State::Succeeded, now)
        } else {
            let total = counts.settled();
            let message = match counts.skipped {
                0 => format!("{} of {total} parts failed", counts.failed),
                skipped => format!("{} of {total} parts failed, {skipped} were skipped", counts.failed),
            };
            self.failure = Some(Failure::new(FailureKind::Parts, message));
            self.finish(State::Failed, now)
        };
        [vec![Effect::Emit(EventKind::PartsCompleted)], effects].concat()
    }

    /// Sends the message again that the job waits for, for the last one is gone. It carries a new attempt, which counts
    /// for nothing, so that the last one changes nothing should it turn up.
    pub fn resend(&mut self) -> Vec<Effect> {
        self.attempt += 1;
        self.uncounted_attempts += 1;
        if !matches!(self.state, State::Ready | State::Running | State::Retrying) {
            return Vec::new();
        }
        // Its worker has ended, or it would not be sent again.
        self.losses += u32::from(self.state == State::Running);
        (self.state, self.due) = (State::Ready, None);
        vec![Effect::Dispatch { phase: self.phase, attempt: self.attempt, due: None }]
    }

    /// Ends the job by request; answers what is owed, or nothing if it had ended.
    pub fn cancel(&mut self, now: Timestamp) -> Option<Vec<Effect>> {
        (!self.state.is_final()).then(|| {
            self.request_cancel(CancelMode::Immediate);
            self.finish(State::Cancelled, now)
        })
    }

    /// Takes up a job that ended without success: the phase that is next runs again as a new attempt.
    ///
    /// A job that runs or succeeded stays as it is. One whose parts must run again is [`State::Waiting`] then.
    pub fn resume(&mut self, phase: Phase, parts_first: bool) -> Vec<Effect> {
        if !matches!(self.state, State::Failed | State::Cancelled) {
            return Vec::new();
        }
        (self.tree.verdict, self.tree.cancel_mode) = (None, None);
        let mut effects = self.reopen(State::Waiting);
        if parts_first {
            self.phase = Phase::Start;
        } else {
            effects.extend(self.start_phase(phase));
        }
        effects
    }

    fn start_phase(&mut self, phase: Phase) -> Vec<Effect> {
        self.phase = phase;
        self.state = State::Ready;
        self.uncounted_attempts = self.attempt;
        self.losses = 0;
        self.attempt += 1;
        vec![Effect::Dispatch { phase, attempt: self.attempt, due: None }]
    }
}
