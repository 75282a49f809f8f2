//! A workflow from its text to its plan.

use crate::catalog::Catalog;
use crate::check::{self, Given, Parameters};
use crate::diagnostic::{Diagnostic, Problems, Report, Style, render};
use crate::document::{self, Document, Program};
use crate::file::File;
use crate::plan::Plan;
use crate::schedule::{self, Schedule};
use crate::yaml;

/// A workflow whose text was read. Whatever is wrong with it is said by [`Workflow::check`].
#[derive(Debug)]
pub struct Workflow {
    file: File,
    document: Option<Document>,
    schedule: Option<Schedule>,
    problems: Vec<Diagnostic>,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What can run; `None` if a diagnostic is an error. Its folder is for the caller to set. Parameters without a
    /// value are left out of it, which can only be if none were given at all: check with `Some` before a run.
    pub plan: Option<Plan>,
    /// When it runs by itself; `None` if it does not, or if a diagnostic is an error.
    pub schedule: Option<Schedule>,
    /// What is wrong, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Checked {
    /// Whether something keeps the workflow from running.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The diagnostics for programs.
    pub fn reports(&self, file: &File) -> Vec<Report> {
        self.diagnostics.iter().map(|it| Report::new(file, it)).collect()
    }

    /// Prints the diagnostics of a file.
    pub fn render(&self, file: &File, style: Style) -> String {
        render(file, &self.diagnostics, style)
    }
}

impl Workflow {
    /// Reads a text. Nothing is looked up yet, so that a caller can learn which files it has to look at.
    pub fn read(file: File) -> Self {
        let mut problems = Problems::default();
        let root = yaml::read(&file, &mut problems);
        let is_yaml = problems.count() == 0;
        let mut document = root.map(|root| document::read(&file, &root, &mut problems));
        if let (Some(document), false) = (&mut document, is_yaml) {
            document.is_broken();
        }
        let text = document.as_ref().and_then(|it| it.schedule.as_ref());
        let schedule = text.and_then(|text| schedule::check(text, &mut problems));
        Self { file, document, schedule, problems: problems.sorted() }
    }

    /// The file it was read from.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its name: what it says, else that of its file.
    pub fn name(&self) -> &str {
        self.document.as_ref().and_then(|it| it.name.as_deref()).unwrap_or_else(|| self.file.stem())
    }

    /// The Python files that it names, each once, in the order of the file.
    pub fn python_files(&self) -> Vec<&str> {
        self.programs(|program| match program {
            Program::Python(word) => Some(word.text.as_str()),
            Program::Rust(_) | Program::Process(_) => None,
        })
    }

    /// The programs that it names, each once, in the order of the file.
    pub fn process_programs(&self) -> Vec<&str> {
        self.programs(|program| match program {
            Program::Process(words) => words.first().map(|word| word.text.as_str()),
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

    /// The parameters of its runs, with their defaults.
    pub fn parameters(&self) -> Vec<(&str, Option<&serde_json::Value>)> {
        let all = self.document.iter().flat_map(|it| &it.parameters);
        all.map(|it| (it.name.text.as_str(), it.default.as_ref().map(|it| &it.value))).collect()
    }

    /// The values of the parameters that its schedule tells its time or date. What is no parameter is left to the check.
    pub fn told(&self) -> Parameters {
        let told = self.schedule.as_ref().map(|it| [(&it.time_as, Given::Time), (&it.date_as, Given::Date)]);
        let told = told.into_iter().flatten().filter_map(|(name, given)| Some((name.clone()?, given)));
        told.filter(|(name, _)| self.parameters().iter().any(|(known, _)| known == name)).collect()
    }

    /// Checks it. `parameters` are the values for one run; `None` if there is no run, and the workflow alone is checked.
    pub fn check(&self, catalog: &dyn Catalog, parameters: Option<&Parameters>) -> Checked {
        let mut problems = Problems::default();
        for problem in &self.problems {
            problems.add(problem.clone());
        }
        let document = self.document.as_ref();
        let plan = document.and_then(|it| check::check(&self.file, it, catalog, parameters, &mut problems));
        let diagnostics = problems.sorted();
        let is_good = !diagnostics.iter().any(Diagnostic::is_error);
        let schedule = self.schedule.clone().filter(|_| is_good);
        Checked { plan: plan.filter(|_| is_good), schedule, diagnostics }
    }
}
