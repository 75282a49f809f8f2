//! Steps of a workflow run: the task of a step, its options, and its input, which is built from the outputs of
//! earlier steps.
//!
//! The message of a step contains only its name. The worker that processes it reads the plan from the run and the
//! outputs from the jobs of the other steps, so that the transaction that ends those jobs stays small.

mod begin;
mod fan_out;
mod output;
mod read;

use std::sync::Arc;

use bytes::Bytes;
use ork_workflow::{Plan, Reference};

pub(super) use self::begin::begin;
pub(super) use self::fan_out::fan_out;
pub(super) use self::read::of;
use crate::context::StepInfo;
use crate::id::JobId;
use crate::registry::Task;
use crate::task::{CallError, Error};
use crate::tx::Limit;
use crate::workflow_run::WorkflowRun;

/// A run, as its steps see it.
#[derive(Debug, Clone)]
struct RunSnapshot {
    id: JobId,
    plan: Arc<Plan>,
    /// The state of the run when the step started. What the step needs had ended by that time, and does not change
    /// while the step runs.
    state: Arc<WorkflowRun>,
}

/// The step that a job runs, as all its instances share it.
#[derive(Debug)]
pub(super) struct Step {
    /// The task, with the options that the workflow sets for the step.
    pub(super) task: Arc<Task>,
    /// The names of the workflow and the step, and how it runs if it is external.
    pub(super) name: Arc<StepInfo>,
    /// The concurrency limit of its calls, if the workflow sets one.
    pub(super) limit: Option<Limit>,
    /// Whether the step fans out.
    fans_out: bool,
    /// Whether its task has an input for an item.
    takes_item: bool,
    /// The input and the fan-out that were built from the outputs of other steps, or the reason why that failed.
    built: Result<StepInput, String>,
}

/// The input and the fan-out of a step.
#[derive(Debug)]
struct StepInput {
    /// The input, without the `item`.
    input: Bytes,
    /// The fan-out; `None` for a step that runs once.
    many: Option<Instances>,
}

/// The fan-out of a step.
#[derive(Debug)]
struct Instances {
    /// Refers to a list with an item for each instance, or for each group of instances; `None` for a fan-out by
    /// number alone.
    foreach: Option<Reference>,
    /// The number of items in that list.
    items: Option<u64>,
    /// The number of instances in total or, with a list, for each item; `None` for one for each item.
    each: Option<u64>,
    /// The run whose outputs contain the list.
    run: RunSnapshot,
}

impl Step {
    /// Returns whether the step fans out.
    pub(super) const fn fans_out(&self) -> bool {
        self.fans_out
    }

    /// Returns whether the step is a single call of its task.
    pub(super) const fn is_call(&self) -> bool {
        !self.fans_out && self.built.is_ok()
    }

    /// Returns why the step cannot run, if so.
    pub(super) fn error(&self) -> Option<CallError> {
        self.built.as_ref().err().map(|why| CallError::Task(Error::permanent(why.clone())))
    }

    /// Returns the input without the item; empty if the step cannot run.
    pub(super) fn input(&self) -> Bytes {
        self.built.as_ref().map(|built| built.input.clone()).unwrap_or_default()
    }

    /// Returns the input of the instance with this data, which is its item.
    pub(super) fn input_of(&self, data: &Bytes) -> Bytes {
        match self.many().and_then(|many| many.foreach.as_ref()) {
            Some(_) if self.takes_item => with_item(&self.input(), data),
            Some(_) | None => self.input(),
        }
    }

    /// Returns which instance a part is, and of how many. If each item has several instances, they are counted for
    /// that item.
    pub(super) fn place(&self, index: u64) -> (u64, Option<u64>) {
        match self.many() {
            None => (0, Some(1)),
            Some(Instances { each: Some(each), .. }) => (index % each.max(&1), Some(*each)),
            Some(Instances { items, .. }) => (index, Some(items.unwrap_or(1))),
        }
    }

    fn many(&self) -> Option<&Instances> {
        self.built.as_ref().ok()?.many.as_ref()
    }
}

/// Adds the item to an object.
fn with_item(common: &Bytes, item: &Bytes) -> Bytes {
    let fields = common.strip_suffix(b"}").unwrap_or_default();
    let comma: &[u8] = if fields == b"{" { b"" } else { b"," };
    [fields, comma, b"\"item\":", item, b"}"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_is_added_to_the_common_input() {
        let with = |common: &'static str| with_item(&common.into(), &Bytes::from_static(b"[1]"));
        assert_eq!(with("{}"), r#"{"item":[1]}"#);
        assert_eq!(with(r#"{"a":{}}"#), r#"{"a":{},"item":[1]}"#);
    }
}
