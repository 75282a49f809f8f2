//! Trees of jobs: what a job records about the jobs below it, and how its end waits for theirs. Pure code.
//!
//! A job ends when its own work has ended and none of its children is open. Children end in the same way, so the root
//! ends last. The counts are updated by the transactions that change the state of a job below. As a job ends only
//! once, it is counted once.

#![warn(clippy::wildcard_enum_match_arm)]

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::kind::EventKind;
use crate::failure::{Failure, FailureKind};
use crate::job::{Effect, Job, State};
use crate::mutant::{self, Mutant};

/// The maximum depth of a tree. It is limited because the end of a job is counted on every level above it.
pub const DEEPEST: usize = 64;

/// The work that is stopped when a job is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CancelMode {
    /// Work that has not started is stopped. Running calls may finish.
    Graceful,
    /// All work is stopped, including running calls.
    Immediate,
}

/// The counts and flags that a job keeps about the jobs below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tree {
    /// The number of jobs below this one, on all levels.
    pub descendants: u64,
    /// The number of jobs below this one that have ended.
    pub descendants_ended: u64,
    /// The number of direct children that have not ended.
    pub open_children: u64,
    /// The number of direct children that failed.
    pub failed_children: u64,
    /// The number of direct children that were cancelled.
    pub cancelled_children: u64,
    /// The state in which the job's own work ended. Set once that has happened, for a job with jobs below it.
    pub verdict: Option<State>,
    /// Set when the job was cancelled: nothing below it starts any more.
    pub cancel_mode: Option<CancelMode>,
    /// Whether followers start when the job has ended.
    pub has_followers: bool,
}

impl Tree {
    /// Whether the tree has its default values, as for most jobs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Job {
    /// Whether the job's own work has ended, even if jobs below it are still open.
    pub const fn own_work_ended(&self) -> bool {
        self.state.is_final() || (matches!(self.state, State::Waiting) && self.tree.verdict.is_some())
    }

    /// Whether the job may submit further children.
    pub const fn accepts_children(&self) -> bool {
        !self.own_work_ended() && self.tree.cancel_mode.is_none()
    }

    /// Records how the job's own work ended. The job itself ends now, or once none of its children is open.
    pub fn finish(&mut self, own: State, now: Timestamp) -> Vec<Effect> {
        self.due = None;
        if self.tree.open_children > 0 && !mutant::is_on(Mutant::EndsBeforeChildren) {
            (self.state, self.tree.verdict) = (State::Waiting, Some(own));
            return Vec::new();
        }
        self.end(own, now)
    }

    /// Records that a child has ended in this state.
    pub fn child_ended(&mut self, child: State, now: Timestamp) -> Vec<Effect> {
        self.tree.open_children = self.tree.open_children.saturating_sub(1);
        *self.child_count(child) += u64::from(child != State::Succeeded);
        match (self.state, self.tree.verdict) {
            (State::Waiting, Some(own)) if self.tree.open_children == 0 => self.end(own, now),
            _ => Vec::new(),
        }
    }

    /// Records that a child, which had ended in state `child`, is open again. The job itself is reopened if it had
    /// ended only because of its children.
    pub fn child_reopened(&mut self, child: State) -> Vec<Effect> {
        self.tree.open_children += 1;
        let counted = self.child_count(child);
        *counted = counted.saturating_sub(u64::from(child != State::Succeeded));
        // The own work of a workflow run is its steps.
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

    /// Reopens a job that had ended, in this state.
    pub fn reopen(&mut self, state: State) -> Vec<Effect> {
        let was = std::mem::replace(&mut self.state, state);
        (self.ended, self.failure) = (None, None);
        self.parent.iter().map(|_| Effect::Reopened { was }).collect()
    }

    /// Marks the job as cancelled, so that nothing below it starts any more. The caller decides whether its own work
    /// continues.
    pub fn request_cancel(&mut self, mode: CancelMode) {
        if self.tree.cancel_mode != Some(CancelMode::Immediate) {
            self.tree.cancel_mode = Some(mode);
        }
    }

    /// Sets the final state to succeeded if the job's own work and all of its children have succeeded in the
    /// meantime. The children that were cancelled because of this job have been resumed since.
    pub fn reevaluate(&mut self) {
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
        // A workflow run decides itself which of its steps count.
        let succeeds_alone = own == State::Succeeded && self.workflow_run().is_none();
        if self.tree.cancel_mode.is_some() || (succeeds_alone && self.tree.cancelled_children > 0) {
            State::Cancelled
        } else if succeeds_alone && self.tree.failed_children > 0 {
            State::Failed
        } else {
            own
        }
    }

    /// The counter of the children that ended in this state, which is not [`State::Succeeded`].
    const fn child_count(&mut self, child: State) -> &mut u64 {
        if matches!(child, State::Cancelled) {
            &mut self.tree.cancelled_children
        } else {
            &mut self.tree.failed_children
        }
    }
}
