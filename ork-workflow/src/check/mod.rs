//! Checks a workflow and builds its plan. All errors are reported together.
//!
//! The checks run in this order: what each task executes, dependencies, forms of inputs, fan-outs, inputs,
//! parameters. A part with an error is left out of the later checks, so that each mistake is reported once.
//! The schedule of the file depends on none of this and is checked on its own.

mod cycles;
mod dependencies;
mod fan_out;
mod forms;
mod inputs;
mod lookup;
mod parameters;
pub(crate) mod schedule;
mod shape;
mod steps;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::catalog::Catalog;
use crate::diagnostic::Problems;
use crate::document::{Document, Task};
use crate::file::File;
use crate::plan::Plan;

use dependencies::Dependencies;
use lookup::Known;

/// A value for a parameter of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// Text from the command line: it is parsed as JSON if the tasks accept that, and is a string otherwise.
    Text(String),
    /// A JSON value, used as it is.
    Value(Value),
    /// The time for which a schedule starts the run.
    Time,
    /// The date of that time.
    Date,
}

/// Values for the parameters of a run, by name.
pub type Parameters = BTreeMap<String, Given>;

/// The state that all checks share.
struct Check<'a> {
    file: &'a File,
    document: &'a Document,
    /// The result of the lookup of each task, in the order of the file.
    known: Vec<Known>,
    /// The dependencies of each task, in the order of the file.
    dependencies: Vec<Dependencies>,
}

impl Check<'_> {
    fn task(&self, index: usize) -> Option<(&Task, &Known, &Dependencies)> {
        Some((self.document.tasks.get(index)?, self.known.get(index)?, self.dependencies.get(index)?))
    }

    /// Returns each task with what is known about it.
    fn tasks(&self) -> impl Iterator<Item = (&Task, &Known, &Dependencies)> {
        let others = self.known.iter().zip(&self.dependencies);
        self.document.tasks.iter().zip(others).map(|(task, (known, dependencies))| (task, known, dependencies))
    }
}

/// Checks a workflow. The plan may only be used if no problem is an error.
pub(crate) fn check(
    file: &File,
    document: &Document,
    catalog: &dyn Catalog,
    given: Option<&Parameters>,
    problems: &mut Problems,
) -> Option<Plan> {
    let known = document.tasks.iter().map(|task| lookup::look_up(task, catalog, problems)).collect();
    let dependencies = dependencies::resolve_all(document, problems);
    let mut check = Check { file, document, known, dependencies };
    forms::choose_forms(&mut check, problems);
    let order = cycles::order(&check, problems);
    for index in 0..document.tasks.len() {
        fan_out::check(&check, index, problems);
    }
    let mut sources = Vec::new();
    for index in 0..document.tasks.len() {
        sources.push(inputs::check(&check, index, problems));
    }
    let values = parameters::check(&check, &sources, given, problems);
    steps::plan(&check, &order?, &sources, &values)
}
