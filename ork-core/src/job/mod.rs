//! The state machine of a job: its states, and the only place that decides which transitions are allowed. Pure code.
//!
//! `docs/states.md` has a diagram. Every transition returns its [`Effect`]s. A store writes the new state and the
//! effects in one transaction, so no state changes without its effects, and no effect is written without its change.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod document;
pub(crate) mod reply_to;
pub mod role;
pub mod schedule;
pub(crate) mod state;
pub mod tree;
pub mod workflow_run;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::kind::EventKind;
use crate::failure::{Failure, FailureKind};
use crate::hook::StoredHooks;
use crate::id::{JobId, SchemaIds};
use crate::ledger::{Counts, Head};
use crate::mutant::{self, Mutant};

use self::document::{is_default, shared_text};
use self::role::JobRole;
use self::tree::{CancelMode, Tree};

pub use self::reply_to::ReplyTo;
pub use self::state::{JobKind, Phase, State};

/// The maximum number of reply addresses of a job besides the first one.
const MOST_REPLIES: usize = 32;

/// A unique key, and the age at which its holder counts as stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    /// The key, which one job at a time can hold.
    pub key: Arc<str>,
    /// If the job that holds the key has shown no sign of life for this long, it is cancelled and the new job takes
    /// the key. `None`: the key is never taken from a job that has not ended.
    pub stale_after: Option<Duration>,
}

/// A job, without its input and output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The id of the job.
    pub id: JobId,
    /// The id of the job at the top of the tree, which a client submitted. It equals `id` for that job itself.
    pub root: JobId,
    /// The id of the job that submitted this one. `None` for the root of a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// The name of the task.
    pub task: String,
    /// Whether the job runs the whole task, its function alone, or a step of a workflow run.
    pub kind: JobKind,
    /// The function of the task that runs next: the first one, or the join.
    pub phase: Phase,
    /// The current state.
    pub state: State,
    /// The current attempt, starting at 1. It only ever increases, so messages and results of older attempts are
    /// recognized as stale.
    pub attempt: u32,
    /// The number of attempts that do not count against the retries: those of an earlier phase, those before a
    /// resume, and those that cost nothing, such as a parked input.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uncounted_attempts: u32,
    /// The priority, from 0 to 9. Jobs with a higher priority run first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: u8,
    /// The worker that runs the current attempt, or ran the last one. `None` before the first claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The time at which the job was submitted.
    pub created: Timestamp,
    /// The time at which the first attempt was claimed. `None` before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The time at which the job ended. `None` until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The time at which the next attempt is due. Set only while the job is retrying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The reason why the job failed, or why its last attempt did. `None` if nothing has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The first address to which the outcome is sent; [`Job::replies`] has all of them. `None` if no client waits
    /// for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyTo>,
    /// The counts of the jobs below this one, and how their ends affect it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tree: Tree,
    /// The hooks to run when the job has ended, and further reply addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Box<StoredHooks>>,
    /// The additional role of the job, such as a workflow run or a schedule. `None` for a plain call of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Box<JobRole>>,
    /// The fingerprints of the schemas that the input and the parts were made for, as far as they are known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schemas: SchemaIds,
    /// The number of times that a worker died, or lost its connection, while it ran the current attempt.
    #[serde(default, skip_serializing_if = "is_default")]
    pub losses: u32,
    /// The unique key that the job took when it was submitted. `None` if it was submitted without one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shared_text")]
    pub unique_key: Option<Arc<str>>,
}

/// A consequence of a state transition, which the store records in the same transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a message that runs a phase of the job.
    Dispatch {
        /// The function to run.
        phase: Phase,
        /// The attempt that the message is for.
        attempt: u32,
        /// The earliest time at which the message is sent. `None`: at once.
        due: Option<Timestamp>,
    },
    /// Send the outcome to every reply address.
    Reply,
    /// Notify the jobs above this one and its followers that it has ended.
    Ended,
    /// Notify the jobs above this one that it is no longer ended.
    Reopened {
        /// The final state that the job had before.
        was: State,
    },
    /// Run the hooks selected by this bit mask.
    Hooks(u32),
    /// Publish an event to the listeners.
    Emit(EventKind),
}

/// The result of [`Job::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobClaim {
    /// The attempt is marked as running: run it.
    Granted,
    /// The job has ended, or waits for its parts: run nothing.
    Ended,
    /// The message is from an older attempt: run nothing.
    Stale,
}

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptOutcome {
    /// The function returned. The store keeps its output.
    Succeeded,
    /// The function failed. Another attempt follows if `retry_at` is set.
    Failed {
        /// The reason.
        failure: Failure,
        /// The time at which the next attempt is due. `None` if there is none.
        retry_at: Option<Timestamp>,
    },
    /// The input does not fit this version of the task, but may fit another one. It is tried again at `retry_at`, and
    /// the attempt does not count.
    Parked {
        /// The failure, which describes the difference.
        failure: Failure,
        /// The time of the next try.
        retry_at: Timestamp,
    },
    /// The worker had to stop before the attempt ended. The attempt does not count.
    Interrupted,
}

/// The result of [`Job::end_attempt`].
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptEnd {
    /// The outcome was recorded, with these effects.
    Applied(Vec<Effect>),
    /// The attempt is an older one, or the job has ended: nothing changed.
    Stale,
}

impl Job {
    /// Creates a job that is ready to be dispatched.
    pub fn new(id: JobId, task: impl Into<String>, created: Timestamp) -> Self {
        Self {
            id,
            root: id,
            parent: None,
            task: task.into(),
            kind: JobKind::Job,
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

    /// The number of the current attempt within its phase and since the last resume, starting at 1. The retry limit
    /// is compared with this number.
    pub const fn phase_attempt(&self) -> u32 {
        self.attempt.saturating_sub(self.uncounted_attempts)
    }

    /// Claims an attempt for a worker: marks it as running, unless it is stale or the job is not open.
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

    /// All addresses to which the outcome is sent.
    pub fn replies(&self) -> impl Iterator<Item = &ReplyTo> {
        let others = self.hooks.as_deref().map(|kept| &kept.replies[..]).unwrap_or_default();
        self.reply.iter().chain(others)
    }

    /// Adds an address to which the outcome is sent. Returns whether it is new.
    pub fn add_reply(&mut self, reply: &ReplyTo) -> bool {
        if self.replies().any(|known| known == reply) {
            return false;
        }
        if self.reply.is_none() {
            self.reply = Some(reply.clone());
            return true;
        }
        let others = &mut self.hooks.get_or_insert_default().replies;
        // The oldest address is the most likely to be abandoned.
        if others.len() >= MOST_REPLIES {
            others.remove(0);
        }
        others.push(reply.clone());
        true
    }

    /// Whether this attempt is the current one and has not ended. The state need not be [`State::Running`]: a store
    /// may lose the record of a claim, so the attempt's number alone identifies it.
    pub fn is_current(&self, phase: Phase, attempt: u32) -> bool {
        let under_way = matches!(self.state, State::Ready | State::Running | State::Retrying);
        under_way && self.phase == phase && self.attempt == attempt
    }

    /// Records how an attempt ended, unless it is stale.
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

    /// Schedules the next attempt.
    fn schedule_retry(&mut self, phase: Phase, due: Timestamp) -> Vec<Effect> {
        self.state = State::Retrying;
        self.losses = 0;
        self.attempt += 1;
        self.due = Some(due);
        let dispatch = Effect::Dispatch { phase, attempt: self.attempt, due: Some(due) };
        vec![Effect::Emit(EventKind::Retrying), dispatch]
    }

    /// Makes the job wait for its parts, once the split has yielded the last one. [`State::Ready`] is allowed too:
    /// another worker with the same attempt, which had been superseded, may have given it back in the meantime.
    pub fn wait_for_parts(&mut self) {
        if matches!(self.state, State::Ready | State::Running) && self.phase == Phase::Start {
            self.state = State::Waiting;
            self.failure = None;
        }
    }

    /// Decides what follows once every part has ended: the join, or the final state.
    pub fn on_parts_completed(&mut self, head: &Head, counts: Counts, now: Timestamp) -> Vec<Effect> {
        if self.state != State::Waiting || self.own_work_ended() {
            return Vec::new();
        }
        let effects = if self.tree.cancel_mode.is_some() {
            self.finish(State::Cancelled, now)
        } else if head.has_join {
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

    /// Dispatches the job again because its last message is lost. The new message carries a new attempt, which does
    /// not count, so that the lost message changes nothing if it turns up after all.
    pub fn resend(&mut self) -> Vec<Effect> {
        self.attempt += 1;
        self.uncounted_attempts += 1;
        if !matches!(self.state, State::Ready | State::Running | State::Retrying) {
            return Vec::new();
        }
        // A running job is only resent if its worker has died, so that counts as a loss.
        self.losses += u32::from(self.state == State::Running);
        (self.state, self.due) = (State::Ready, None);
        vec![Effect::Dispatch { phase: self.phase, attempt: self.attempt, due: None }]
    }

    /// Cancels the job immediately. Returns the effects, or `None` if the job had already ended.
    pub fn cancel(&mut self, now: Timestamp) -> Option<Vec<Effect>> {
        (!self.state.is_final()).then(|| {
            self.request_cancel(CancelMode::Immediate);
            self.finish(State::Cancelled, now)
        })
    }

    /// Resumes a job that failed or was cancelled: runs `phase` as a new attempt.
    ///
    /// With `parts_first` the job is [`State::Waiting`] until its unfinished parts have run. A job that is open or
    /// has succeeded stays unchanged.
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
