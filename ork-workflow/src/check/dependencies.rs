//! Resolves the names of the tasks that each task depends on.

use std::collections::HashMap;

use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::document::{Document, InstanceCount, Path, Task};
use crate::file::Span;
use crate::plan::OnFailure;
use crate::yaml::Word;

/// The dependencies of a task. Tasks are numbered in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    /// The tasks that it waits for, each with the location that first names it.
    pub(super) needs: Vec<(usize, Span)>,
    /// The task whose output `foreach` refers to.
    pub(super) foreach: Option<usize>,
    /// The task whose output `parallel` refers to.
    pub(super) parallel: Option<usize>,
    /// Whether all names were found.
    pub(super) is_complete: bool,
}

impl Dependencies {
    pub(super) fn depends_on_task(&self, index: usize) -> bool {
        self.needs.iter().any(|(need, _)| *need == index)
    }
}

/// Resolves the dependencies of all tasks.
pub(super) fn resolve_all(document: &Document, problems: &mut Problems) -> Vec<Dependencies> {
    let names = document.tasks.iter().enumerate().map(|(index, task)| (task.name.text.as_str(), index));
    let resolver = Resolver { document, names: names.collect() };
    document.tasks.iter().enumerate().map(|(index, task)| resolver.task(index, task, problems)).collect()
}

struct Resolver<'a> {
    document: &'a Document,
    names: HashMap<&'a str, usize>,
}

impl Resolver<'_> {
    fn task(&self, index: usize, task: &Task, problems: &mut Problems) -> Dependencies {
        let mut dependencies = Dependencies { is_complete: true, ..Dependencies::default() };
        let mut listed: HashMap<&str, Span> = HashMap::new();
        for word in &task.depends_on {
            if let Some(first) = listed.insert(&word.text, word.span) {
                let message = format!("`{}` depends on `{}` twice", task.name.text, word.text);
                let problem = Diagnostic::new(Code::DuplicateDependency, message);
                problems.add(problem.at(word.span, "the second time").and(first, "the first"));
                continue;
            }
            self.resolve(index, word, word.span, &mut dependencies, problems);
        }
        if let Some(path) = &task.foreach {
            dependencies.foreach = self.path(index, path, &mut dependencies, problems);
        }
        if let Some(InstanceCount::Of(path)) = &task.parallel {
            dependencies.parallel = self.path(index, path, &mut dependencies, problems);
        }
        if let (Some((OnFailure::Run, span)), true, true) =
            (task.on_failure, dependencies.is_complete && task.is_complete, dependencies.needs.is_empty())
        {
            let message = format!("`on_failure` has no effect: `{}` depends on no other task", task.name.text);
            let problem = Diagnostic::new(Code::NothingToFail, message).at(span, "no effect");
            problems.add(problem.help("remove it, or add `depends_on`"));
        }
        dependencies
    }

    fn path(
        &self,
        index: usize,
        path: &Path,
        dependencies: &mut Dependencies,
        problems: &mut Problems,
    ) -> Option<usize> {
        self.resolve(index, &path.task, path.span, dependencies, problems)
    }

    /// Resolves the name of a task, and adds it as a dependency.
    fn resolve(
        &self,
        index: usize,
        word: &Word,
        at: Span,
        dependencies: &mut Dependencies,
        problems: &mut Problems,
    ) -> Option<usize> {
        let Some(need) = self.names.get(word.text.as_str()).copied() else {
            problems.add(self.unknown(index, word));
            dependencies.is_complete = false;
            return None;
        };
        if need == index {
            let message = format!("`{}` depends on itself", word.text);
            let problem = Diagnostic::new(Code::SelfReference, message).at(at, "the task itself");
            problems.add(problem.help("use a task that runs before it"));
            dependencies.is_complete = false;
            return None;
        }
        if !dependencies.depends_on_task(need) {
            dependencies.needs.push((need, at));
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
        problem.suggest(word.span, &word.text, others.map(|(_, task)| task.name.text.as_str()), "the other tasks are")
    }
}
