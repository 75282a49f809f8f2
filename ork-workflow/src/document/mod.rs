//! A workflow as it is written in the file: every value with its location, names not yet resolved.

mod keys;
mod read;
mod task;
mod values;

pub(crate) use read::read;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::file::Span;
use crate::plan::OnFailure;
use crate::yaml::Word;

/// The name of the input that receives an item of `foreach`. No task and no parameter can have this name.
pub(crate) const ITEM: &str = "item";

/// A workflow file.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) name: Option<String>,
    pub(crate) schedule: Option<ScheduleText>,
    /// The location of the key `input`, which declares the parameters.
    pub(crate) parameters_at: Option<Span>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) tasks: Vec<Task>,
    /// Whether everything outside of the tasks was read without an error.
    pub(crate) is_complete: bool,
}

impl Document {
    /// Marks the document and all its tasks as incomplete, because the location of an error in the YAML is not known.
    pub(crate) fn mark_incomplete(&mut self) {
        self.is_complete = false;
        self.tasks.iter_mut().for_each(|task| task.is_complete = false);
    }
}

/// The schedule of a workflow, as it is written.
#[derive(Debug)]
pub(crate) struct ScheduleText {
    /// The location of the key `schedule`.
    pub(crate) at: Span,
    pub(crate) cron: Word,
    pub(crate) timezone: Option<Word>,
    pub(crate) missed: crate::schedule::Missed,
    pub(crate) overlap: crate::schedule::Overlap,
    /// The parameter that receives the time of the run.
    pub(crate) time_as: Option<Word>,
    /// The parameter that receives the date of that time.
    pub(crate) date_as: Option<Word>,
}

/// A parameter of a run.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: Word,
    pub(crate) default: Option<Constant>,
}

/// A constant value in the file.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

/// A task of the workflow.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: Word,
    /// Whether everything in it was read without an error. If not, a key that seems to be missing may only be
    /// misspelled.
    pub(crate) is_complete: bool,
    /// The code that the task executes; `None` if it could not be read.
    pub(crate) program: Option<Program>,
    pub(crate) depends_on: Vec<Word>,
    pub(crate) input: Vec<(Word, Constant)>,
    pub(crate) foreach: Option<Path>,
    pub(crate) parallel: Option<InstanceCount>,
    /// The location of `foreach` or `parallel`.
    pub(crate) fan_out_at: Option<Span>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) retries: Option<u32>,
    pub(crate) retry_delay: Option<u64>,
    pub(crate) timeout: Option<u64>,
    pub(crate) on_failure: Option<(OnFailure, Span)>,
    pub(crate) env: BTreeMap<String, String>,
}

impl Task {
    /// Returns whether the task has several instances.
    pub(crate) fn fans_out(&self) -> bool {
        self.foreach.is_some() || self.parallel.is_some()
    }

    /// Returns whether the task runs even if a task that it depends on has failed.
    pub(crate) fn runs_on_failure(&self) -> bool {
        matches!(self.on_failure, Some((OnFailure::Run, _)))
    }
}

/// The code that a task executes.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    Rust(Word),
    Python(Word),
    /// The program and its arguments.
    Process(Vec<Word>),
}

/// The number of instances.
#[derive(Debug)]
pub(crate) enum InstanceCount {
    Fixed(u64),
    Of(Path),
}

/// A reference to the output of a task or to a field of it, as it is written: `task.field.field`.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) span: Span,
    pub(crate) task: Word,
    pub(crate) fields: Vec<Word>,
}
