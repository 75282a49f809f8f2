//! What the checker asks about the world: which tasks exist, and what they take and return.

use serde_json::Value;

/// Who knows the tasks that a workflow can name. The checker asks; it reads no files and starts nothing itself.
pub trait Catalog {
    /// The task of that name in the program.
    fn rust(&self, name: &str) -> Answer;

    /// The names of the program's tasks, for suggestions.
    fn rust_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// The task in a Python file, which is named from the workflow's folder and inside of it.
    fn python(&self, file: &str) -> Answer;

    /// A program: a file named from the workflow's folder and inside of it if the name has a `/`, else a command.
    fn program(&self, name: &str) -> Answer;
}

/// What a catalog knows of a task.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each task of a file while that is checked")]
pub enum Answer {
    /// What it takes and returns.
    Known(Signature),
    /// Nothing is known of it, so nothing is checked.
    Unknown,
    /// It cannot run.
    Unavailable(Unavailable),
}

/// What a task takes and returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// The JSON Schema of its input, an object with a property for each input.
    pub input: Value,
    /// For a task whose only parameter takes the whole input: the JSON Schema of its input if that parameter takes the
    /// field of its own name instead, an object with this one property. `None` for any other task.
    pub by_name: Option<Value>,
    /// The JSON Schema of its output.
    pub output: Value,
    /// Where it is written, such as `src/main.rs:12`.
    pub place: String,
    /// Whether it splits itself into parts.
    pub splits: bool,
}

/// Why a task cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// The program has no task of that name.
    NoSuchTask,
    /// The file does not exist.
    NoSuchFile {
        /// The file that was probably meant.
        nearest: Option<String>,
    },
    /// It is there and no file, such as a folder.
    NotAFile {
        /// What it is, as in "a folder".
        found: String,
    },
    /// The file of a program may not be executed.
    NotExecutable,
    /// The file is outside the workflow's folder; links can lead there.
    Outside,
    /// The file cannot be loaded, or has no task in it.
    Broken {
        /// Why, in one line or more.
        message: String,
    },
    /// What would run it is not there, such as Python.
    NoExecutor {
        /// Why, in one line or more.
        message: String,
    },
}

/// Knows nothing: with it the language is checked, and no types.
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
