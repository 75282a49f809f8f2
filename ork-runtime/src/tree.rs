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
pub enum CancelMode {
    /// What has not begun; the rest is brought to its end.
    Graceful,
    /// All of it.
    Immediate,
}

/// What a job knows of the jobs below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tree {
    /// How many jobs there are below it, on every level.
    pub descendants: u64,
    /// How many of these have ended.
    pub descendants_ended: u64,
    /// How many of its own children have not ended.
    pub open_children: u64,
    /// How many of its own children failed.
    pub failed_children: u64,
    /// How many of its own children were cancelled.
    pub cancelled_children: u64,
    /// How its own work ended, once it has and there are jobs below it.
    pub verdict: Option<State>,
    /// Set when it was interrupted: nothing below it begins any more.
    pub cancel_mode: Option<CancelMode>,
    /// Whether other jobs begin when it has ended.
    pub has_followers: bool,
}

impl Tree {
    /// Whether it knows nothing, as that of most jobs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Job {
    /// Whether its own work has ended, even if jobs below it have not.
    pub const fn own_work_ended(&self) -> bool {
        self.state.is_final() || (matches!(self.state, State::Waiting) && self.tree.verdict.is_some())
    }

    /// Whether it can have further children.
    pub const fn accepts_children(&self) -> bool {
        !self.own_work_ended() && self.tree.cancel_mode.is_none()
    }

    /// Its own work has ended so: it ends, once no child of it is open.
    pub(crate) fn finish(&mut self, own: State, now: Timestamp) -> Vec<Effect> {
        self.due = None;
        if self.tree.open_children > 0 && !mutant::is_on(Mutant::EndsBeforeChildren) {
            (self.state, self.tree.verdict) = (State::Waiting, Some(own));
            return Vec::new();
        }
        self.end(own, now)
    }

    /// A child of it has ended in this state.
    pub(crate) fn child_ended(&mut self, child: State, now: Timestamp) -> Vec<Effect> {
        self.tree.open_children = self.tree.open_children.saturating_sub(1);
        *self.child_count(child) += u64::from(child != State::Succeeded);
        match (self.state, self.tree.verdict) {
            (State::Waiting, Some(own)) if self.tree.open_children == 0 => self.end(own, now),
            _ => Vec::new(),
        }
    }

    /// A child of it that had ended in this state goes on. It goes on, too, if it has not ended for reasons of its own.
    pub(crate) fn child_reopened(&mut self, child: State) -> Vec<Effect> {
        self.tree.open_children += 1;
        let counted = self.child_count(child);
        *counted = counted.saturating_sub(u64::from(child != State::Succeeded));
        // The own work of a run is its tasks.
        let is_run = self.workflow_run().is_some();
        let because_of_children = matches!(self.state, State::Failed | State::Cancelled)
            && (is_run || self.tree.verdict == Some(State::Succeeded))
            && self.tree.cancel_mode.is_none();
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
    pub(crate) fn request_cancel(&mut self, mode: CancelMode) {
        if self.tree.cancel_mode != Some(CancelMode::Immediate) {
            self.tree.cancel_mode = Some(mode);
        }
    }

    /// The children of a job that ended well have, too, by now: what was cancelled because of it was taken up.
    pub(crate) fn reevaluate(&mut self) {
        if self.tree.failed_children + self.tree.cancelled_children == 0 && self.tree.verdict == Some(State::Succeeded)
        {
            (self.state, self.failure) = (State::Succeeded, None);
        }
    }

    fn end(&mut self, own: State, now: Timestamp) -> Vec<Effect> {
        self.tree.verdict = (self.tree.descendants > 0).then_some(own);
        self.state = self.final_state(own);
        if self.state == State::Failed && own != State::Failed {
            let message = format!("{} of the jobs it submitted failed", self.tree.failed_children);
            self.failure = Some(Failure::new(FailureKind::Children, message));
        }
        self.ended = Some(now);
        if let Some(run) = self.workflow_run_mut() {
            run.skip_waiting();
        }
        let event_follows = self.parent.is_some() || self.tree.has_followers;
        let ended = event_follows.then_some(Effect::Ended);
        let reply = self.reply.as_ref().map(|_| Effect::Reply);
        let which = self.hooks.as_mut().map_or(0, |hooks| hooks.take_due(self.state == State::Succeeded));
        let hooks = (which != 0).then_some(Effect::Hooks(which));
        let event = Some(Effect::Emit(EventKind::of_end(self.state)));
        [event, ended, reply, hooks].into_iter().flatten().collect()
    }

    fn final_state(&self, own: State) -> State {
        // A run says itself which of its tasks count.
        let well = own == State::Succeeded && self.workflow_run().is_none();
        if self.tree.cancel_mode.is_some() || (well && self.tree.cancelled_children > 0) {
            State::Cancelled
        } else if well && self.tree.failed_children > 0 {
            State::Failed
        } else {
            own
        }
    }

    /// Where children are counted that ended in this state, if not well.
    const fn child_count(&mut self, child: State) -> &mut u64 {
        if matches!(child, State::Cancelled) {
            &mut self.tree.cancelled_children
        } else {
            &mut self.tree.failed_children
        }
    }
}
