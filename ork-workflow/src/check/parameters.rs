//! Determines the values of the parameters of a run, and checks that the tasks accept them.

use serde_json::Value;

use super::inputs::{InputSource, InputSources, describe_input};
use super::lookup::Known;
use super::shape::Shape;
use super::{Check, Dependencies, Given, Parameters};
use crate::diagnostic::{Code, Diagnostic, Problems, nearest};
use crate::document::{Parameter, Task};
use crate::file::Span;
use crate::notation;
use crate::plan::Source;
use crate::yaml::Word;

/// A task that takes a parameter, with the type of its input.
type Consumer<'a> = (&'a Task, &'a Known, &'a Shape);

/// A sample of the time and of the date that a schedule passes to runs.
const TIME: &str = "2026-01-15T06:00:00+01:00";
const DATE: &str = "2026-01-15";

/// Returns the source of each parameter's value, in the order of the file; `None` if it has no value.
pub(super) fn check(
    check: &Check<'_>,
    sources: &[InputSources],
    given: Option<&Parameters>,
    problems: &mut Problems,
) -> Vec<Option<Source>> {
    let parameters = &check.document.parameters;
    let scheduled: Vec<_> = scheduled_parameters(check).collect();
    for (word, _) in scheduled.iter().filter(|_| check.document.is_complete) {
        check_exists(check, word, problems);
    }
    check_time_and_date(&scheduled, problems);
    if let Some(given) = given.filter(|_| check.document.is_complete) {
        unknown(check, given, problems);
    }
    let mut values = Vec::new();
    for (number, parameter) in parameters.iter().enumerate() {
        let consumers = consumers(check, sources, number);
        if consumers.is_empty() {
            unused(check, parameter, problems);
        }
        for (word, sample) in scheduled.iter().filter(|(word, _)| word.text == parameter.name.text) {
            let message = format!("the value that the schedule sets for `{}` is invalid", word.text);
            let problem = Diagnostic::new(Code::ParameterType, message);
            report_rejected(
                problem,
                word.span,
                "is a string such as",
                &word.text,
                &Value::from(*sample),
                &consumers,
                problems,
            );
        }
        values.push(value(check, parameter, &consumers, given, problems));
    }
    values
}

fn consumers<'a>(check: &'a Check<'_>, sources: &[InputSources], number: usize) -> Vec<Consumer<'a>> {
    let Some(parameter) = check.document.parameters.get(number) else { return Vec::new() };
    let name = &parameter.name.text;
    let all = check.tasks().zip(sources).filter_map(|((task, known, _), sources)| match sources.get(name) {
        Some(InputSource::Parameter(it)) if *it == number => Some((task, known, known.inputs.get(name)?)),
        _ => None,
    });
    all.collect()
}

/// Returns the parameters that the schedule sets to its time or date, each with a sample value.
fn scheduled_parameters<'a>(check: &Check<'a>) -> impl Iterator<Item = (&'a Word, &'static str)> {
    let schedule = check.document.schedule.as_ref();
    let parameters = schedule.map(|it| [(it.time_as.as_ref(), TIME), (it.date_as.as_ref(), DATE)]);
    parameters.into_iter().flatten().filter_map(|(word, sample)| Some((word?, sample)))
}

/// Reports a parameter that the schedule would set to both the time and the date.
fn check_time_and_date(scheduled: &[(&Word, &str)], problems: &mut Problems) {
    let &[(time, _), (date, _)] = scheduled else { return };
    if time.text == date.text {
        let message = format!("`time_as` and `date_as` both set `{}`", date.text);
        let problem = Diagnostic::new(Code::ScheduleParameter, message).at(date.span, "the date");
        problems.add(problem.and(time.span, "the time").help("use a separate parameter for each, or remove one"));
    }
}

/// Reports that the schedule sets a parameter which does not exist.
fn check_exists(check: &Check<'_>, word: &Word, problems: &mut Problems) {
    let names: Vec<&str> = check.document.parameters.iter().map(|it| it.name.text.as_str()).collect();
    if names.contains(&word.text.as_str()) {
        return;
    }
    let problem = Diagnostic::new(Code::UnknownParameter, format!("the workflow has no parameter `{}`", word.text));
    let problem = problem.at(word.span, "set by the schedule");
    problems.add(match nearest(&word.text, names.iter().copied()) {
        Some(near) => problem.did_you_mean(word.span, near),
        None => problem.help(format!("declare it below `input:`, as `{}:`", word.text)),
    });
}

/// Determines the value of a parameter in this run.
fn value(
    check: &Check<'_>,
    parameter: &Parameter,
    consumers: &[Consumer<'_>],
    given: Option<&Parameters>,
    problems: &mut Problems,
) -> Option<Source> {
    let name = &parameter.name;
    let is_given = given.is_some_and(|given| given.contains_key(&name.text));
    let is_scheduled = scheduled_parameters(check).any(|(word, _)| word.text == name.text);
    let needs_default = check.document.is_complete && !is_given && !is_scheduled;
    if let Some(default) = &parameter.default {
        let message = format!("the default of `{}` is invalid", name.text);
        let problem = Diagnostic::new(Code::DefaultType, message);
        report_rejected(problem, default.span, "is", &name.text, &default.value, consumers, problems);
    } else if let Some(schedule) = check.document.schedule.as_ref().filter(|_| needs_default) {
        let message = format!("the workflow has a schedule, but `{}` has no default", name.text);
        let problem = Diagnostic::new(Code::ScheduleParameter, message).at(name.span, "no default");
        let problem = problem.and(schedule.at, "scheduled runs use the defaults");
        problems.add(problem.help(format!("add a default: `{}: ..`", name.text)));
    }
    match given.and_then(|given| given.get(&name.text)) {
        Some(Given::Value(value)) => {
            let problem = Diagnostic::new(Code::ParameterType, format!("the value for `{}` is invalid", name.text));
            report_rejected(problem, name.span, "was given as", &name.text, value, consumers, problems);
            Some(Source::Value(value.clone()))
        }
        Some(Given::Text(text)) => Some(Source::Value(parse_text(parameter, text, consumers, problems))),
        Some(Given::Time) => Some(Source::Time),
        Some(Given::Date) => Some(Source::Date),
        None => {
            let default = parameter.default.as_ref().map(|it| it.value.clone());
            if default.is_none() && given.is_some() && check.document.is_complete {
                let message = format!("the parameter `{}` has no value", name.text);
                let problem = Diagnostic::new(Code::MissingParameter, message).at(name.span, "has no default");
                let problem = consumers
                    .iter()
                    .fold(problem, |it, (task, known, shape)| it.note(describe_input(task, known, &name.text, shape)));
                problems.add(problem.help(format!("set it: `{}=..`", name.text)));
            }
            default.map(Source::Value)
        }
    }
}

/// Converts text into a value: it is parsed as JSON if all tasks accept the result, and is a string otherwise.
fn parse_text(parameter: &Parameter, text: &str, consumers: &[Consumer<'_>], problems: &mut Problems) -> Value {
    let accepted = |value: &Value| consumers.iter().all(|(_, _, shape)| shape.violations(value).is_empty());
    let plain = Value::from(text);
    let Ok(json) = serde_json::from_str::<Value>(text) else {
        let name = &parameter.name;
        let problem = Diagnostic::new(Code::ParameterType, format!("the value for `{}` is invalid", name.text));
        report_rejected(problem, name.span, "was given as", &name.text, &plain, consumers, problems);
        return plain;
    };
    if accepted(&json) {
        return json;
    }
    if accepted(&plain) {
        return plain;
    }
    let name = &parameter.name;
    let problem = Diagnostic::new(Code::ParameterType, format!("the value for `{}` is invalid", name.text));
    report_rejected(problem, name.span, "was given as", &name.text, &json, consumers, problems);
    json
}

/// Reports which tasks do not accept a value.
fn report_rejected(
    problem: Diagnostic,
    at: Span,
    verb: &str,
    name: &str,
    value: &Value,
    consumers: &[Consumer<'_>],
    problems: &mut Problems,
) {
    let mut mismatches: Vec<String> = Vec::new();
    for (task, known, shape) in consumers.iter().filter(|(_, known, _)| known.is_sound) {
        let violations = shape.violations(value);
        if !violations.is_empty() {
            mismatches.extend(violations);
            mismatches.push(describe_input(task, known, name, shape));
        }
    }
    if mismatches.is_empty() {
        return;
    }
    let problem = problem.at(at, format!("`{name}` {verb} {}", notation::literal(value)));
    problems.add(mismatches.into_iter().fold(problem, Diagnostic::note));
}

/// Reports values for parameters that the workflow does not have.
fn unknown(check: &Check<'_>, given: &Parameters, problems: &mut Problems) {
    let names: Vec<&str> = check.document.parameters.iter().map(|it| it.name.text.as_str()).collect();
    for name in given.keys().filter(|name| !names.contains(&name.as_str())) {
        let mut problem = Diagnostic::new(Code::UnknownParameter, format!("the workflow has no parameter `{name}`"));
        problem = match check.document.parameters_at {
            Some(at) => problem.at(at, "its parameters are declared here"),
            None => problem.note("it has no `input`, where parameters are declared"),
        };
        problem = match nearest(name, names.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None if names.is_empty() => problem,
            None => problem.note(format!("its parameters are {}", crate::diagnostic::list(&names))),
        };
        problems.add(problem);
    }
}

/// Warns about a parameter that no task takes, unless an earlier error may be the reason.
fn unused(check: &Check<'_>, parameter: &Parameter, problems: &mut Problems) {
    let clear =
        check.tasks().all(|(task, known, dependencies)| task.is_complete && known.is_sound && dependencies.is_complete);
    if !clear || check.document.tasks.is_empty() {
        return;
    }
    let name = &parameter.name;
    let provided_by = |(_, known, dependencies): (&Task, &Known, &Dependencies)| {
        let from_task =
            dependencies.needs.iter().any(|(need, _)| check.task(*need).is_some_and(|it| it.0.name.text == name.text));
        (known.inputs.names(&name.text), from_task)
    };
    if check.tasks().map(provided_by).any(|(names, from_task)| names && from_task) {
        // An input of this name comes from a task instead, and that ambiguity has been reported.
        return;
    }
    let problem = Diagnostic::new(Code::UnusedParameter, format!("no task takes the parameter `{}`", name.text));
    let problem = problem.at(name.span, "unused");
    if check.tasks().map(provided_by).any(|(names, _)| names) {
        problems.add(problem.note("the tasks that have this input set it themselves"));
        return;
    }
    let inputs = check.tasks().flat_map(|(_, known, _)| known.inputs.fields.iter().map(|(name, ..)| name.as_str()));
    problems.add(match nearest(&name.text, inputs) {
        Some(near) => problem.did_you_mean(name.span, near),
        None => problem.help("a task takes it if it has an input of that name"),
    });
}
