//! The keys that are allowed in each place, and messages about others.

use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::yaml::{Entry, Kind, Node, Word};

/// The keys of a workflow.
pub(super) const WORKFLOW: &[&str] = &["name", "schedule", "input", "tasks"];

/// The keys of a schedule.
pub(super) const SCHEDULE: &[&str] = &["cron", "timezone", "missed", "overlap", "time_as", "date_as"];

/// The keys of a task.
pub(super) const TASK: &[&str] = &[
    "executor",
    "task",
    "file",
    "command",
    "depends_on",
    "input",
    "foreach",
    "parallel",
    "concurrency",
    "retries",
    "retry_delay",
    "timeout",
    "on_failure",
    "env",
];

/// The names of keys in other systems, and the corresponding key of this language.
const ELSEWHERE: &[(&str, &str)] = &[
    ("needs", "depends_on"),
    ("after", "depends_on"),
    ("requires", "depends_on"),
    ("dependencies", "depends_on"),
    ("with", "input"),
    ("inputs", "input"),
    ("args", "input"),
    ("arguments", "input"),
    ("params", "input"),
    ("parameters", "input"),
    ("for_each", "foreach"),
    ("loop", "foreach"),
    ("with_items", "foreach"),
    ("matrix", "foreach"),
    ("max_parallel", "concurrency"),
    ("run", "command"),
    ("cmd", "command"),
    ("script", "file"),
    ("type", "executor"),
    ("uses", "executor"),
    ("retry", "retries"),
    ("environment", "env"),
    ("steps", "tasks"),
    ("jobs", "tasks"),
    ("cron", "schedule"),
    ("tz", "timezone"),
    ("catchup", "missed"),
    ("concurrency_policy", "overlap"),
];

/// The entries of one mapping, looked up by key.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    entries: &'a [Entry],
}

impl<'a> Keys<'a> {
    /// Interprets a value as a mapping. Reports unknown keys, and values that are not mappings.
    pub(super) fn of(node: &'a Node, owner: &str, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            super::values::wrong(node, &format!("{owner} must be a mapping"), problems);
            return None;
        };
        for entry in entries.iter().filter(|it| !known.contains(&it.key.text.as_str())) {
            problems.add(unknown(&entry.key, owner, known));
        }
        Some(Self { entries })
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|it| &it.value)
    }

    /// Returns a key together with its value.
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|it| it.key.text == key)
    }
}

fn unknown(key: &Word, owner: &str, known: &[&str]) -> Diagnostic {
    let problem = Diagnostic::new(Code::UnknownKey, format!("{owner} has no key `{}`", key.text));
    let problem = problem.at(key.span, "unknown key");
    let elsewhere = ELSEWHERE.iter().find(|(word, here)| *word == key.text && known.contains(here));
    match elsewhere {
        Some((_, here)) => problem.did_you_mean(key.span, here),
        None => problem.suggest(key.span, &key.text, known.iter().copied(), "its keys are"),
    }
}
