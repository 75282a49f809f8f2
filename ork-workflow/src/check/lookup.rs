//! Looks up what each task executes, and what it takes and returns.

use super::shape::{Inputs, Shape};
use crate::catalog::{Answer, Catalog, Signature, Unavailable};
use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::document::{Program, Task};
use crate::plan::{Form, Runs};
use crate::yaml::Word;

/// The result of the lookup of a task.
#[derive(Debug)]
pub(super) struct Known {
    /// The code that the task executes; `None` if it cannot run.
    pub(super) runs: Option<Runs>,
    /// The inputs, for the form that was chosen.
    pub(super) inputs: Inputs,
    /// The inputs if the only parameter takes the field of its name and not the whole input; `None` if there is no
    /// such choice.
    pub(super) by_name: Option<Inputs>,
    /// The form of the input that was chosen.
    pub(super) form: Form,
    /// The type of the whole input, if it is not an object; `None` otherwise.
    pub(super) not_an_object: Option<Shape>,
    /// The type that one instance returns; `None` if it is not known.
    pub(super) output: Option<Shape>,
    /// The source location of the function; empty if it is not known.
    pub(super) place: String,
    /// Whether this information can be relied on. It is `false` after an error in it was reported, so that no further
    /// errors follow from that one.
    pub(super) is_sound: bool,
}

impl Known {
    fn unknown(runs: Option<Runs>) -> Self {
        let is_sound = runs.is_some();
        // For Python, the interpreter inspects the function when it is called; for other tasks that is not possible.
        let form = if matches!(runs, Some(Runs::Python { .. })) { Form::Either } else { Form::Whole };
        Self {
            runs,
            inputs: Inputs::anything(),
            by_name: None,
            form,
            not_an_object: None,
            output: None,
            place: String::new(),
            is_sound,
        }
    }

    /// Formats the source location of the function, in parentheses.
    pub(super) fn at(&self) -> String {
        if self.place.is_empty() { String::new() } else { format!(" ({})", self.place) }
    }
}

/// Looks up a task in the catalog.
pub(super) fn look_up(task: &Task, catalog: &dyn Catalog, problems: &mut Problems) -> Known {
    let Some(program) = &task.program else { return Known::unknown(None) };
    let (word, runs, answer) = match program {
        Program::Rust(word) => (word, Runs::Rust { task: word.text.clone() }, catalog.rust(&word.text)),
        Program::Python(word) => {
            let answer = if_inside_folder(&word.text, || catalog.python(&word.text));
            (word, Runs::Python { file: word.text.clone() }, answer)
        }
        Program::Process(command) => {
            let Some(word) = command.first() else { return Known::unknown(None) };
            let command = command.iter().map(|word| word.text.clone()).collect();
            (word, Runs::Process { command }, if_inside_folder(&word.text, || catalog.program(&word.text)))
        }
    };
    match answer {
        Answer::Known(signature) => known(task, word, runs, &signature, problems),
        Answer::Unknown => Known::unknown(Some(runs)),
        Answer::Unavailable(why) => {
            problems.add(unavailable(word, program, why, catalog));
            Known::unknown(None)
        }
    }
}

/// Runs a lookup for a file, unless its path leads out of the folder of the workflow.
fn if_inside_folder(file: &str, answer: impl FnOnce() -> Answer) -> Answer {
    let mut depth = 0_i32;
    let mut leaves = file.starts_with(['/', '\\']) || file.get(1..3).is_some_and(|it| it == ":\\" || it == ":/");
    for part in file.split(['/', '\\']) {
        depth += match part {
            ".." => -1,
            "" | "." => 0,
            _ => 1,
        };
        leaves |= depth < 0;
    }
    if leaves { Answer::Unavailable(Unavailable::Outside) } else { answer() }
}

fn known(task: &Task, word: &Word, runs: Runs, signature: &Signature, problems: &mut Problems) -> Known {
    let (input, output) = (Shape::new(signature.input.clone()), Shape::new(signature.output.clone()));
    let mut known = Known::unknown(Some(runs));
    known.place.clone_from(&signature.place);
    known.output = Some(output);
    known.form = Form::Whole;
    known.by_name = signature.by_name.as_ref().and_then(|schema| Shape::new(schema.clone()).inputs());
    if signature.splits && task.fans_out() {
        let message = format!("`{}` has a split, so a workflow cannot fan it out", word.text);
        let at = task.fan_out_at.unwrap_or(task.name.span);
        let problem = Diagnostic::new(Code::SplitsItself, message).at(at, "fan-out declared here");
        let problem = problem.note(format!("its split is defined in the program{}", known.at()));
        problems.add(problem.help("remove `foreach` and `parallel`, or name a task without a split"));
        known.is_sound = false;
    }
    match input.inputs() {
        Some(inputs) => known.inputs = inputs,
        None => known.not_an_object = Some(input),
    }
    known
}

fn unavailable(word: &Word, program: &Program, why: Unavailable, catalog: &dyn Catalog) -> Diagnostic {
    let name = &word.text;
    let problem_at = |code, message: String, label: &str| Diagnostic::new(code, message).at(word.span, label);
    match why {
        Unavailable::NoSuchTask => {
            let problem = problem_at(Code::NoSuchTask, format!("the program has no task `{name}`"), "no such task");
            let names = catalog.rust_names();
            let problem = problem.suggest(word.span, name, names.iter().map(String::as_str), "its tasks are");
            if problem.suggestion.is_some() {
                return problem;
            }
            let problem = problem.note("a task without `executor` is a task of the Rust program");
            problem.help("if another crate defines it, reference that crate in the program, e.g. `use my_tasks as _;`")
        }
        Unavailable::NoSuchFile { nearest } => {
            let found = match program {
                Program::Process(_) if !name.contains('/') => "there is no program",
                _ => "there is no file",
            };
            let problem = problem_at(Code::NoSuchFile, format!("{found} `{name}`"), "not found");
            match nearest {
                Some(near) => problem.did_you_mean(word.span, &near),
                None if name.contains('/') || !matches!(program, Program::Process(_)) => {
                    problem.note("paths are relative to the folder of the workflow")
                }
                None => problem.help(format!("write `./{name}` for a file in the folder of the workflow")),
            }
        }
        Unavailable::NotAFile { found } => {
            let expected = match program {
                Program::Process(_) => "an executable file",
                Program::Rust(_) | Program::Python(_) => "a Python file",
            };
            problem_at(Code::NotAFile, format!("`{name}` is {found}, not a file"), &format!("expected {expected}"))
        }
        Unavailable::NotExecutable => {
            let problem = problem_at(Code::NotExecutable, format!("`{name}` is not executable"), "expected a program");
            problem.help(format!("run `chmod +x {name}` in the folder of the workflow"))
        }
        Unavailable::Outside => {
            let message = format!("`{name}` is outside the folder of the workflow");
            let problem = problem_at(Code::OutsideFolder, message, "not in the folder");
            let problem = problem
                .note("a workflow can only run files in its own folder, and programs in the search path by name");
            match (program, name.rsplit('/').next()) {
                (Program::Process(_), Some(last)) if name.starts_with('/') => {
                    problem.help(format!("write `{last}` to run the program of that name in the search path"))
                }
                _ => problem.help("move the file into the folder, and use a path relative to it"),
            }
        }
        Unavailable::Broken { message } => {
            let problem = problem_at(Code::BrokenFile, format!("`{name}` cannot be loaded"), "no task to run");
            message.lines().filter(|line| !line.trim().is_empty()).fold(problem, |it, line| it.note(line.trim_end()))
        }
        Unavailable::NoExecutor { message } => {
            let problem = problem_at(Code::NoExecutor, format!("`{name}` cannot run here"), "no executor for it");
            message.lines().filter(|line| !line.trim().is_empty()).fold(problem, |it, line| it.note(line.trim_end()))
        }
    }
}
