//! Finds the source of each input of a task: first its own constants, then its dependencies, then the parameters of
//! the run.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lookup::Known;
use super::shape::Shape;
use super::{Check, fan_out};
use crate::diagnostic::{Code, Diagnostic, Problems, nearest};
use crate::document::{Constant, ITEM, Task};
use crate::notation;
use crate::subtype::Verdict;
use crate::yaml::Word;

/// The source of an input.
#[derive(Debug, Clone)]
pub(super) enum InputSource {
    /// A constant in the file.
    Constant(Value),
    /// The output of the task with this index.
    Task(usize),
    /// The parameter with this index.
    Parameter(usize),
}

/// The inputs of a task by name, each with its source.
pub(super) type InputSources = BTreeMap<String, InputSource>;

/// Finds the source of each input of a task, and checks that the types fit.
pub(super) fn check(check: &Check<'_>, index: usize, problems: &mut Problems) -> InputSources {
    let Some((task, known, dependencies)) = check.task(index) else { return InputSources::new() };
    let mut sources = InputSources::new();
    let mut suggested = Vec::new();
    for (word, constant) in &task.input {
        if word.text == ITEM && task.foreach.is_some() {
            continue;
        }
        if let Some(near) = check_constant(check, task, known, word, constant, problems) {
            suggested.push(near);
        }
        sources.insert(word.text.clone(), InputSource::Constant(constant.value.clone()));
    }
    for (need, _) in &dependencies.needs {
        use_output(check, index, *need, &mut sources, problems);
    }
    for (number, parameter) in check.document.parameters.iter().enumerate() {
        let name = &parameter.name.text;
        let is_taken = known.inputs.names(name) || known.inputs.is_open();
        if !is_taken {
            continue;
        }
        match sources.get(name) {
            None => drop(sources.insert(name.clone(), InputSource::Parameter(number))),
            Some(InputSource::Task(other)) => {
                let at =
                    dependencies.needs.iter().find(|(need, _)| need == other).map_or(task.name.span, |(_, span)| *span);
                let message = format!(
                    "input `{name}` of `{}` is ambiguous: a task and a parameter have this name",
                    task.name.text
                );
                let problem = Diagnostic::new(Code::AmbiguousInput, message);
                let problem = problem.at(at, format!("set to the output of the task `{name}`"));
                let problem = problem.and(parameter.name.span, "not the value of this parameter");
                problems.add(problem.help("rename the task or the parameter"));
            }
            Some(_) => {}
        }
    }
    if known.is_sound && task.is_complete && dependencies.is_complete && check.document.is_complete {
        missing(check, task, known, &sources, &suggested, problems);
    }
    sources
}

/// Checks a constant. If the task has no such input, returns the input that was probably meant.
fn check_constant(
    check: &Check<'_>,
    task: &Task,
    known: &Known,
    word: &Word,
    constant: &Constant,
    problems: &mut Problems,
) -> Option<String> {
    if !known.is_sound {
        return None;
    }
    let name = &task.name.text;
    let Some(shape) = known.inputs.get(&word.text) else {
        let problem = Diagnostic::new(Code::UnknownInput, format!("`{name}` has no input `{}`", word.text));
        let problem = problem.at(word.span, "no such input");
        let fields: Vec<&str> = known.inputs.fields.iter().map(|(name, ..)| name.as_str()).collect();
        let near = nearest(&word.text, fields.iter().copied()).map(str::to_owned);
        problems.add(if fields.is_empty() {
            problem.note(format!("it takes no inputs{}", known.at()))
        } else {
            let problem = problem.suggest(word.span, &word.text, fields.iter().copied(), "its inputs are");
            problem.note(describe_inputs(task, known))
        });
        return near;
    };
    let mismatches = shape.violations(&constant.value);
    if !mismatches.is_empty() {
        let message = format!("invalid value for input `{}` of `{name}`", word.text);
        let problem = Diagnostic::new(Code::ConstantType, message);
        let problem = add_reasons(
            problem.at(constant.span, first_reason(&mismatches)),
            task,
            known,
            &word.text,
            shape,
            &mismatches,
        );
        let source = constant.value.as_str().and_then(|text| text.split('.').next());
        let source = source.filter(|name| check.document.tasks.iter().any(|it| it.name.text == *name));
        problems.add(match source {
            Some(source) => {
                let problem = problem.note("values in `input` are constants, not references");
                problem.help(format!(
                    "remove it, and write `depends_on: [{source}]`: the task then receives the output of `{source}`"
                ))
            }
            None => problem,
        });
    }
    None
}

/// Returns the first reason, which fits beside the location.
fn first_reason(mismatches: &[String]) -> String {
    mismatches.first().cloned().unwrap_or_default()
}

/// Adds the remaining reasons, and a note about the type that the task takes.
fn add_reasons(
    problem: Diagnostic,
    task: &Task,
    known: &Known,
    input: &str,
    shape: &Shape,
    mismatches: &[String],
) -> Diagnostic {
    let problem = mismatches.iter().skip(1).fold(problem, |it, why| it.note(why.clone()));
    problem.note(describe_input(task, known, input, shape))
}

/// Describes the type of an input, with the source location of the task.
pub(super) fn describe_input(task: &Task, known: &Known, input: &str, shape: &Shape) -> String {
    format!("`{}` takes `{input}`: {}{}", task.name.text, shape.show(), known.at())
}

/// Describes all inputs of a task, with its source location.
fn describe_inputs(task: &Task, known: &Known) -> String {
    let each = known
        .inputs
        .fields
        .iter()
        .map(|(name, shape, required)| format!("{name}{}: {}", if *required { "" } else { "?" }, shape.show()));
    format!("`{}` takes {{{}}}{}", task.name.text, each.collect::<Vec<_>>().join(", "), known.at())
}

/// Uses the output of a dependency as an input, if the task has an input of that name.
fn use_output(check: &Check<'_>, index: usize, need: usize, sources: &mut InputSources, problems: &mut Problems) {
    let Some((task, known, dependencies)) = check.task(index) else { return };
    let Some((source, ..)) = check.task(need) else { return };
    let (name, input) = (&task.name.text, &source.name.text);
    // If the inputs of a task are not known, the output that `foreach` refers to is passed item by item, and not as a
    // whole as well.
    let is_listed = task.depends_on.iter().any(|word| word.text == *input);
    let is_taken = known.inputs.names(input) || (known.inputs.is_open() && is_listed);
    let Some(expected) = known.inputs.get(input).filter(|_| is_taken) else { return };
    if let Some((word, _)) = task.input.iter().find(|(word, _)| word.text == *input) {
        let at = dependencies.needs.iter().find(|(it, _)| *it == need).map_or(task.name.span, |(_, span)| *span);
        let message = format!("input `{input}` of `{name}` is ambiguous: a task and a constant have this name");
        let problem = Diagnostic::new(Code::AmbiguousInput, message);
        let problem = problem.at(word.span, "set to this constant").and(at, "not to the output of this task");
        problems.add(problem.help("remove the constant, or rename the task"));
        return;
    }
    sources.insert(input.clone(), InputSource::Task(need));
    let Some(output) = fan_out::output(check, task, need).filter(|_| known.is_sound) else { return };
    if let Verdict::No(mismatches) = output.fits(expected) {
        let at = dependencies.needs.iter().find(|(it, _)| *it == need).map_or(task.name.span, |(_, span)| *span);
        let message = format!("the output of `{input}` has the wrong type for `{name}`");
        let problem = Diagnostic::new(Code::OutputType, message);
        let problem = problem.at(at, format!("output of `{input}`: {}", output.show()));
        let problem = fan_out::reasons(&mismatches, &output, expected).into_iter().fold(problem, Diagnostic::note);
        let problem = problem.note(describe_input(task, known, input, expected));
        let problem = fan_out::returns(check, need, &[], problem);
        problems.add(advice(problem, source, task, &output, expected));
    }
}

/// Adds advice about what probably has to change if an output does not fit.
fn advice(problem: Diagnostic, source: &Task, task: &Task, output: &Shape, expected: &Shape) -> Diagnostic {
    let name = &source.name.text;
    let lists = matches!(output.items(), super::shape::Items::Found(item) if item.fits(expected) == Verdict::Yes);
    if source.fans_out() && lists {
        return problem.help(format!("`{name}` is a fan-out: its output is a list, in the order of its instances"));
    }
    if !source.fans_out() && output.list().fits(expected) == Verdict::Yes {
        return problem.help(format!("`{name}` runs once: its output is a single value, not a list"));
    }
    if task.runs_on_failure() {
        return problem.help(format!("with `on_failure: run` it is `null` if `{name}` has failed: accept `null` too"));
    }
    problem
}

/// Reports the required inputs that have no source.
fn missing(
    check: &Check<'_>,
    task: &Task,
    known: &Known,
    sources: &InputSources,
    suggested: &[String],
    problems: &mut Problems,
) {
    let name = &task.name.text;
    for (input, shape, _) in known.inputs.fields.iter().filter(|(.., required)| *required) {
        let is_item = input == ITEM && task.foreach.is_some();
        if is_item || suggested.contains(input) || sources.contains_key(input) {
            continue;
        }
        let problem = Diagnostic::new(Code::MissingInput, format!("task `{name}`: input `{input}` has no source"));
        let problem = problem.at(task.name.span, format!("needs `{input}`"));
        let problem = problem.note(describe_input(task, known, input, shape));
        let is_task = check.document.tasks.iter().any(|other| other.name.text == *input && other.name.text != *name);
        problems.add(if input == ITEM {
            problem.help("add `foreach: task.field`, which passes an item of a list to each instance")
        } else if is_task {
            problem.help(format!("add `depends_on: [{input}]` to receive the output of that task"))
        } else if let Some(other) = misnamed(check, task, known, shape) {
            let problem = problem.note(format!("it depends on `{other}`, but has no input of that name"));
            problem.help(format!(
                "rename the task `{other}` to `{input}`: outputs are passed under the names of their tasks"
            ))
        } else {
            problem.help(format!(
                "add `{input}: {}` below the task's `input`, or `{input}:` below the workflow's `input`, \
                 as a parameter of its runs",
                example(shape)
            ))
        });
    }
}

/// Finds a dependency whose output would fit an input of the task, although the task has no input with the name of
/// that dependency.
fn misnamed<'a>(check: &'a Check<'_>, task: &Task, known: &Known, shape: &Shape) -> Option<&'a str> {
    let listed = |other: &Task| task.depends_on.iter().any(|word| word.text == other.name.text);
    let others = check.document.tasks.iter().enumerate().filter(|(_, other)| listed(other));
    let mut others = others.filter(|(_, other)| !known.inputs.names(&other.name.text));
    let fits = |index| fan_out::output(check, task, index).is_some_and(|output| output.fits(shape) == Verdict::Yes);
    others.find(|(index, _)| fits(*index)).map(|(_, other)| other.name.text.as_str())
}

/// Returns a value of a type as an example of how to write one.
fn example(shape: &Shape) -> String {
    let shown = shape.show();
    match shown.split(" | ").next().unwrap_or_default() {
        "integer" => "1".to_owned(),
        "number" => "0.5".to_owned(),
        "boolean" => "true".to_owned(),
        "string" => "text".to_owned(),
        word if word.starts_with('"') => {
            notation::literal(&Value::from(word.trim_matches('"'))).trim_matches('"').to_owned()
        }
        word if word.starts_with("list") => "[..]".to_owned(),
        word if word.starts_with('{') => "{..}".to_owned(),
        _ => "..".to_owned(),
    }
}
