//! Reads the top level of a workflow: its name, schedule, parameters and tasks.

use super::keys::{Keys, SCHEDULE, WORKFLOW};
use super::{Document, Parameter, ScheduleText, task, values};
use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::file::File;
use crate::plan::MOST_TASKS;
use crate::schedule::{Missed, Overlap};
use crate::yaml::{Entry, Kind, Node};

/// The maximum number of parameters of a workflow.
const MOST_PARAMETERS: usize = 1_000;

/// Reads a workflow, and reports all errors in the way it is written.
pub(crate) fn read(file: &File, root: &Node, problems: &mut Problems) -> Document {
    let mut document = Document::default();
    let before = problems.count();
    let Some(keys) = Keys::of(root, "a workflow", WORKFLOW, problems) else { return document };
    match keys.get("name") {
        Some(node) => document.name = name(file, node, problems),
        None if !values::is_name(file.stem()) => problems.add(no_valid_name(file)),
        None => {}
    }
    document.schedule = keys.entry("schedule").and_then(|entry| schedule(file, entry, problems));
    if let Some(entry) = keys.entry("input") {
        document.parameters_at = Some(entry.key.span);
        document.parameters = parameters(&entry.value, problems);
    }
    document.is_complete = problems.count() == before;
    match keys.entry("tasks") {
        Some(entry) => document.tasks = tasks(file, entry, problems),
        None if document.is_complete => {
            let missing = Diagnostic::new(Code::MissingKey, "the workflow has no `tasks`");
            let missing = missing.at(root.place(), "missing `tasks`");
            problems.add(missing.help("add `tasks:` with a key for each task"));
        }
        None => {}
    }
    document
}

fn name(file: &File, node: &Node, problems: &mut Problems) -> Option<String> {
    let word = values::text(file, node, "`name`", problems)?;
    values::check_name(&word, "a workflow", problems).then_some(word.text)
}

/// Reports that the name of the file cannot be the name of the workflow.
fn no_valid_name(file: &File) -> Diagnostic {
    let message = format!("the workflow cannot be named `{}` after its file", file.stem());
    let word: String = file.stem().chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect();
    let problem = Diagnostic::new(Code::BadName, message).note(values::name_rule());
    let word = word.trim_start_matches(|it: char| !it.is_ascii_alphabetic());
    if values::is_name(word) {
        problem.help(format!("add a line `name: {word}`"))
    } else {
        problem.help("add a line `name: ..`")
    }
}

fn schedule(file: &File, entry: &Entry, problems: &mut Problems) -> Option<ScheduleText> {
    let at = entry.key.span;
    if !matches!(entry.value.kind, Kind::Map(_)) {
        let cron = values::text(file, &entry.value, "`schedule`", problems)?;
        let (missed, overlap) = (Missed::default(), Overlap::default());
        return Some(ScheduleText { at, cron, timezone: None, missed, overlap, time_as: None, date_as: None });
    }
    let keys = Keys::of(&entry.value, "`schedule`", SCHEDULE, problems)?;
    let timezone = keys.get("timezone").and_then(|node| values::text(file, node, "`timezone`", problems));
    let choices = &[("skip", Missed::Skip), ("once", Missed::Once), ("all", Missed::All)];
    let missed = keys.get("missed").and_then(|node| values::choice(file, node, "`missed`", choices, problems));
    let choices = &[("allow", Overlap::Allow), ("skip", Overlap::Skip)];
    let overlap = keys.get("overlap").and_then(|node| values::choice(file, node, "`overlap`", choices, problems));
    let time_as = keys.get("time_as").and_then(|node| values::text(file, node, "`time_as`", problems));
    let date_as = keys.get("date_as").and_then(|node| values::text(file, node, "`date_as`", problems));
    let Some(node) = keys.get("cron") else {
        let missing = Diagnostic::new(Code::MissingKey, "a schedule needs `cron`").at(at, "missing `cron`");
        problems.add(missing.help("add a line such as `cron: \"0 6 * * *\"` (every day at 6:00)"));
        return None;
    };
    let cron = values::text(file, node, "`cron`", problems)?;
    let (missed, overlap) = (missed.unwrap_or_default(), overlap.unwrap_or_default());
    Some(ScheduleText { at, cron, timezone, missed, overlap, time_as, date_as })
}

fn parameters(node: &Node, problems: &mut Problems) -> Vec<Parameter> {
    let entries = match &node.kind {
        Kind::Map(entries) => entries,
        Kind::Null => return Vec::new(),
        _ => {
            values::wrong(node, "`input` must be a mapping of parameters to their defaults", problems);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    if let Some(first) = entries.get(MOST_PARAMETERS) {
        let message = format!("the workflow has {} parameters, at most {MOST_PARAMETERS} are allowed", entries.len());
        problems.add(Diagnostic::new(Code::OutOfRange, message).at(first.key.span, "one too many"));
        return found;
    }
    for Entry { key, value } in entries {
        if values::check_name(key, "a parameter", problems) {
            let default = match value.kind {
                Kind::Null => None,
                _ => values::constant(value),
            };
            found.push(Parameter { name: key.clone(), default });
        }
    }
    found
}

fn tasks(file: &File, entry: &Entry, problems: &mut Problems) -> Vec<super::Task> {
    let entries = match &entry.value.kind {
        Kind::Map(entries) => entries.as_slice(),
        Kind::Null => &[],
        _ => {
            values::wrong(&entry.value, "`tasks` must be a mapping of names to tasks, such as `clean: {..}`", problems);
            return Vec::new();
        }
    };
    if entries.is_empty() && problems.count() > 0 {
        // The tasks may be among the keys that could not be read.
        return Vec::new();
    }
    if entries.is_empty() || entries.len() > MOST_TASKS {
        let message = match entries.len() {
            0 => "the workflow has no tasks".to_owned(),
            count => format!("the workflow has {count} tasks, at most {MOST_TASKS} are allowed"),
        };
        let problem = Diagnostic::new(Code::TaskCount, message);
        let problem = problem.at(entry.key.span, if entries.is_empty() { "no tasks" } else { "too many" });
        problems.add(if entries.is_empty() {
            problem.help("add a key for each task, such as `clean:` with `executor: process` and `command: [..]`")
        } else {
            problem.help("one task with `foreach` can have millions of instances")
        });
        return Vec::new();
    }
    entries.iter().map(|entry| task::read(file, entry, problems)).collect()
}
