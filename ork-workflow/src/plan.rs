//! The plan: the result of checking a workflow. It is stored with each workflow run, and workers need nothing else of
//! the workflow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The maximum number of tasks in a workflow. Each of them may still have millions of instances.
pub const MOST_TASKS: usize = 1_000;

/// A checked workflow together with the values of its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The name of the workflow.
    pub name: String,
    /// The folder that relative file names are resolved against, as the process that checked the workflow sees it.
    /// `None` until the caller of the check sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The tasks, sorted so that each task comes after all tasks that it depends on.
    pub steps: Vec<Step>,
}

/// One task of a workflow, a step of each of its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The name of the task in the workflow file.
    pub name: String,
    /// The code that the step executes: a Rust task, a Python function or a program.
    #[serde(flatten)]
    pub runs: Runs,
    /// The tasks that must have ended before this one starts, as ascending indices into [`Plan::steps`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<usize>,
    /// The source of each input property. The `item` of a fan-out is not listed here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub input: BTreeMap<String, Source>,
    /// Whether the only parameter of the function takes the whole input or the field of its own name.
    #[serde(default, skip_serializing_if = "Form::is_whole")]
    pub form: Form,
    /// The fan-out of the task into several instances; `None` if it runs once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan_out: Option<FanOut>,
    /// The action to take if a task that this one depends on does not succeed.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The maximum number of instances that run at the same time in one workflow run; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The number of retries after the first attempt; `None` to use the option of the task itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The delay before the first retry, in milliseconds; `None` to use the option of the task itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<u64>,
    /// The maximum duration of one attempt, in milliseconds; `None` to use the option of the task itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Environment variables for the Python interpreter or the program that runs the task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Step {
    /// Creates a task that runs once, without dependencies and inputs, and with the options of the task that it
    /// executes.
    ///
    /// ```
    /// use ork_workflow::{Runs, Step};
    ///
    /// let clean = Step::new("clean", Runs::Rust { task: "remove_files".into() });
    /// let after = Step { needs: vec![0], ..Step::new("after", Runs::Rust { task: "report".into() }) };
    /// assert_eq!((clean.name.as_str(), after.fan_out), ("clean", None));
    /// ```
    pub fn new(name: impl Into<String>, runs: Runs) -> Self {
        Self {
            name: name.into(),
            runs,
            needs: Vec::new(),
            input: BTreeMap::new(),
            form: Form::Whole,
            fan_out: None,
            on_failure: OnFailure::Skip,
            concurrency: None,
            retries: None,
            retry_delay: None,
            timeout: None,
            env: BTreeMap::new(),
        }
    }
}

/// The code that a step of a workflow executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "executor", rename_all = "lowercase")]
pub enum Runs {
    /// A Rust task that is linked into the worker.
    Rust {
        /// The name of the task in the registry of the worker.
        task: String,
    },
    /// A function in a Python file.
    Python {
        /// The path of the file, relative to the folder of the workflow.
        file: String,
    },
    /// An external program.
    Process {
        /// The program and its arguments. A program name with a `/` is relative to the folder of the workflow; any
        /// other name is searched for in the `PATH`.
        command: Vec<String>,
    },
}

/// The form in which the only parameter of a function takes the input of a step, if that parameter could take all of
/// it.
///
/// This matters only for functions with one parameter that can hold the whole input. All other functions take their
/// inputs by name, whatever the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The parameter takes the whole input. This is the default for plans without a form, so that runs started by
    /// older versions keep their form.
    #[default]
    Whole,
    /// The parameter takes the field that has its name.
    Field,
    /// The parameter takes the field that has its name if the input has such a field and the type of the parameter
    /// does not; otherwise it takes the whole input. Used if nothing was known about the function when the plan was
    /// made.
    Either,
}

impl Form {
    /// Returns the word for this form in plans and in the protocol of the Python interpreter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Field => "field",
            Self::Either => "either",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }
}

/// The source of the value of one input property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A constant.
    Value(Value),
    /// The output of another task, or a field of it. If that task fans out, this is a list in the order of its
    /// instances.
    Output(Reference),
    /// The time for which a schedule started the run, in RFC 3339. [`Plan::start_at`] replaces it by the value.
    Time,
    /// The date of that time, such as `2026-01-15`.
    Date,
}

impl Plan {
    /// Sets the time for which a run is started, in RFC 3339, in all inputs that use it.
    ///
    /// This replaces each [`Source::Time`] and [`Source::Date`] by a value.
    ///
    /// ```
    /// use ork_workflow::{Plan, Runs, Source, Step};
    ///
    /// let mut report = Step::new("report", Runs::Rust { task: "report".into() });
    /// report.input.insert("at".into(), Source::Time);
    /// report.input.insert("day".into(), Source::Date);
    /// let mut plan = Plan { name: "daily".into(), folder: None, steps: vec![report] };
    /// plan.start_at("2026-01-15T06:00:00+01:00");
    /// assert_eq!(plan.steps[0].input["at"], Source::Value("2026-01-15T06:00:00+01:00".into()));
    /// assert_eq!(plan.steps[0].input["day"], Source::Value("2026-01-15".into()));
    /// ```
    pub fn start_at(&mut self, time: &str) {
        for source in self.steps.iter_mut().flat_map(|step| step.input.values_mut()) {
            match source {
                Source::Value(_) | Source::Output(_) => {}
                Source::Time => *source = Source::Value(time.into()),
                Source::Date => *source = Source::Value(date_of(time).into()),
            }
        }
    }
}

/// Returns the date of a time in RFC 3339.
///
/// ```
/// assert_eq!(ork_workflow::date_of("2026-01-15T06:00:00+01:00"), "2026-01-15");
/// ```
pub fn date_of(time: &str) -> &str {
    time.split('T').next().unwrap_or_default()
}

/// A reference to the output of a task, or to a field inside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The index of the task in [`Plan::steps`].
    pub step: usize,
    /// The names of the nested fields, the outermost first; empty for the whole output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
}

/// The fan-out of a task into instances. With both fields, each item gets `parallel` instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanOut {
    /// A reference to a list: the task gets one instance for each item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreach: Option<Reference>,
    /// The number of instances, or the number of instances for each item of `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Count>,
}

/// A number of instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// A constant number.
    Fixed(u64),
    /// A number that another task returns.
    Of(Reference),
}

/// The action to take for a task if one that it depends on does not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The task is skipped.
    #[default]
    Skip,
    /// The task runs, with `null` as the output of each task that did not succeed.
    Run,
}
