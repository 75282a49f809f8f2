//! The errors that a task may return, and the ways in which a call of a task can fail.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::failure::{Failure, FailureKind};

/// The result of a task: `ork::Result<T>`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error that can be sent between threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a task: any error, and what ork should do about it.
///
/// Every error type converts with `?`: those of the standard library, `thiserror` enums, `anyhow::Error`, even a
/// plain `String`. Like `anyhow::Error`, it therefore does not implement [`std::error::Error`] itself.
///
/// ```
/// fn read(path: &str) -> ork::Result<String> {
///     if path.is_empty() {
///         return Err(ork::Error::permanent("the path is empty"));
///     }
///     Ok(std::fs::read_to_string(path)?)
/// }
/// assert_eq!(read("").unwrap_err().to_string(), "the path is empty");
/// ```
pub struct Error {
    source: BoxError,
    permanent: bool,
    retry_after: Option<Duration>,
    details: Option<serde_json::Value>,
}

impl Error {
    /// Creates an error with this message.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self { source: error.into(), permanent: false, retry_after: None, details: None }
    }

    /// Creates an error that would occur again, so the job is not retried.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self { permanent: true, ..Self::new(error) }
    }

    /// Sets the delay before the next attempt, if there is one.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Adds details for programs that read the outcome.
    #[must_use]
    pub fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The wrapped error.
    pub fn as_error(&self) -> &(dyn std::error::Error + 'static) {
        self.source.as_ref()
    }
}

impl<E: Into<BoxError>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)?;
        let sources = std::iter::successors(self.source.source(), |source| source.source());
        sources.into_iter().try_for_each(|source| write!(f, ": {source}"))
    }
}

/// The reason why an input is invalid, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The body is not JSON.
    #[error("the body is not JSON: {message}")]
    NotJson {
        /// The mistake and its position.
        message: String,
    },
    /// The body is not an object, although the task has named inputs.
    #[error("expected an object with {}, found {found}", list(expected))]
    NotAnObject {
        /// A description of the value that was found.
        found: String,
        /// The names of the task's inputs.
        expected: Vec<&'static str>,
    },
    /// A required input is missing.
    #[error("`{field}` is missing: expected {expected}")]
    Missing {
        /// The name of the input.
        field: &'static str,
        /// The type of the input.
        expected: String,
    },
    /// An input has the wrong type or value.
    #[error("`{field}`: {message}")]
    Wrong {
        /// The path of the value, such as `size.width`.
        field: String,
        /// The value that was found, and what was expected.
        message: String,
    },
    /// The task has no input with this name.
    #[error("unknown input `{field}`: expected {}{}", list(expected), suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// The name that was found.
        field: String,
        /// The names of the task's inputs.
        expected: Vec<&'static str>,
        /// The input with the most similar name, if there is one.
        suggestion: Option<&'static str>,
    },
    /// An input is given twice.
    #[error("`{field}` is given twice")]
    Twice {
        /// The name of the input.
        field: &'static str,
    },
}

fn list(names: &[&'static str]) -> Cow<'static, str> {
    match names {
        [] => Cow::Borrowed("no inputs"),
        names => Cow::Owned(format!("`{}`", names.join("`, `"))),
    }
}

/// The ways in which a call of a task can fail.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The input does not fit the task.
    Input(InputError),
    /// The task returned an error.
    Task(Error),
    /// The output cannot be written as JSON.
    Output(serde_json::Error),
    /// The task panicked with this message.
    Panicked(String),
    /// The task ran longer than this timeout.
    TimedOut(Duration),
    /// The process has no state of the type that the task needs. [`crate::registry::Registry`] checks this at startup,
    /// so it is a bug.
    NoState(&'static str),
}

impl CallError {
    /// The delay before the next attempt, if the task's error sets one.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Task(error) => error.retry_after,
            Self::Input(_) | Self::Output(_) | Self::Panicked(_) | Self::TimedOut(_) | Self::NoState(_) => None,
        }
    }

    /// Converts the error to plain data.
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Input(error) => Failure::new(FailureKind::Input, error.to_string()),
            Self::Task(error) => {
                let mut failure = Failure::new(FailureKind::Task, error.to_string()).caused_by(error.as_error());
                failure.retryable = !error.permanent;
                failure.details = error.details;
                failure
            }
            Self::Output(error) => Failure::new(FailureKind::Output, error.to_string()),
            Self::Panicked(message) => Failure::new(FailureKind::Panic, message),
            Self::TimedOut(after) => {
                Failure::new(FailureKind::Timeout, format!("no result after {}", humantime::format_duration(after)))
            }
            Self::NoState(name) => Failure::new(FailureKind::Task, format!("no state of type `{name}` was set")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_error_types_convert() {
        fn io() -> Result<()> {
            Err(std::io::Error::other("io"))?;
            Ok(())
        }
        fn words() -> Result<()> {
            Err("words")?;
            Ok(())
        }
        fn own() -> Result<()> {
            Err(Error::permanent("own"))?;
            Ok(())
        }
        assert_eq!(io().unwrap_err().to_string(), "io");
        assert_eq!(words().unwrap_err().to_string(), "words");
        assert!(!CallError::Task(own().unwrap_err()).into_failure().retryable);
    }
}
