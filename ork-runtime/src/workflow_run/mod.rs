//! The flow of a run: which tasks of its workflow have ended, and which begin next. Pure.
//!
//! It is changed by the transaction in which the job of a task ends, so that what follows is owed with that end.

#![warn(clippy::wildcard_enum_match_arm)]

use ork_workflow::{OnFailure, Plan, Runs};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::JobId;
use crate::job::{Effect, Job, State};
use crate::mutant::{self, Mutant};
use crate::role::JobRole;

/// The task that begins the runs of workflows.
pub const RUN: &str = "ork.run";
/// The task that starts others by the clock.
pub const SCHEDULE: &str = "ork.schedule";
/// The task that runs functions in Python files.
pub const PYTHON: &str = "ork.python";
/// The task that runs programs.
pub const PROCESS: &str = "ork.process";

/// How far a task of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Tasks that it needs have not ended.
    Waiting,
    /// Its job is there.
    Started,
    /// Its job ended well.
    Succeeded,
    /// Its job failed.
    Failed,
    /// Its job was cancelled.
    Cancelled,
    /// A task that it needs did not succeed, so it never runs.
    Skipped,
}

impl StepState {
    /// Whether it has ended, for now.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped => true,
            Self::Waiting | Self::Started => false,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Started => "begun",
            Self::Succeeded => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// One task of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunStep {
    /// Its name in the workflow.
    pub name: String,
    /// The task that its job is of.
    pub task: String,
    /// The places of those that must have ended; all of them are before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<usize>,
    /// Whether it runs even if one of those did not succeed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_on_failure: bool,
    /// How far it is.
    pub state: StepState,
    /// Why it failed, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How often it was begun anew, because one that it needs was taken up after it had begun; each time with a job
    /// of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Whether one that it needs was taken up since it has begun, so that it begins anew once it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl RunStep {
    /// A step that waits, of this task and with this name.
    pub const fn new(name: String, task: String) -> Self {
        let state = StepState::Waiting;
        Self { name, task, needs: Vec::new(), run_on_failure: false, state, why: None, restarts: 0, stale: false }
    }

    /// The id of its job in this run, which is there once it has begun; always the same one until it begins anew.
    pub fn job(&self, run: JobId) -> JobId {
        match self.restarts {
            0 => run.below(format!("task {}", self.name).as_bytes()),
            restarts => run.below(format!("task {} #{restarts}", self.name).as_bytes()),
        }
    }

    /// What it is given has changed: it begins anew, at once or after the end of the one that is under way.
    const fn restart(&mut self) {
        match self.state {
            StepState::Waiting => {}
            StepState::Skipped => self.state = StepState::Waiting,
            StepState::Started => self.stale = true,
            StepState::Succeeded | StepState::Failed | StepState::Cancelled => {
                (self.state, self.stale) = (StepState::Waiting, false);
                self.restarts += 1;
            }
        }
    }
}

/// The tasks of a run; each one stands after those it needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkflowRun {
    /// The workflow's name.
    pub workflow: String,
    /// Its tasks.
    pub steps: Vec<RunStep>,
}

/// A plan that no checker has made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {at} of the plan, `{name}`, needs task {needs}, which does not stand before it")]
pub struct UnorderedPlan {
    at: usize,
    name: String,
    needs: usize,
}

/// No more is kept of why a task failed; its job has all of it.
const LONGEST: usize = 200;

impl WorkflowRun {
    /// A run of this plan that has not begun.
    ///
    /// # Errors
    /// When a task needs one that does not stand before it.
    pub fn of(plan: &Plan) -> Result<Self, UnorderedPlan> {
        let mut steps = Vec::with_capacity(plan.tasks.len());
        for (at, step) in plan.tasks.iter().enumerate() {
            if let Some(needs) = step.needs.iter().copied().find(|needs| *needs >= at) {
                return Err(UnorderedPlan { at, name: step.name.clone(), needs });
            }
            let task = match &step.runs {
                Runs::Rust { task } => task,
                Runs::Python { .. } => PYTHON,
                Runs::Process { .. } => PROCESS,
            };
            steps.push(RunStep {
                needs: step.needs.clone(),
                run_on_failure: step.on_failure == OnFailure::Run,
                ..RunStep::new(step.name.clone(), task.to_owned())
            });
        }
        Ok(Self { workflow: plan.name.clone(), steps })
    }

    /// The jobs that a retry of this run takes up, one after the other: those of the tasks that did not end well.
    pub fn unsuccessful_jobs(&self, run: JobId) -> Vec<JobId> {
        let unsuccessful_jobs =
            self.steps.iter().filter(|step| matches!(step.state, StepState::Failed | StepState::Cancelled));
        unsuccessful_jobs.map(|step| step.job(run)).collect()
    }

    /// The jobs of the tasks that have begun and not ended.
    pub(crate) fn begun(&self, run: JobId) -> Vec<JobId> {
        self.steps.iter().filter(|step| step.state == StepState::Started).map(|step| step.job(run)).collect()
    }

    /// The tasks that begin now; those that never will are skipped.
    pub(crate) fn begin(&mut self) -> Vec<usize> {
        let mut begun = Vec::new();
        for at in 0..self.steps.len() {
            let (before, from) = self.steps.split_at_mut(at);
            let Some(step) = from.first_mut().filter(|step| step.state == StepState::Waiting) else { continue };
            let mut needs = step.needs.iter().filter_map(|needs| before.get(*needs)).map(|step| step.state);
            let all_ended = mutant::is_on(Mutant::BeginsTasksEarly) || needs.clone().all(StepState::is_final);
            // What was skipped did not succeed, so this goes down to the last one in one pass.
            if needs.any(|state| state.is_final() && state != StepState::Succeeded) && !step.run_on_failure {
                step.state = StepState::Skipped;
            } else if all_ended {
                step.state = StepState::Started;
                begun.push(at);
            }
        }
        begun
    }

    /// The job of a task has ended so.
    pub(crate) fn ended(&mut self, at: usize, state: State, failure: Option<&Failure>) {
        let Some(step) = self.steps.get_mut(at) else { return };
        let line =
            |failure: &Failure| failure.message.lines().next().unwrap_or_default().chars().take(LONGEST).collect();
        step.why = failure.filter(|_| state == State::Failed).map(line);
        step.state = match state {
            State::Succeeded => StepState::Succeeded,
            State::Failed => StepState::Failed,
            State::Cancelled => StepState::Cancelled,
            State::Ready | State::Running | State::Retrying | State::Waiting => return,
        };
        if step.stale {
            step.restart();
        }
    }

    /// The job of a task that had ended goes on: what was skipped may run after all, and what ran without what this one
    /// returns runs anew with it.
    pub(crate) fn reopened(&mut self, at: usize) {
        self.unskip();
        let mut goes_on = vec![false; self.steps.len()];
        for (place, step) in self.steps.iter_mut().enumerate() {
            let rests_on_it = step.needs.iter().any(|needs| goes_on.get(*needs) == Some(&true));
            if place == at {
                step.state = StepState::Started;
            } else if rests_on_it {
                step.restart();
            }
            if let Some(goes_on) = goes_on.get_mut(place) {
                *goes_on = place == at || rests_on_it;
            }
        }
    }

    /// What was skipped waits again.
    pub(crate) fn unskip(&mut self) {
        let skipped = self.steps.iter_mut().filter(|step| step.state == StepState::Skipped);
        skipped.for_each(|step| step.state = StepState::Waiting);
    }

    /// What has not begun when the run ends never will, unless it is taken up.
    pub(crate) fn skip_waiting(&mut self) {
        let waiting = self.steps.iter_mut().filter(|step| step.state == StepState::Waiting);
        waiting.for_each(|step| step.state = StepState::Skipped);
    }

    /// How the run ends, and why not well; `None` as long as it goes on.
    pub(crate) fn verdict(&self) -> Option<(State, Option<Failure>)> {
        if !self.steps.iter().all(|step| step.state.is_final()) {
            return None;
        }
        let of = |state| self.steps.iter().filter(move |step| step.state == state);
        let skipped = match of(StepState::Skipped).count() {
            0 => String::new(),
            1 => ", and 1 was skipped".into(),
            n => format!(", and {n} were skipped"),
        };
        Some(match (of(StepState::Failed).next(), of(StepState::Cancelled).next()) {
            (Some(first), _) => {
                let (n, all) = (of(StepState::Failed).count(), self.steps.len());
                let why = first.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let message = match n {
                    1 => format!("1 of {all} tasks failed{skipped}; `{}`{why}", first.name),
                    n => format!("{n} of {all} tasks failed{skipped}; the first one is `{}`{why}", first.name),
                };
                (State::Failed, Some(Failure::new(FailureKind::Children, message)))
            }
            (None, Some(_)) => (State::Cancelled, None),
            (None, None) => (State::Succeeded, None),
        })
    }
}

impl Job {
    /// The place and the name of the task that it is in its run.
    pub fn step(&self) -> Option<(usize, &str)> {
        match self.role.as_deref()? {
            JobRole::Step { at, name } => Some((*at, name)),
            JobRole::Workflow(_) | JobRole::Schedule(_) | JobRole::Untrusted => None,
        }
    }

    /// The flow, if it is a run that has begun.
    pub fn workflow_run(&self) -> Option<&WorkflowRun> {
        match self.role.as_deref()? {
            JobRole::Workflow(run) => Some(run),
            JobRole::Step { .. } | JobRole::Schedule(_) | JobRole::Untrusted => None,
        }
    }

    pub(crate) fn workflow_run_mut(&mut self) -> Option<&mut WorkflowRun> {
        match self.role.as_deref_mut()? {
            JobRole::Workflow(run) => Some(run),
            JobRole::Step { .. } | JobRole::Schedule(_) | JobRole::Untrusted => None,
        }
    }

    /// If this is a run, and that is the job of one of its tasks: the one that counts now. It is another one if the
    /// task has begun anew, or is about to.
    pub(crate) fn counted(&self, task: &Self) -> Option<(usize, JobId)> {
        let (at, _) = task.step()?;
        Some((at, self.workflow_run()?.steps.get(at)?.job(self.id)))
    }

    /// Begins a claimed run, or goes on with it: from now on it waits for its tasks.
    pub(crate) fn wait_for_steps(&mut self, run: &WorkflowRun) {
        match self.workflow_run_mut() {
            Some(run) => run.unskip(),
            None => self.role = Some(Box::new(JobRole::Workflow(run.clone()))),
        }
        (self.state, self.failure) = (State::Waiting, None);
    }

    /// The tasks that begin now, if it is a run that goes on.
    pub(crate) fn start_ready_steps(&mut self) -> Vec<usize> {
        let goes_on = self.state == State::Waiting && self.accepts_children();
        self.workflow_run_mut().filter(|_| goes_on).map(WorkflowRun::begin).unwrap_or_default()
    }

    /// Ends a run whose last task has ended, or whose tasks have, if it was interrupted.
    pub(crate) fn end_workflow(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.state != State::Waiting || self.own_work_ended() {
            return Vec::new();
        }
        let verdict = match (self.workflow_run().and_then(WorkflowRun::verdict), self.tree.cancel_mode) {
            (_, Some(_)) if self.tree.open_children == 0 => Some((State::Cancelled, None)),
            (verdict, _) => verdict,
        };
        let Some((state, failure)) = verdict else { return Vec::new() };
        self.failure = failure;
        self.finish(state, now)
    }
}

#[cfg(test)]
mod tests;
