//! Reads one task of a workflow.

use std::collections::BTreeMap;

use super::keys::{Keys, TASK};
use super::{Constant, InstanceCount, Program, Task, values};
use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::file::File;
use crate::plan::OnFailure;
use crate::yaml::{Entry, Kind, Node, Word};

/// The maximum constant in `parallel`, for each item.
const MOST_INSTANCES: u64 = 10_000_000;

/// The executor of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Executor {
    Rust,
    Python,
    Process,
}

const EXECUTORS: &[(&str, Executor)] =
    &[("rust", Executor::Rust), ("python", Executor::Python), ("process", Executor::Process)];

/// Reads a task. An empty value stands for the Rust task of the same name.
pub(super) fn read(file: &File, entry: &Entry, problems: &mut Problems) -> Task {
    let before = problems.count();
    values::check_name(&entry.key, "a task", problems);
    let empty = Node::new(entry.value.span, Kind::Map(Vec::new()));
    let node = if matches!(entry.value.kind, Kind::Null) { &empty } else { &entry.value };
    let mut task = empty_task(entry.key.clone());
    let Some(keys) = Keys::of(node, "a task", TASK, problems) else { return task };
    let mut reader = Reader { file, keys, problems };
    task.program = reader.program(&entry.key);
    task.depends_on = reader.depends_on();
    task.input = reader.input();
    task.foreach = reader.foreach();
    task.parallel = reader.parallel();
    task.fan_out_at = ["foreach", "parallel"].iter().find_map(|key| reader.keys.get(key)).map(Node::place);
    task.concurrency = reader.small("concurrency", 1);
    task.retries = reader.small("retries", 0);
    task.retry_delay = reader.duration("retry_delay", 0);
    task.timeout = reader.duration("timeout", 1);
    task.on_failure = reader.on_failure();
    task.env = reader.env();
    task.is_complete = problems.count() == before;
    task
}

fn empty_task(name: Word) -> Task {
    Task {
        name,
        is_complete: false,
        program: None,
        depends_on: Vec::new(),
        input: Vec::new(),
        foreach: None,
        parallel: None,
        fan_out_at: None,
        concurrency: None,
        retries: None,
        retry_delay: None,
        timeout: None,
        on_failure: None,
        env: BTreeMap::new(),
    }
}

struct Reader<'a> {
    file: &'a File,
    keys: Keys<'a>,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn text(&mut self, key: &str) -> Option<Word> {
        let node = self.keys.get(key)?;
        values::text(self.file, node, &format!("`{key}`"), self.problems)
    }

    fn small(&mut self, key: &str, least: u64) -> Option<u32> {
        values::small(self.keys.get(key)?, &format!("`{key}`"), least, self.problems)
    }

    fn duration(&mut self, key: &str, least: u64) -> Option<u64> {
        values::duration(self.file, self.keys.get(key)?, &format!("`{key}`"), least, self.problems)
    }

    fn program(&mut self, name: &Word) -> Option<Program> {
        let executor = match self.keys.get("executor") {
            Some(node) => values::choice(self.file, node, "`executor`", EXECUTORS, self.problems)?,
            None => Executor::Rust,
        };
        let before = self.problems.count();
        let (others, of): (&[&str], &str) = match executor {
            Executor::Rust => (&["file", "command", "env"], "rust"),
            Executor::Python => (&["task", "command"], "python"),
            Executor::Process => (&["task"], "process"),
        };
        for key in others {
            self.check_executor(key, of);
        }
        if self.problems.count() > before {
            return None;
        }
        match executor {
            Executor::Rust if self.keys.get("task").is_none() => Some(Program::Rust(name.clone())),
            Executor::Rust => self.text("task").map(Program::Rust),
            Executor::Python => self.file(name).map(Program::Python),
            Executor::Process => self.command(name).map(Program::Process),
        }
    }

    /// Reports a key that tasks with this executor do not have, if it is present.
    fn check_executor(&mut self, key: &str, executor: &str) {
        let Some(entry) = self.keys.entry(key) else { return };
        let of = match key {
            "task" => "rust",
            "command" => "process",
            "file" if matches!(&entry.value.kind, Kind::Text(file) if file.to_lowercase().ends_with(".py")) => "python",
            _ => "python` or `executor: process",
        };
        let message = format!("`{key}` is only valid with `executor: {of}`");
        let problem = Diagnostic::new(Code::WrongExecutor, message);
        let problem = match self.keys.entry("executor") {
            Some(entry) => problem.and(entry.value.span, "executor set here"),
            None => problem.note("a task without `executor` is a task of the Rust program"),
        };
        let problem = problem.at(entry.key.span, format!("not valid with `executor: {executor}`"));
        self.problems.add(problem.help(if self.keys.get("executor").is_some() {
            format!("remove `{key}`, or write `executor: {of}`")
        } else {
            format!("add `executor: {of}`")
        }));
    }

    fn missing(&mut self, name: &Word, executor: &str, keys: &str, help: &str) {
        let message = format!("a task with `executor: {executor}` needs {keys}");
        let problem = Diagnostic::new(Code::MissingKey, message).at(name.span, format!("has no {keys}"));
        self.problems.add(problem.help(help));
    }

    fn file(&mut self, name: &Word) -> Option<Word> {
        if self.keys.get("file").is_none() {
            self.missing(name, "python", "`file`", &format!("add `file: tasks/{}.py`", name.text));
        }
        self.text("file")
    }

    fn command(&mut self, name: &Word) -> Option<Vec<Word>> {
        let (Some(node), both) = (self.keys.get("command"), self.keys.entry("file")) else {
            if self.keys.get("file").is_none() {
                let help = "add a line such as `command: [./clean.sh, --all]`";
                self.missing(name, "process", "`command` or `file`", help);
            }
            return self.text("file").map(|file| vec![relative_to_folder(file)]);
        };
        if let Some(entry) = both {
            let problem = Diagnostic::new(Code::WrongValue, "a task cannot have both `command` and `file`");
            let problem = problem.at(entry.key.span, "set again here").and(node.place(), "program set here");
            self.problems.add(problem.help("keep `command`, and remove `file`"));
            return None;
        }
        let nodes = match &node.kind {
            Kind::List(nodes) if !nodes.is_empty() => nodes,
            Kind::Text(line) => {
                let arguments: Vec<&str> = line.split_whitespace().collect();
                let problem =
                    Diagnostic::new(Code::WrongValue, "`command` must be a list of a program and its arguments");
                let problem = problem.at(node.span, "this is a string");
                self.problems.add(
                    problem.note("it is not passed to a shell").help(format!("write `[{}]`", arguments.join(", "))),
                );
                return None;
            }
            _ => {
                values::wrong(node, "`command` must be a list of a program and its arguments", self.problems);
                return None;
            }
        };
        let elements: Vec<_> =
            nodes.iter().map(|node| as_written(self.file, node, "an element of `command`", self.problems)).collect();
        elements.into_iter().collect()
    }

    fn depends_on(&mut self) -> Vec<Word> {
        let Some(node) = self.keys.get("depends_on") else { return Vec::new() };
        match &node.kind {
            Kind::List(nodes) => {
                let names = nodes.iter().map(|node| values::text(self.file, node, "a dependency", self.problems));
                names.collect::<Vec<_>>().into_iter().flatten().collect()
            }
            Kind::Text(text) => vec![Word { text: text.clone(), span: node.span }],
            _ => {
                values::wrong(node, "`depends_on` must be the name of a task or a list of names", self.problems);
                Vec::new()
            }
        }
    }

    fn input(&mut self) -> Vec<(Word, Constant)> {
        let Some(node) = self.keys.get("input") else { return Vec::new() };
        match &node.kind {
            Kind::Map(entries) => {
                let pairs = entries.iter().map(|it| Some((it.key.clone(), values::constant(&it.value)?)));
                pairs.flatten().collect()
            }
            Kind::Null => Vec::new(),
            _ => {
                values::wrong(node, "`input` must be a mapping of inputs to their values", self.problems);
                Vec::new()
            }
        }
    }

    fn foreach(&mut self) -> Option<super::Path> {
        let node = self.keys.get("foreach")?;
        if let Kind::List(_) = &node.kind {
            let problem =
                Diagnostic::new(Code::WrongValue, "`foreach` must refer to the output of a task, found a list");
            let problem = problem.at(node.place(), "this is a list");
            self.problems.add(problem.help("return the list from a task, and refer to it: `foreach: task.field`"));
            return None;
        }
        let word = self.text("foreach")?;
        values::path(self.file, &word, "foreach", self.problems)
    }

    fn parallel(&mut self) -> Option<InstanceCount> {
        let node = self.keys.get("parallel")?;
        if let Kind::Text(text) = &node.kind {
            let word = Word { text: text.clone(), span: node.span };
            return values::path(self.file, &word, "parallel", self.problems).map(InstanceCount::Of);
        }
        let what = "`parallel`, unless it refers to the output of a task,";
        values::number(node, what, 1, MOST_INSTANCES, self.problems).map(InstanceCount::Fixed)
    }

    fn on_failure(&mut self) -> Option<(OnFailure, crate::Span)> {
        let node = self.keys.get("on_failure")?;
        let choices = &[("skip", OnFailure::Skip), ("run", OnFailure::Run)];
        let choice = values::choice(self.file, node, "`on_failure`", choices, self.problems)?;
        Some((choice, node.span))
    }

    fn env(&mut self) -> BTreeMap<String, String> {
        let Some(node) = self.keys.get("env") else { return BTreeMap::new() };
        let Kind::Map(entries) = &node.kind else {
            values::wrong(node, "`env` must be a mapping of variables to strings", self.problems);
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for Entry { key, value } in entries {
            if key.text.is_empty() || key.text.contains(['=', '\0']) {
                let problem = Diagnostic::new(Code::BadName, format!("a variable cannot be named `{}`", key.text));
                self.problems.add(problem.at(key.span, "invalid name of a variable"));
            } else if let Some(word) = as_written(self.file, value, "a variable", self.problems) {
                variables.insert(key.text.clone(), word.text);
            }
        }
        variables
    }
}

/// Makes a file name without a `/` relative to the folder of the workflow; otherwise it would be searched for in the
/// `PATH`.
fn relative_to_folder(file: Word) -> Word {
    let text = if file.text.contains('/') { file.text } else { format!("./{}", file.text) };
    Word { text, span: file.span }
}

/// Reads a string. A number or a boolean is used as it is spelled in the file.
fn as_written(file: &File, node: &Node, what: &str, problems: &mut Problems) -> Option<Word> {
    match &node.kind {
        Kind::Text(text) => Some(Word { text: text.clone(), span: node.span }),
        Kind::Bool(_) | Kind::Number(_) => {
            Some(Word { text: file.slice(node.span).trim().to_owned(), span: node.span })
        }
        _ => {
            values::wrong(node, &format!("{what} must be a string"), problems);
            None
        }
    }
}
