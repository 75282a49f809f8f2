//! Why a call has no output, in one type that every executor means the same by.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::task::error::InputError;
use crate::task::{CallError, Error};

/// Why a call has no output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// It cannot be called as it is: the file is outside of its folder, or has no task in it.
    #[error("{0}")]
    Unfit(String),
    /// It cannot be called here and now: the program or its interpreter is not there. Elsewhere it may be.
    #[error("{0}")]
    Unavailable(String),
    /// The input is not what the task takes.
    #[error("{}{message}", at(field))]
    Input {
        /// The field's path, such as `size.width`; empty if it is the whole.
        field: String,
        /// What was expected, what was found.
        message: String,
    },
    /// The task raised an exception.
    #[error("{}", .0.message)]
    Raised(Box<Raised>),
    /// The process ended without a result.
    #[error("{0}")]
    Crashed(Crash),
    /// What it returned is no output.
    #[error("{0}")]
    Output(String),
    /// It took longer than this.
    #[error("no result after {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// Nobody wants the result any more, and it was stopped.
    #[error("interrupted")]
    Interrupted,
}

/// An exception of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Raised {
    /// What went wrong, with the exception's type before it unless the task meant it for people.
    pub message: String,
    /// The exception's type.
    pub kind: String,
    /// What the task adds for programs.
    pub details: Option<Value>,
    /// Where it was raised, the innermost place last. No path here leads out of the workflow's folder.
    pub at: Vec<String>,
    /// The whole traceback; it is for the log, as it shows lines of the code.
    pub traceback: String,
    /// Whether another attempt could end otherwise.
    pub retry: bool,
}

/// A process that ended without a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// What it was.
    pub what: String,
    /// How it ended.
    pub ended: Ended,
    /// The last lines that it wrote to its standard error.
    pub stderr: Vec<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It did not end: it broke the rules of the conversation, and was killed.
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
            Self::Nonsense => f.write_str("wrote what ork does not understand to its private pipe, and was killed"),
        }
    }
}

/// The names of signals whose numbers are the same on every system.
const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL, as when memory runs out",
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
            Some(line) => write!(f, "; the last it said was: {line}"),
            None => Ok(()),
        }
    }
}

fn at(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("`{field}`: ") }
}

impl ExecutorError {
    /// The same as the engine knows it of tasks in Rust; `None` if the call was interrupted.
    pub fn into_call_error(self) -> Option<CallError> {
        let words = self.to_string();
        Some(match self {
            Self::Unfit(_) => CallError::Task(Error::permanent(words)),
            Self::Unavailable(_) => CallError::Task(Error::new(words)),
            Self::Input { field, message } if field.is_empty() => {
                CallError::Input(InputError::Wrong { field: "input".into(), message })
            }
            Self::Input { field, message } => CallError::Input(InputError::Wrong { field, message }),
            Self::Raised(raised) => {
                let raised = *raised;
                let details = raised.details.unwrap_or_else(|| json!({ "type": raised.kind, "at": raised.at }));
                let error = if raised.retry { Error::new(words) } else { Error::permanent(words) };
                CallError::Task(error.with_details(details))
            }
            Self::Crashed(crash) => {
                let mut details = match crash.ended {
                    Ended::Code(code) => json!({ "exit_code": code }),
                    Ended::Signal(signal) => json!({ "signal": signal }),
                    Ended::Nonsense => json!({}),
                };
                if let Some(details) = details.as_object_mut() {
                    details.insert("stderr".into(), crash.stderr.into());
                }
                CallError::Task(Error::new(words).with_details(details))
            }
            Self::Output(_) => CallError::Output(serde::ser::Error::custom(words)),
            Self::TimedOut(after) => CallError::TimedOut(after),
            Self::Interrupted => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_whether_to_try_again_and_what_programs_want_to_know() {
        let crash = Crash { what: "python".into(), ended: Ended::Signal(11), stderr: vec!["one".into(), "two".into()] };
        let failure = ExecutorError::Crashed(crash).into_call_error().unwrap().into_failure();
        assert_eq!(failure.message, "python was killed by signal 11 (SIGSEGV); the last it said was: two");
        assert_eq!(failure.details, Some(json!({ "signal": 11, "stderr": ["one", "two"] })));
        assert!(failure.retryable);
        let unfit = ExecutorError::Unfit("no task".into()).into_call_error().unwrap().into_failure();
        assert!(!unfit.retryable);
        assert!(ExecutorError::Interrupted.into_call_error().is_none());
    }
}
