//! The state of a workflow run: which of its steps have ended, and which start next. Pure code.
//!
//! It is updated in the transaction that ends the job of a step, so the steps that follow are enqueued together with
//! that end.

#![warn(clippy::wildcard_enum_match_arm)]

use ork_workflow::{OnFailure, Plan, Runs};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failure::{Failure, FailureKind};
use crate::id::JobId;
use crate::job::{Effect, Job, State};
use crate::mutant::{self, Mutant};

/// The task that starts workflow runs.
pub const RUN: &str = "ork.run";
/// The task that starts other jobs at scheduled times.
pub const SCHEDULE: &str = "ork.schedule";
/// The task that runs functions in Python files.
pub const PYTHON: &str = "ork.python";
/// The task that runs programs.
pub const PROCESS: &str = "ork.process";

/// The state of a step in a workflow run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// The steps that it needs have not all ended.
    Waiting,
    /// The job of the step exists and has not ended.
    Started,
    /// The job of the step succeeded.
    Succeeded,
    /// The job of the step failed.
    Failed,
    /// The job of the step was cancelled.
    Cancelled,
    /// A step that it needs did not succeed, so this step does not run.
    Skipped,
}

impl StepState {
    /// Whether the step has ended. It can run again if the run is resumed.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped => true,
            Self::Waiting | Self::Started => false,
        }
    }

    /// The name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// A step of a workflow run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunStep {
    /// The name of the step in the workflow.
    pub name: String,
    /// The name of the task that the step runs.
    pub task: String,
    /// The positions of the steps that must have ended before this one starts. All of them are before this step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<usize>,
    /// Whether the step runs even if a step that it needs did not succeed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub run_on_failure: bool,
    /// The current state of the step.
    pub state: StepState,
    /// The first line of the failure message. `None` unless the step failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The number of times that the step has started again because a step that it needs was resumed after this one had
    /// started. Each time it runs as a new job.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Whether a step that it needs was resumed after this one had started. This step then starts again once it has
    /// ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl RunStep {
    /// Creates a waiting step with this name, which runs this task.
    pub const fn new(name: String, task: String) -> Self {
        let state = StepState::Waiting;
        Self { name, task, needs: Vec::new(), run_on_failure: false, state, why: None, restarts: 0, stale: false }
    }

    /// Returns the id of the step's job. The job exists once the step has started. The id stays the same until the
    /// step starts again.
    pub fn job(&self, run: JobId) -> JobId {
        match self.restarts {
            0 => run.below(format!("task {}", self.name).as_bytes()),
            restarts => run.below(format!("task {} #{restarts}", self.name).as_bytes()),
        }
    }

    /// Makes the step run again because its input has changed: at once, or after the end of the job that is still
    /// running.
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

/// A workflow run: its steps, in an order in which each step comes after those that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkflowRun {
    /// The name of the workflow.
    pub workflow: String,
    /// The steps of the run.
    pub steps: Vec<RunStep>,
}

/// A plan that did not come from the workflow checker, because its steps are not in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {at} of the plan, `{name}`, needs step {needs}, which does not come before it")]
pub struct UnorderedPlan {
    at: usize,
    name: String,
    needs: usize,
}

/// The maximum length of the failure message of a step. The job of the step has the full message.
const LONGEST: usize = 200;

impl WorkflowRun {
    /// Creates a run of this plan that has not started.
    ///
    /// # Errors
    /// If a step needs a step that does not come before it.
    pub fn of(plan: &Plan) -> Result<Self, UnorderedPlan> {
        let mut steps = Vec::with_capacity(plan.steps.len());
        for (at, step) in plan.steps.iter().enumerate() {
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

    /// Returns the jobs that a retry of this run resumes, in order: those of the steps that failed or were cancelled.
    pub fn unsuccessful_jobs(&self, run: JobId) -> Vec<JobId> {
        let unsuccessful_jobs =
            self.steps.iter().filter(|step| matches!(step.state, StepState::Failed | StepState::Cancelled));
        unsuccessful_jobs.map(|step| step.job(run)).collect()
    }

    /// Returns the jobs of the steps that have started and not ended.
    pub fn started_jobs(&self, run: JobId) -> Vec<JobId> {
        self.steps.iter().filter(|step| step.state == StepState::Started).map(|step| step.job(run)).collect()
    }

    /// Starts the steps that are ready and returns their positions. Steps that can no longer run are skipped.
    pub fn begin(&mut self) -> Vec<usize> {
        let mut started = Vec::new();
        for at in 0..self.steps.len() {
            let (before, from) = self.steps.split_at_mut(at);
            let Some(step) = from.first_mut().filter(|step| step.state == StepState::Waiting) else { continue };
            let mut needs = step.needs.iter().filter_map(|needs| before.get(*needs)).map(|step| step.state);
            let all_ended = mutant::is_on(Mutant::BeginsTasksEarly) || needs.clone().all(StepState::is_final);
            // A skipped step counts as not succeeded, so a single pass skips everything that depends on it.
            if needs.any(|state| state.is_final() && state != StepState::Succeeded) && !step.run_on_failure {
                step.state = StepState::Skipped;
            } else if all_ended {
                step.state = StepState::Started;
                started.push(at);
            }
        }
        started
    }

    /// Records how the job of a step ended.
    pub fn ended(&mut self, at: usize, state: State, failure: Option<&Failure>) {
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

    /// Records that the job of a step has been resumed. Skipped steps may run after all, and steps that ran without
    /// the output of this one run again.
    pub fn reopened(&mut self, at: usize) {
        self.unskip();
        let mut reruns = vec![false; self.steps.len()];
        for (place, step) in self.steps.iter_mut().enumerate() {
            let needs_rerun = step.needs.iter().any(|needs| reruns.get(*needs) == Some(&true));
            if place == at {
                step.state = StepState::Started;
            } else if needs_rerun {
                step.restart();
            }
            if let Some(reruns) = reruns.get_mut(place) {
                *reruns = place == at || needs_rerun;
            }
        }
    }

    /// Makes the skipped steps wait again.
    pub fn unskip(&mut self) {
        let skipped = self.steps.iter_mut().filter(|step| step.state == StepState::Skipped);
        skipped.for_each(|step| step.state = StepState::Waiting);
    }

    /// Skips the steps that have not started when the run ends. Only a resume of the run can start them.
    pub fn skip_waiting(&mut self) {
        let waiting = self.steps.iter_mut().filter(|step| step.state == StepState::Waiting);
        waiting.for_each(|step| step.state = StepState::Skipped);
    }

    /// Returns the final state of the run and the failure, or `None` while steps are still open.
    pub fn verdict(&self) -> Option<(State, Option<Failure>)> {
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
    /// If this job is a workflow run and `task` is the job of one of its steps, returns the position of the step and
    /// the id of the job that counts for it. That is another job if the step has started again or is about to.
    pub fn counted(&self, task: &Self) -> Option<(usize, JobId)> {
        let (at, _) = task.step()?;
        Some((at, self.workflow_run()?.steps.get(at)?.job(self.id)))
    }

    /// Starts or resumes a claimed run, which then waits for its steps.
    pub fn wait_for_steps(&mut self, run: &WorkflowRun) {
        match self.workflow_run_mut() {
            Some(run) => run.unskip(),
            None => self.set_workflow_run(run.clone()),
        }
        (self.state, self.failure) = (State::Waiting, None);
    }

    /// Starts the steps that are ready and returns their positions. Returns none if the job is not a run that can
    /// continue.
    pub fn start_ready_steps(&mut self) -> Vec<usize> {
        let can_continue = self.state == State::Waiting && self.accepts_children();
        self.workflow_run_mut().filter(|_| can_continue).map(WorkflowRun::begin).unwrap_or_default()
    }

    /// Ends the run if its last step has ended or, after it was cancelled, if none of its jobs is open.
    pub fn end_workflow(&mut self, now: Timestamp) -> Vec<Effect> {
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
