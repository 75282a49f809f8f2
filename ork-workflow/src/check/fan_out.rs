//! Checks fan-outs: `foreach` needs a list of items that the task takes, `parallel` needs a whole number.

use serde_json::json;

use super::Check;
use super::lookup::Known;
use super::shape::{Field, Items, Shape, truncate_reasons};
use crate::diagnostic::{Code, Diagnostic, Problems, list};
use crate::document::{ITEM, InstanceCount, Path, Task};
use crate::subtype::{Mismatch, Verdict};
use crate::yaml::Word;

/// Checks the fan-out of a task.
pub(super) fn check(check: &Check<'_>, index: usize, problems: &mut Problems) {
    let Some((task, known, dependencies)) = check.task(index) else { return };
    if let Some(path) = &task.foreach {
        foreach(check, task, known, path, dependencies.foreach, problems);
    }
    if let (Some(InstanceCount::Of(path)), Some(other)) = (&task.parallel, dependencies.parallel) {
        let Some(shape) = resolve_type(check, task, path, other, problems) else { return };
        if let Verdict::No(_) = shape.fits(&Shape::new(json!({ "type": "integer" }))) {
            let shown = shape.show();
            let message = format!("`parallel` needs an integer, but `{}` is {shown}", text(path));
            let problem = Diagnostic::new(Code::NotACount, message).at(path.span, format!("this is {shown}"));
            let problem = returns(check, other, &path.fields, problem);
            let is_list = matches!(shape.items(), Items::Found(_));
            problems.add(if is_list && task.foreach.is_none() {
                problem.help(format!("for one instance per item, write `foreach: {}`", text(path)))
            } else {
                problem
            });
        }
    }
}

fn foreach(check: &Check<'_>, task: &Task, known: &Known, path: &Path, other: Option<usize>, problems: &mut Problems) {
    let name = &task.name.text;
    if let Some((word, constant)) = task.input.iter().find(|(word, _)| word.text == ITEM) {
        let problem = Diagnostic::new(Code::ItemTwice, format!("input `{ITEM}` of `{name}` is set twice"));
        let problem = problem.at(word.span.to(constant.span), "by this constant").and(path.span, "by `foreach`");
        problems.add(problem.help("remove one of them"));
    }
    let takes = known.inputs.get(ITEM);
    if takes.is_none() && task.is_complete && known.is_sound {
        let problem = Diagnostic::new(Code::ItemUnused, format!("`{name}` has no input `{ITEM}`"));
        let problem = problem.at(path.span, "each instance is passed an item but does not take it");
        let fields: Vec<&str> = known.inputs.fields.iter().map(|(name, ..)| name.as_str()).collect();
        let problem = match fields.as_slice() {
            [] => problem.note(format!("it takes no inputs{}", known.at())),
            fields => problem.note(format!("its inputs are {}{}", list(fields), known.at())),
        };
        problems.add(problem.help(format!("give the task an input named `{ITEM}`")));
    }
    let Some(other) = other else { return };
    let Some(shape) = resolve_type(check, task, path, other, problems) else { return };
    let item = match shape.items() {
        Items::Found(item) => item,
        Items::Unknown => return,
        Items::NotAList => {
            problems.add(not_a_list(check, path, other, &shape));
            return;
        }
    };
    let Some(takes) = takes.filter(|_| known.is_sound) else { return };
    if let Verdict::No(mismatches) = item.fits(takes) {
        let message = format!("the items of `{}` have the wrong type for `{name}`", text(path));
        let problem = Diagnostic::new(Code::ItemType, message);
        let problem = problem.at(path.span, format!("each item is {}", item.show()));
        let problem = reasons(&mismatches, &item, takes).into_iter().fold(problem, Diagnostic::note);
        let problem = problem.note(format!("`{name}` takes `{ITEM}`: {}{}", takes.show(), known.at()));
        problems.add(returns(check, other, &path.fields, problem));
    }
}

fn not_a_list(check: &Check<'_>, path: &Path, other: usize, shape: &Shape) -> Diagnostic {
    let shown = shape.show();
    let message = format!("`foreach` needs a list, but `{}` is {shown}", text(path));
    let problem = Diagnostic::new(Code::NotAList, message).at(path.span, format!("this is {shown}"));
    let problem = returns(check, other, &path.fields, problem);
    let lists = match check.task(other).and_then(|(_, known, _)| known.output.as_ref()) {
        Some(output) => lists_in(output),
        None => Vec::new(),
    };
    let integer = Shape::new(json!({ "type": "integer" }));
    match lists.as_slice() {
        _ if matches!(shape.fits(&integer), Verdict::Yes) => {
            problem.help(format!("for that number of instances, write `parallel: {}`", text(path)))
        }
        [] if shape.fits(&Shape::new(json!({ "type": "string" }))) == Verdict::Yes => {
            problem.help("a string has no items; return a list of strings from the task")
        }
        [] => problem.help("return a list from the task"),
        [one] => problem.help(format!("the list is `{}.{one}`", path.task.text)),
        several => {
            let several: Vec<String> = several.iter().map(|it| format!("{}.{it}", path.task.text)).collect();
            problem.help(format!("its lists are {}", list(&several.iter().map(String::as_str).collect::<Vec<_>>())))
        }
    }
}

/// Returns the fields of an output that are lists.
fn lists_in(output: &Shape) -> Vec<String> {
    let names = match output.field("") {
        Field::Missing(names) => names,
        _ => Vec::new(),
    };
    let is_list =
        |name: &String| matches!(output.field(name), Field::Found(shape) if matches!(shape.items(), Items::Found(_)));
    names.into_iter().filter(is_list).collect()
}

/// Returns the type of a reference; `None` if it is not known, or if the reference is wrong, which is then reported.
fn resolve_type(check: &Check<'_>, task: &Task, path: &Path, other: usize, problems: &mut Problems) -> Option<Shape> {
    let (source, known, _) = check.task(other)?;
    if source.fans_out() && !path.fields.is_empty() {
        let message = format!("`{}` is a fan-out, so its output is a list", path.task.text);
        let problem = Diagnostic::new(Code::FieldOfList, message).at(path.span, "a list has no such field");
        let at = source.fan_out_at.unwrap_or(source.name.span);
        let problem = problem.and(at, "fan-out declared here");
        problems.add(problem.help(format!("for each output of `{0}`, write `foreach: {0}`", path.task.text)));
        return None;
    }
    let seen = output(check, task, other)?;
    // A task that did not succeed provides no items and no count, whatever the value of `on_failure`. So its type is
    // not nullable here.
    let mut shape = if source.fans_out() { seen } else { known.output.clone()? };
    let mut prefix = path.task.text.clone();
    for field in &path.fields {
        shape = match shape.field(&field.text) {
            Field::Found(inner) => inner,
            Field::Unknown => return None,
            Field::NotAnObject => {
                let shown = shape.show();
                let message = format!("`{prefix}` is {shown}, which has no fields");
                let problem = Diagnostic::new(Code::UnknownField, message).at(field.span, "no such field");
                problems.add(returns(check, other, &path.fields, problem));
                return None;
            }
            Field::Missing(names) => {
                let message = format!("`{prefix}` has no field `{}`", field.text);
                let problem = Diagnostic::new(Code::UnknownField, message).at(field.span, "no such field");
                let names = names.iter().map(String::as_str);
                let problem = problem.suggest(field.span, &field.text, names, "its fields are");
                problems.add(returns(check, other, &path.fields, problem));
                return None;
            }
        };
        prefix = format!("{prefix}.{}", field.text);
    }
    Some(shape)
}

/// Returns the type of a task's output as another task receives it; `None` if it is not known.
pub(super) fn output(check: &Check<'_>, task: &Task, other: usize) -> Option<Shape> {
    let (source, known, _) = check.task(other)?;
    let one = known.output.as_ref().filter(|_| source.is_complete && known.is_sound)?;
    let one = if task.runs_on_failure() { one.or_null() } else { one.clone() };
    Some(if source.fans_out() { one.list() } else { one })
}

/// Adds a note about the type that a task returns, or about the referenced field of it, with the source location.
pub(super) fn returns(check: &Check<'_>, other: usize, fields: &[Word], problem: Diagnostic) -> Diagnostic {
    let Some((task, known, _)) = check.task(other) else { return problem };
    let Some(output) = &known.output else { return problem };
    let name = &task.name.text;
    let field = fields.first().map(|word| (&word.text, output.field(&word.text)));
    problem.note(match field {
        Some((field, Field::Found(shape))) => format!("`{name}` returns `{field}`: {}{}", shape.show(), known.at()),
        _ if task.fans_out() => format!("each instance of `{name}` returns {}{}", output.show(), known.at()),
        _ => format!("`{name}` returns {}{}", output.show(), known.at()),
    })
}

/// Returns the reasons why a type does not fit, without the one that is obvious from the two types.
pub(super) fn reasons(mismatches: &[Mismatch], from: &Shape, to: &Shape) -> Vec<String> {
    let obvious = format!("{} where {} is expected", from.show(), to.show());
    truncate_reasons(mismatches.iter().map(ToString::to_string).filter(|why| *why != obvious).collect())
}

/// Formats a reference as it is written in the file.
fn text(path: &Path) -> String {
    path.fields.iter().fold(path.task.text.clone(), |prefix, field| format!("{prefix}.{}", field.text))
}
