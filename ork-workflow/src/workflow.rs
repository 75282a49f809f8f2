//! A workflow, from its text to its plan.

use crate::catalog::Catalog;
use crate::check::{self, Given, Parameters};
use crate::diagnostic::{Diagnostic, Problems, Report, Style, render};
use crate::document::{self, Document, Program};
use crate::file::File;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::yaml;

/// A workflow that has been parsed but not yet checked. [`Workflow::check`] reports all errors, including those of
/// parsing.
#[derive(Debug)]
pub struct Workflow {
    file: File,
    document: Option<Document>,
    schedule: Option<Schedule>,
    problems: Vec<Diagnostic>,
}

/// The result of checking a workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The plan to run; `None` if at least one diagnostic is an error. The caller must set its `folder`. Parameters
    /// without a value are left out, which can only happen if the workflow was checked without values: before a run,
    /// pass `Some` to [`Workflow::check`].
    pub plan: Option<Plan>,
    /// The schedule of the workflow; `None` if the file has no schedule, or if at least one diagnostic is an error.
    pub schedule: Option<Schedule>,
    /// The errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Checked {
    /// Returns whether an error prevents the workflow from running.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Returns the diagnostics in machine-readable form, with lines and columns.
    pub fn reports(&self, file: &File) -> Vec<Report> {
        self.diagnostics.iter().map(|it| Report::new(file, it)).collect()
    }

    /// Renders the diagnostics as text for a terminal.
    pub fn render(&self, file: &File, style: Style) -> String {
        render(file, &self.diagnostics, style)
    }
}

impl Workflow {
    /// Parses a workflow. Nothing is looked up yet, so that the caller can find out which files and programs it
    /// names.
    pub fn read(file: File) -> Self {
        let mut problems = Problems::default();
        let root = yaml::read(&file, &mut problems);
        let is_yaml = problems.count() == 0;
        let mut document = root.map(|root| document::read(&file, &root, &mut problems));
        if let (Some(document), false) = (&mut document, is_yaml) {
            document.mark_incomplete();
        }
        let text = document.as_ref().and_then(|it| it.schedule.as_ref());
        let schedule = text.and_then(|text| check::schedule::check(text, &mut problems));
        Self { file, document, schedule, problems: problems.sorted() }
    }

    /// Returns the file that the workflow was read from.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the name of the workflow: its key `name`, or the name of its file without the extension.
    pub fn name(&self) -> &str {
        self.document.as_ref().and_then(|it| it.name.as_deref()).unwrap_or_else(|| self.file.stem())
    }

    /// Returns the Python files that the workflow names, without duplicates, in the order of the file.
    pub fn python_files(&self) -> Vec<&str> {
        self.programs(|program| match program {
            Program::Python(word) => Some(word.text.as_str()),
            Program::Rust(_) | Program::Process(_) => None,
        })
    }

    /// Returns the programs that the workflow names, without duplicates, in the order of the file.
    pub fn process_programs(&self) -> Vec<&str> {
        self.programs(|program| match program {
            Program::Process(command) => command.first().map(|word| word.text.as_str()),
            Program::Rust(_) | Program::Python(_) => None,
        })
    }

    fn programs<'a>(&'a self, name: impl Fn(&'a Program) -> Option<&'a str>) -> Vec<&'a str> {
        let tasks = self.document.iter().flat_map(|it| &it.tasks);
        let mut found = Vec::new();
        for name in tasks.filter_map(|task| task.program.as_ref()).filter_map(name) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
        found
    }

    /// Returns the parameters of a run, each with its default if it has one.
    pub fn parameters(&self) -> Vec<(&str, Option<&serde_json::Value>)> {
        let all = self.document.iter().flat_map(|it| &it.parameters);
        all.map(|it| (it.name.text.as_str(), it.default.as_ref().map(|it| &it.value))).collect()
    }

    /// Returns the parameters that the schedule sets, by `time_as` and `date_as`. Names that are not parameters of
    /// the workflow are left out; the check reports them.
    pub fn schedule_parameters(&self) -> Parameters {
        let set = self.schedule.as_ref().map(|it| [(&it.time_as, Given::Time), (&it.date_as, Given::Date)]);
        let set = set.into_iter().flatten().filter_map(|(name, given)| Some((name.clone()?, given)));
        set.filter(|(name, _)| self.parameters().iter().any(|(known, _)| known == name)).collect()
    }

    /// Checks the workflow. `parameters` holds the values for one run; `None` checks the workflow itself, without a
    /// run.
    pub fn check(&self, catalog: &dyn Catalog, parameters: Option<&Parameters>) -> Checked {
        let mut problems = Problems::default();
        for problem in &self.problems {
            problems.add(problem.clone());
        }
        let document = self.document.as_ref();
        let plan = document.and_then(|it| check::check(&self.file, it, catalog, parameters, &mut problems));
        let diagnostics = problems.sorted();
        let is_valid = !diagnostics.iter().any(Diagnostic::is_error);
        let schedule = self.schedule.clone().filter(|_| is_valid);
        Checked { plan: plan.filter(|_| is_valid), schedule, diagnostics }
    }
}
