//! Resolves the names of the tasks that each task depends on.

use std::collections::HashMap;

use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::document::{Document, Many, Path, Task};
use crate::file::Span;
use crate::plan::OnFailure;
use crate::yaml::Word;

/// The dependencies of a task. Tasks are numbered in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Wires {
    /// The tasks that it waits for, each with the location that first names it.
    pub(super) needs: Vec<(usize, Span)>,
    /// The task whose output `foreach` refers to.
    pub(super) foreach: Option<usize>,
    /// The task whose output `parallel` refers to.
    pub(super) parallel: Option<usize>,
    /// Whether all names were found.
    pub(super) is_whole: bool,
}

impl Wires {
    pub(super) fn waits_for(&self, index: usize) -> bool {
        self.needs.iter().any(|(need, _)| *need == index)
    }
}

/// Resolves the dependencies of all tasks.
pub(super) fn connect(document: &Document, problems: &mut Problems) -> Vec<Wires> {
    let names = document.tasks.iter().enumerate().map(|(index, task)| (task.name.text.as_str(), index));
    let connector = Connector { document, names: names.collect() };
    document.tasks.iter().enumerate().map(|(index, task)| connector.task(index, task, problems)).collect()
}

struct Connector<'a> {
    document: &'a Document,
    names: HashMap<&'a str, usize>,
}

impl Connector<'_> {
    fn task(&self, index: usize, task: &Task, problems: &mut Problems) -> Wires {
        let mut wires = Wires { is_whole: true, ..Wires::default() };
        let mut listed: HashMap<&str, Span> = HashMap::new();
        for word in &task.depends_on {
            if let Some(first) = listed.insert(&word.text, word.span) {
                let message = format!("`{}` depends on `{}` twice", task.name.text, word.text);
                let problem = Diagnostic::new(Code::DuplicateDependency, message);
                problems.add(problem.at(word.span, "the second time").and(first, "the first"));
                continue;
            }
            self.wire(index, word, word.span, &mut wires, problems);
        }
        if let Some(path) = &task.foreach {
            wires.foreach = self.path(index, path, &mut wires, problems);
        }
        if let Some(Many::Of(path)) = &task.parallel {
            wires.parallel = self.path(index, path, &mut wires, problems);
        }
        if let (Some((OnFailure::Run, span)), true, true) =
            (task.on_failure, wires.is_whole && task.is_whole, wires.needs.is_empty())
        {
            let message = format!("`on_failure` has no effect: `{}` depends on no other task", task.name.text);
            let problem = Diagnostic::new(Code::NothingToFail, message).at(span, "no effect");
            problems.add(problem.help("remove it, or add `depends_on`"));
        }
        wires
    }

    fn path(&self, index: usize, path: &Path, wires: &mut Wires, problems: &mut Problems) -> Option<usize> {
        self.wire(index, &path.task, path.span, wires, problems)
    }

    /// Resolves the name of a task, and adds it as a dependency.
    fn wire(&self, index: usize, word: &Word, at: Span, wires: &mut Wires, problems: &mut Problems) -> Option<usize> {
        let Some(need) = self.names.get(word.text.as_str()).copied() else {
            problems.add(self.unknown(index, word));
            wires.is_whole = false;
            return None;
        };
        if need == index {
            let message = format!("`{}` depends on itself", word.text);
            let problem = Diagnostic::new(Code::SelfReference, message).at(at, "the task itself");
            problems.add(problem.help("use a task that runs before it"));
            wires.is_whole = false;
            return None;
        }
        if !wires.waits_for(need) {
            wires.needs.push((need, at));
        }
        Some(need)
    }

    fn unknown(&self, index: usize, word: &Word) -> Diagnostic {
        let problem = Diagnostic::new(Code::UnknownTask, format!("there is no task `{}`", word.text));
        let problem = problem.at(word.span, "not a task of this workflow");
        if self.document.parameters.iter().any(|it| it.name.text == word.text) {
            let note = format!(
                "`{}` is a parameter; it is passed to tasks with an input of that name, without `depends_on`",
                word.text
            );
            return problem.note(note);
        }
        if let Some((task, _)) = word.text.split_once('.').filter(|(task, _)| self.names.contains_key(task)) {
            return problem
                .note("`depends_on` takes the names of tasks, not their outputs")
                .did_you_mean(word.span, task);
        }
        let others = self.document.tasks.iter().enumerate().filter(|(other, _)| *other != index);
        problem.meant(word.span, &word.text, others.map(|(_, task)| task.name.text.as_str()), "the other tasks are")
    }
}
