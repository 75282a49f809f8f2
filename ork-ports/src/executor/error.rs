//! [`ExecutorError`]: why a call has no output. All executors share this type and use its variants in the same way.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// The error of a call that has no output.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The call can never run as it is, e.g. because its file is outside of the workflow's folder or has no task in it.
    /// It is not retried.
    #[error("{0}")]
    Unfit(String),
    /// The call cannot run here and now, e.g. because the program or its interpreter is missing. Another attempt,
    /// perhaps on another worker, may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The input does not fit the task.
    #[error("{}{message}", at(field))]
    Input {
        /// The path of the field at fault, e.g. `size.width`. Empty if the input as a whole is wrong.
        field: String,
        /// A description of the value that was expected, and of the one that was found.
        message: String,
    },
    /// The task raised an exception.
    #[error("{}", .0.message)]
    Raised(Box<Raised>),
    /// The process ended without returning a result.
    #[error("{0}")]
    Crashed(Crash),
    /// The returned value is not a valid output, e.g. because it is not JSON or is too large.
    #[error("{0}")]
    Output(String),
    /// The call took longer than its time limit, which is the value here.
    #[error("no result after {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The call was stopped because its result is no longer wanted: it was cancelled, its caller has gone, or the
    /// executor is shutting down.
    #[error("interrupted")]
    Interrupted,
}

/// An exception that a task raised.
#[derive(Debug, Clone, PartialEq)]
pub struct Raised {
    /// The message of the exception. The exception's type comes first, unless the task raised a `TaskError`, whose
    /// message is meant for people as it is.
    pub message: String,
    /// The exception's type.
    pub kind: String,
    /// The data that the task attached for programs to read. `None` if it attached nothing.
    pub details: Option<Value>,
    /// The stack frames that led to the exception, e.g. `task.py:5 in main`, innermost last. Only frames within the
    /// workflow's folder are listed, so no path leads out of it.
    pub at: Vec<String>,
    /// The whole traceback. It is meant for the log only, because it quotes lines of the code.
    pub traceback: String,
    /// Whether another attempt could succeed.
    pub retry: bool,
}

/// A process that ended without a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The process as error messages name it, e.g. "the Python process of `task.py`".
    pub what: String,
    /// The end of the process.
    pub ended: Ended,
    /// The last lines that the process wrote to its standard error.
    pub stderr: Vec<String>,
}

/// The end of a process: an exit code or a signal, or the process was killed because it violated its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The process exited with this code.
    Code(i32),
    /// The process was killed by this signal.
    Signal(i32),
    /// The process did not end by itself: it violated the protocol of its private pipe, and was killed.
    Nonsense,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was killed by signal {signal} ({name})"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::Nonsense => f.write_str("wrote invalid data to its private pipe and was killed"),
        }
    }
}

/// Returns the name of a signal. Only signals with the same number on every system are known.
const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL, possibly out of memory",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.ended)?;
        match self.stderr.last() {
            Some(line) => write!(f, "; last line of its standard error: {line}"),
            None => Ok(()),
        }
    }
}

fn at(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("`{field}`: ") }
}
