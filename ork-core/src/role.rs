//! The role of a job that is more than a plain call of its task: a workflow run, a step of one, or a schedule.

use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleState;
use crate::workflow_run::WorkflowRun;

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
