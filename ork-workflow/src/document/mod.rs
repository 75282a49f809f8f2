//! A workflow as it is written: every word with its place, nothing looked up yet.

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

/// The name that instances know their item by; no task and no parameter has it.
pub(crate) const ITEM: &str = "item";

/// A workflow.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) name: Option<String>,
    pub(crate) schedule: Option<ScheduleText>,
    /// Where the parameters are declared.
    pub(crate) parameters_at: Option<Span>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) tasks: Vec<Task>,
    /// Whether everything outside of the tasks could be read.
    pub(crate) is_whole: bool,
}

impl Document {
    /// Notes that parts of it could not be read, wherever they are.
    pub(crate) fn is_broken(&mut self) {
        self.is_whole = false;
        self.tasks.iter_mut().for_each(|task| task.is_whole = false);
    }
}

/// When it runs by itself.
#[derive(Debug)]
pub(crate) struct ScheduleText {
    /// The key.
    pub(crate) at: Span,
    pub(crate) cron: Word,
    pub(crate) timezone: Option<Word>,
    pub(crate) missed: crate::schedule::Missed,
    pub(crate) overlap: crate::schedule::Overlap,
    /// The parameter that tells a run its time.
    pub(crate) time_as: Option<Word>,
    /// The one that tells it the date.
    pub(crate) date_as: Option<Word>,
}

/// A parameter of its runs.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: Word,
    pub(crate) default: Option<Constant>,
}

/// A value that is written down.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) name: Word,
    /// Whether everything of it could be read. Else what is missing may only be misspelled.
    pub(crate) is_whole: bool,
    /// `None` if that could not be read.
    pub(crate) program: Option<Program>,
    pub(crate) depends_on: Vec<Word>,
    pub(crate) input: Vec<(Word, Constant)>,
    pub(crate) foreach: Option<Path>,
    pub(crate) parallel: Option<Many>,
    /// What makes it many.
    pub(crate) many_at: Option<Span>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) retries: Option<u32>,
    pub(crate) retry_delay: Option<u64>,
    pub(crate) timeout: Option<u64>,
    pub(crate) on_failure: Option<(OnFailure, Span)>,
    pub(crate) env: BTreeMap<String, String>,
}

impl Task {
    /// Whether there are several instances of it.
    pub(crate) fn fans(&self) -> bool {
        self.foreach.is_some() || self.parallel.is_some()
    }

    /// Whether it runs although what it needs has failed.
    pub(crate) fn runs_on_failure(&self) -> bool {
        matches!(self.on_failure, Some((OnFailure::Run, _)))
    }
}

/// What runs.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    Rust(Word),
    Python(Word),
    /// The words of its command.
    Process(Vec<Word>),
}

/// How many instances.
#[derive(Debug)]
pub(crate) enum Many {
    Fixed(u64),
    Of(Path),
}

/// A task's output or a field in it, as it is written: `task.field.field`.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) span: Span,
    pub(crate) task: Word,
    pub(crate) fields: Vec<Word>,
}
