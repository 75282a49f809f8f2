//! The role of a job that is more than a plain call of its task: a workflow run, a step of one, or a schedule.

use serde::{Deserialize, Serialize};

use super::Job;
use super::workflow_run::WorkflowRun;
use crate::clock::Timestamp;
use crate::id::JobId;

/// The role of a job that is more than a plain call of its task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobRole {
    /// The job is a workflow run.
    Workflow(WorkflowRun),
    /// The job is a step of the workflow run above it.
    Step {
        /// The position of the step in the plan.
        at: usize,
        /// The name of the step.
        name: String,
    },
    /// The job is a schedule, which starts other jobs at scheduled times.
    Schedule(ScheduleState),
    /// The job is a workflow run or schedule that arrived through a broker, from a sender that may only run the tasks
    /// of the program.
    Untrusted,
}

/// The state of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScheduleState {
    /// The next scheduled time. `None` before the first time is known, and while the schedule is paused.
    pub next: Option<Timestamp>,
    /// The id of the job that the schedule started last. `None` if it has not started any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<JobId>,
    /// Whether the schedule is paused, so that it starts no jobs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

impl Job {
    /// The position and the name of the step that the job runs, if it runs one.
    pub fn step(&self) -> Option<(usize, &str)> {
        match self.role.as_deref()? {
            JobRole::Step { at, name } => Some((*at, name)),
            JobRole::Workflow(_) | JobRole::Schedule(_) | JobRole::Untrusted => None,
        }
    }

    /// The state of the workflow run, if the job is a run that has started.
    pub fn workflow_run(&self) -> Option<&WorkflowRun> {
        match self.role.as_deref()? {
            JobRole::Workflow(run) => Some(run),
            JobRole::Step { .. } | JobRole::Schedule(_) | JobRole::Untrusted => None,
        }
    }

    /// Returns the state of the workflow run that this job is; `None` if it is none.
    pub fn workflow_run_mut(&mut self) -> Option<&mut WorkflowRun> {
        match self.role.as_deref_mut()? {
            JobRole::Workflow(run) => Some(run),
            JobRole::Step { .. } | JobRole::Schedule(_) | JobRole::Untrusted => None,
        }
    }

    /// Makes the job a workflow run in this state.
    pub(super) fn set_workflow_run(&mut self, run: WorkflowRun) {
        self.role = Some(Box::new(JobRole::Workflow(run)));
    }

    /// The state of the schedule, if the job is a schedule that has started.
    pub fn schedule_state(&self) -> Option<&ScheduleState> {
        match self.role.as_deref()? {
            JobRole::Schedule(state) => Some(state),
            JobRole::Workflow(_) | JobRole::Step { .. } | JobRole::Untrusted => None,
        }
    }
}
