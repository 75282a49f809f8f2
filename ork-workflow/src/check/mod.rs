//! From a workflow as it is written to its plan: everything is looked up, compared, and what is wrong is said at once.
//!
//! The order: what runs, how tasks hang together, forms of inputs, types, inputs, parameters. What is broken is left out of what follows,
//! so that one mistake is said once.

mod cycles;
mod fan;
mod forms;
mod inputs;
mod lookup;
mod parameters;
mod shape;
mod steps;
mod wires;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::catalog::Catalog;
use crate::diagnostic::Problems;
use crate::document::{Document, Task};
use crate::file::File;
use crate::plan::Plan;

use lookup::Known;
use wires::Wires;

/// A value for a parameter of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// As it was typed: read as JSON where the tasks take that, else as a text.
    Text(String),
    /// As it is.
    Value(Value),
    /// The time for which a schedule starts the run.
    Time,
    /// The date of that time.
    Date,
}

/// Values for the parameters of a run, by name.
pub type Parameters = BTreeMap<String, Given>;

/// What all steps of the check look at.
struct Check<'a> {
    file: &'a File,
    document: &'a Document,
    /// What is known of each task, in the order of the file.
    known: Vec<Known>,
    /// What each task waits for, in the order of the file.
    wires: Vec<Wires>,
}

impl Check<'_> {
    fn task(&self, index: usize) -> Option<(&Task, &Known, &Wires)> {
        Some((self.document.tasks.get(index)?, self.known.get(index)?, self.wires.get(index)?))
    }

    /// Each task with what is known of it.
    fn tasks(&self) -> impl Iterator<Item = (&Task, &Known, &Wires)> {
        let others = self.known.iter().zip(&self.wires);
        self.document.tasks.iter().zip(others).map(|(task, (known, wires))| (task, known, wires))
    }
}

/// Checks a workflow. The plan is only good if no problem is an error.
pub(crate) fn check(
    file: &File,
    document: &Document,
    catalog: &dyn Catalog,
    given: Option<&Parameters>,
    problems: &mut Problems,
) -> Option<Plan> {
    let known = document.tasks.iter().map(|task| lookup::look_up(task, catalog, problems)).collect();
    let wires = wires::connect(document, problems);
    let mut check = Check { file, document, known, wires };
    forms::choose(&mut check, problems);
    let order = cycles::order(&check, problems);
    for index in 0..document.tasks.len() {
        fan::check(&check, index, problems);
    }
    let mut sources = Vec::new();
    for index in 0..document.tasks.len() {
        sources.push(inputs::check(&check, index, problems));
    }
    let values = parameters::check(&check, &sources, given, problems);
    steps::plan(&check, &order?, &sources, &values)
}
