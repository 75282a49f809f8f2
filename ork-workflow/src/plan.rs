//! The plan: what a checked workflow comes to. It travels with its run, and no worker needs anything else of the workflow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// No workflow has more tasks. Each of them may still have millions of instances.
pub const MOST_TASKS: usize = 1_000;

/// A checked workflow with the values of its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// The folder that its files are in, as whoever checked it knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Its tasks; each one stands after those it needs.
    pub tasks: Vec<Step>,
}

/// One task of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name in the workflow.
    pub name: String,
    /// What runs.
    #[serde(flatten)]
    pub runs: Runs,
    /// The tasks that must have ended before it begins: their places in [`Plan::tasks`], rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<usize>,
    /// What each property of its input comes from. The `item` of a fan-out is not among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub input: BTreeMap<String, Source>,
    /// Which form of its input its only parameter gets.
    #[serde(default, skip_serializing_if = "Form::is_whole")]
    pub form: Form,
    /// How it is made many; `None` if it runs once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan: Option<Fan>,
    /// What becomes of it if a task that it needs does not succeed.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How many of its instances run at once, in the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Attempts after the first; `None` if the task decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The pause before the first retry, in milliseconds; `None` if the task decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<u64>,
    /// How long an attempt may take, in milliseconds; `None` if the task decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Variables of the environment of a program that runs for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Step {
    /// A task that runs once, needs nothing, is given nothing, and has the options of what runs.
    ///
    /// ```
    /// use ork_workflow::{Runs, Step};
    ///
    /// let clean = Step::new("clean", Runs::Rust { task: "remove_files".into() });
    /// let after = Step { needs: vec![0], ..Step::new("after", Runs::Rust { task: "report".into() }) };
    /// assert_eq!((clean.name.as_str(), after.fan), ("clean", None));
    /// ```
    pub fn new(name: impl Into<String>, runs: Runs) -> Self {
        Self {
            name: name.into(),
            runs,
            needs: Vec::new(),
            input: BTreeMap::new(),
            form: Form::Whole,
            fan: None,
            on_failure: OnFailure::Skip,
            concurrency: None,
            retries: None,
            retry_delay: None,
            timeout: None,
            env: BTreeMap::new(),
        }
    }
}

/// What runs for a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "executor", rename_all = "lowercase")]
pub enum Runs {
    /// A task of the worker's own program.
    Rust {
        /// Its name there.
        task: String,
    },
    /// A function in a Python file.
    Python {
        /// The file, from the workflow's folder.
        file: String,
    },
    /// Any program.
    Process {
        /// The program, from the workflow's folder if it has a `/`, and its arguments.
        command: Vec<String>,
    },
}

/// Which form of its input the only parameter of a function gets, if that parameter could take the whole input. All other
/// functions take their inputs by name, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The whole input. A plan that says nothing means this, so that runs of older versions keep their form.
    #[default]
    Whole,
    /// The field of the parameter's name.
    Field,
    /// The field of the parameter's name if the input has it and the parameter's type has no such field itself, else the
    /// whole input: nothing was known of the function when the plan was made.
    Either,
}

impl Form {
    /// The word that plans and interpreters use.
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

/// Where the value of one property of an input comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// It is this.
    Value(Value),
    /// It is what another task returned, or a field of it: a list in the order of its instances, if that one fans out.
    Output(Reference),
    /// It is the time for which a schedule has started the run, as RFC 3339. It is put there when that comes.
    Time,
    /// It is the date of that time.
    Date,
}

impl Plan {
    /// Tells a run the time for which it is started, in RFC 3339, if it wants to know.
    ///
    /// ```
    /// use ork_workflow::{Plan, Runs, Source, Step};
    ///
    /// let mut report = Step::new("report", Runs::Rust { task: "report".into() });
    /// report.input.insert("at".into(), Source::Time);
    /// report.input.insert("day".into(), Source::Date);
    /// let mut plan = Plan { name: "daily".into(), folder: None, tasks: vec![report] };
    /// plan.start_at("2026-01-15T06:00:00+01:00");
    /// assert_eq!(plan.tasks[0].input["at"], Source::Value("2026-01-15T06:00:00+01:00".into()));
    /// assert_eq!(plan.tasks[0].input["day"], Source::Value("2026-01-15".into()));
    /// ```
    pub fn start_at(&mut self, time: &str) {
        for source in self.tasks.iter_mut().flat_map(|step| step.input.values_mut()) {
            match source {
                Source::Value(_) | Source::Output(_) => {}
                Source::Time => *source = Source::Value(time.into()),
                Source::Date => *source = Source::Value(date_of(time).into()),
            }
        }
    }
}

/// The date of a time in RFC 3339.
///
/// ```
/// assert_eq!(ork_workflow::date_of("2026-01-15T06:00:00+01:00"), "2026-01-15");
/// ```
pub fn date_of(time: &str) -> &str {
    time.split('T').next().unwrap_or_default()
}

/// What a task returned, or a field inside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The task's place in [`Plan::tasks`].
    pub task: usize,
    /// The fields on the way, the outermost first; empty for the whole output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
}

/// How a task is made many. With both, each item has `count` instances of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fan {
    /// A list: one instance for each of its items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreach: Option<Reference>,
    /// How many instances there are, or how many of each item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<Count>,
}

/// A number of instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// This many.
    Fixed(u64),
    /// As many as another task says.
    Of(Reference),
}

/// What becomes of a task if one that it needs does not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It does not run.
    #[default]
    Skip,
    /// It runs; what did not succeed has returned `null`.
    Run,
}
