//! What a job is besides a call of its task: a run of a workflow, one of its tasks, a schedule.

use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleState;
use crate::workflow_run::WorkflowRun;

/// What a job is besides a call of its task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobRole {
    /// A run of a workflow.
    Workflow(WorkflowRun),
    /// A task of the run above it.
    Step {
        /// The task's place in the plan.
        at: usize,
        /// Its name.
        name: String,
    },
    /// It starts others by the clock.
    Schedule(ScheduleState),
    /// A run or a schedule that came over a broker, from somebody who is trusted with no more than the tasks of the program.
    Untrusted,
}
