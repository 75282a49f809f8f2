//! Trees of jobs: what a job knows of the jobs below it, and how its end waits for theirs. Pure.
//!
//! A job ends when its own work has ended and no child of it is open; a child ends the same way, so a root ends last.
//! The numbers are kept by the transactions that change the state of a job below: each counts once, as a job ends once.

#![warn(clippy::wildcard_enum_match_arm)]

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::failure::{Failure, FailureKind};
use crate::job::{Effect, Job, State};
use crate::mutant::{self, Mutant};

/// No tree is deeper: whoever ends in it is counted on every level above.
pub const DEEPEST: usize = 64;

/// Which work below an interrupted job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// What has not begun; the rest is brought to its end.
    Pending,
    /// All of it.
    All,
}

/// What a job knows of the jobs below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tree {
    /// How many jobs there are below it, on every level.
    pub made: u64,
    /// How many of these have ended.
    pub ended: u64,
    /// How many of its own children have not ended.
    pub open: u64,
    /// How many of its own children failed.
    pub failed: u64,
    /// How many of its own children were cancelled.
    pub cancelled: u64,
    /// How its own work ended, once it has and there are jobs below it.
    pub verdict: Option<State>,
    /// Set when it was interrupted: nothing below it begins any more.
    pub interrupted: Option<Stop>,
    /// Whether other jobs begin when it has ended.
    pub awaited: bool,
}

impl Tree {
    /// Whether it knows nothing, as that of most jobs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Job {
    /// Whether its own work has ended, even if jobs below it have not.
    pub const fn is_over(&self) -> bool {
        self.state.is_final() || (matches!(self.state, State::Waiting) && self.tree.verdict.is_some())
    }

    /// Whether it can have further children.
    pub const fn takes_children(&self) -> bool {
        !self.is_over() && self.tree.interrupted.is_none()
    }

    /// Its own work has ended so: it ends, once no child of it is open.
    pub(crate) fn finish(&mut self, own: State, now: Timestamp) -> Vec<Effect> {
        self.due = None;
        if self.tree.open > 0 && !mutant::is_on(Mutant::EndsBeforeChildren) {
            (self.state, self.tree.verdict) = (State::Waiting, Some(own));
            return Vec::new();
        }
        self.end(own, now)
    }

    /// A child of it has ended in this state.
    pub(crate) fn child_ended(&mut self, child: State, now: Timestamp) -> Vec<Effect> {
        self.tree.open = self.tree.open.saturating_sub(1);
        *self.not_ok(child) += u64::from(child != State::Success);
        match (self.state, self.tree.verdict) {
            (State::Waiting, Some(own)) if self.tree.open == 0 => self.end(own, now),
            _ => Vec::new(),
        }
    }

    /// A child of it that had ended in this state goes on. It goes on, too, if it has not ended for reasons of its own.
    pub(crate) fn child_reopened(&mut self, child: State) -> Vec<Effect> {
        self.tree.open += 1;
        let counted = self.not_ok(child);
        *counted = counted.saturating_sub(u64::from(child != State::Success));
        // The own work of a run is its tasks.
        let is_run = self.run().is_some();
        let because_of_children = matches!(self.state, State::Failed | State::Cancelled)
            && (is_run || self.tree.verdict == Some(State::Success))
            && self.tree.interrupted.is_none();
        if !because_of_children {
            return Vec::new();
        }
        if is_run {
            self.tree.verdict = None;
        }
        self.reopen(State::Waiting)
    }

    /// It had ended, and goes on in this state.
    pub(crate) fn reopen(&mut self, state: State) -> Vec<Effect> {
        let was = std::mem::replace(&mut self.state, state);
        (self.ended, self.failure) = (None, None);
        self.parent.iter().map(|_| Effect::Reopened { was }).collect()
    }

    /// Interrupts it: nothing below it begins any more. Whether its own work goes on is not decided here.
    pub(crate) fn interrupt(&mut self, stop: Stop) {
        if self.tree.interrupted != Some(Stop::All) {
            self.tree.interrupted = Some(stop);
        }
    }

    /// The children of a job that ended well have, too, by now: what was cancelled because of it was taken up.
    pub(crate) fn judge_again(&mut self) {
        if self.tree.failed + self.tree.cancelled == 0 && self.tree.verdict == Some(State::Success) {
            (self.state, self.failure) = (State::Success, None);
        }
    }

    fn end(&mut self, own: State, now: Timestamp) -> Vec<Effect> {
        self.tree.verdict = (self.tree.made > 0).then_some(own);
        self.state = self.judge(own);
        if self.state == State::Failed && own != State::Failed {
            let words = format!("{} of the jobs it submitted failed", self.tree.failed);
            self.failure = Some(Failure::new(FailureKind::Children, words));
        }
        self.ended = Some(now);
        if let Some(flow) = self.run_mut() {
            flow.skip_the_rest();
        }
        let told = self.parent.is_some() || self.tree.awaited;
        let ended = told.then_some(Effect::Ended);
        let reply = self.reply.as_ref().map(|_| Effect::Reply);
        let which = self.hooks.as_mut().map_or(0, |hooks| hooks.owe(self.state == State::Success));
        let hooks = (which != 0).then_some(Effect::Hooks(which));
        let event = Some(Effect::Told(EventKind::of_end(self.state)));
        [event, ended, reply, hooks].into_iter().flatten().collect()
    }

    fn judge(&self, own: State) -> State {
        // A run says itself which of its tasks count.
        let well = own == State::Success && self.run().is_none();
        if self.tree.interrupted.is_some() || (well && self.tree.cancelled > 0) {
            State::Cancelled
        } else if well && self.tree.failed > 0 {
            State::Failed
        } else {
            own
        }
    }

    /// Where children are counted that ended in this state, if not well.
    const fn not_ok(&mut self, child: State) -> &mut u64 {
        if matches!(child, State::Cancelled) { &mut self.tree.cancelled } else { &mut self.tree.failed }
    }
}
