//! Chooses the form of the input for tasks whose only parameter could take the whole input or the field of its own
//! name.
//!
//! The parameter takes the field of its name if the workflow provides an input of that name: by a constant, by a task
//! that this one depends on, or by a parameter of the run. So a parameter that is named after a task never silently
//! receives an object that wraps the output of that task.

use super::Check;
use super::fan_out;
use super::lookup::Known;
use super::shape::Shape;
use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::document::{ITEM, Program, Task};
use crate::file::Span;
use crate::plan::Form;
use crate::subtype::Verdict;

/// Chooses the form of each task, and reports whole inputs that are not objects.
pub(super) fn choose_forms(check: &mut Check<'_>, problems: &mut Problems) {
    for index in 0..check.document.tasks.len() {
        let is_field = takes_field(check, index, problems);
        let document = check.document;
        let (Some(task), Some(known)) = (document.tasks.get(index), check.known.get_mut(index)) else { continue };
        if is_field && let Some(by_name) = known.by_name.take() {
            known.inputs = by_name;
            known.form = Form::Field;
            known.not_an_object = None;
        }
        if let Some(shape) = known.not_an_object.take() {
            problems.add(not_an_object_error(task, known, &shape));
            known.is_sound = false;
        }
    }
}

/// Returns whether the only parameter of a task takes the field of its name.
fn takes_field(check: &Check<'_>, index: usize, problems: &mut Problems) -> bool {
    let Some((task, known, dependencies)) = check.task(index) else { return false };
    let Some([(name, field, _)]) = known.by_name.as_ref().map(|inputs| inputs.fields.as_slice()) else { return false };
    let constant = task.input.iter().find(|(word, _)| word.text == *name);
    let is_of_that_name = |need: usize| check.document.tasks.get(need).is_some_and(|other| other.name.text == *name);
    let need = dependencies.needs.iter().find(|(need, _)| is_of_that_name(*need));
    let is_given = constant.is_some()
        || need.is_some()
        || check.document.parameters.iter().any(|parameter| parameter.name.text == *name);
    // Each instance receives an item, and only the whole input has a field for it.
    let needs_item = task.foreach.is_some() && known.not_an_object.is_none() && known.inputs.names(ITEM);
    if !is_given || needs_item {
        return false;
    }
    let own = known.inputs.fields.iter().find(|(own, ..)| own == name).map(|(_, shape, _)| shape);
    let Some(own) = own.filter(|_| known.not_an_object.is_none()) else { return true };
    // The type of the parameter has a field of the parameter's own name, so both forms have a place for the provided
    // value.
    let (fits_own, fits_field, at) = match (constant, need) {
        (Some((word, constant)), _) => {
            let takes = |shape: &Shape| shape.violations(&constant.value).is_empty();
            (takes(own), takes(field), word.span)
        }
        (None, Some((need, at))) => {
            let output = fan_out::output(check, task, *need);
            let takes = |shape| output.as_ref().is_none_or(|output| !matches!(output.fits(shape), Verdict::No(_)));
            (takes(own), takes(field), *at)
        }
        (None, None) => return false,
    };
    if fits_own && fits_field {
        problems.add(ambiguous(task, known, name, at));
    }
    fits_field && !fits_own
}

fn ambiguous(task: &Task, known: &Known, name: &str, at: Span) -> Diagnostic {
    let message =
        format!("`{name}` of `{}` is ambiguous: its parameter, or a field of that parameter's type", task.name.text);
    let problem = Diagnostic::new(Code::AmbiguousInput, message);
    let problem = problem.at(at, format!("passed to the field `{name}`"));
    let problem = problem.note(format!("the type of the parameter `{name}` also has a field `{name}`{}", known.at()));
    problem.help("rename the parameter of the function")
}

fn not_an_object_error(task: &Task, known: &Known, shape: &Shape) -> Diagnostic {
    let message = format!("`{}` takes {}, but a workflow passes an object", task.name.text, shape.show());
    let span = match &task.program {
        Some(Program::Rust(word) | Program::Python(word)) => word.span,
        Some(Program::Process(_)) | None => task.name.span,
    };
    let problem = Diagnostic::new(Code::InputNotObject, message).at(span, "does not take an object");
    let problem = problem.note(format!("a workflow passes inputs to a task by name{}", known.at()));
    problem.help("change the task to take an object with named fields")
}
