//! The interface through which the checker looks up tasks: whether they exist, and what they take and return.

use serde_json::Value;

/// A source of information about the tasks that a workflow names. The checker itself reads no files and starts no
/// processes.
pub trait Catalog {
    /// Looks up a Rust task of the program by its name.
    fn rust(&self, name: &str) -> Answer;

    /// Returns the names of all Rust tasks of the program, for suggestions in messages.
    fn rust_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Looks up the task in a Python file. The path is relative to the folder of the workflow and never leads out of
    /// it.
    fn python(&self, file: &str) -> Answer;

    /// Looks up a program. A name with a `/` is a path relative to the folder of the workflow, and never leads out of
    /// it; any other name is a command in the `PATH`.
    fn program(&self, name: &str) -> Answer;
}

/// The result of a lookup in a [`Catalog`].
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each task of a file while that is checked")]
pub enum Answer {
    /// The task exists, with this signature.
    Known(Signature),
    /// Nothing is known about the task, so its inputs and output are not checked.
    Unknown,
    /// The task cannot run.
    Unavailable(Unavailable),
}

/// The inputs and the output of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// The JSON Schema of the input: an object with one property for each input.
    pub input: Value,
    /// For a task whose only parameter takes the whole input: the JSON Schema that applies if that parameter takes
    /// the field of its own name instead, an object with this one property. `None` for any other task.
    pub by_name: Option<Value>,
    /// The JSON Schema of the output.
    pub output: Value,
    /// The source location of the task, such as `src/main.rs:12`.
    pub place: String,
    /// Whether the task has a split, which makes its own parts.
    pub splits: bool,
}

/// The reason why a task cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// The program has no task of that name.
    NoSuchTask,
    /// The file does not exist.
    NoSuchFile {
        /// The existing file with the most similar name, as a suggestion.
        nearest: Option<String>,
    },
    /// The path exists but is not a regular file.
    NotAFile {
        /// The kind of thing that the path is instead, such as "a folder".
        found: String,
    },
    /// The file of a program has no permission to be executed.
    NotExecutable,
    /// The file is outside the folder of the workflow, possibly through a symbolic link.
    Outside,
    /// The file cannot be loaded, or contains no task.
    Broken {
        /// The reason, in one or more lines.
        message: String,
    },
    /// The executor is not available, for example because Python is not installed.
    NoExecutor {
        /// The reason, in one or more lines.
        message: String,
    },
}

/// A catalog that knows no tasks: the language is checked, but no types.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCatalog;

impl Catalog for NoCatalog {
    fn rust(&self, _: &str) -> Answer {
        Answer::Unknown
    }

    fn python(&self, _: &str) -> Answer {
        Answer::Unknown
    }

    fn program(&self, _: &str) -> Answer {
        Answer::Unknown
    }
}
