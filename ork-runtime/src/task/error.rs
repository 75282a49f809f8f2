//! What a task may return as its error, and how a call of a task can fail.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::failure::{Failure, FailureKind};

/// The result of a task: `ork::Result<T>`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, as the owner of a task lets go of it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a task failed: any error, with what ork should do about it.
///
/// Every error type converts with `?`: those of the standard library, `thiserror` enums, `anyhow::Error`, even a
/// plain `String`. Like `anyhow::Error` it is therefore not itself a [`std::error::Error`].
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
    /// An error with this message.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self { source: error.into(), permanent: false, retry_after: None, details: None }
    }

    /// An error that another attempt would meet again: no retry is made.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self { permanent: true, ..Self::new(error) }
    }

    /// The same error; the next attempt, if there is one, is made after this long.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// The same error with details for programs that read the outcome.
    #[must_use]
    pub fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The error inside.
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

/// Says which part of an input is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Not JSON at all.
    #[error("the body is not JSON: {message}")]
    NotJson {
        /// What is wrong where.
        message: String,
    },
    /// Named inputs were expected.
    #[error("expected an object with {}, found {found}", list(expected))]
    NotAnObject {
        /// What was found.
        found: String,
        /// The inputs the task takes.
        expected: Vec<&'static str>,
    },
    /// An input is not there.
    #[error("`{field}` is missing: expected {expected}")]
    Missing {
        /// Its name.
        field: &'static str,
        /// Its type.
        expected: String,
    },
    /// An input has the wrong type or value.
    #[error("`{field}`: {message}")]
    Wrong {
        /// Its path, such as `size.width`.
        field: String,
        /// What was found, what was expected.
        message: String,
    },
    /// The task takes no such input.
    #[error("`{field}` is not an input: expected {}{}", list(expected), suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// The name found.
        field: String,
        /// The inputs the task takes.
        expected: Vec<&'static str>,
        /// The nearest of them.
        suggestion: Option<&'static str>,
    },
    /// An input is there twice.
    #[error("`{field}` is given twice")]
    Twice {
        /// Its name.
        field: &'static str,
    },
}

fn list(names: &[&'static str]) -> Cow<'static, str> {
    match names {
        [] => Cow::Borrowed("no inputs"),
        names => Cow::Owned(format!("`{}`", names.join("`, `"))),
    }
}

/// How a call of a task failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The input is not what the task takes.
    Input(InputError),
    /// The task returned an error.
    Task(Error),
    /// The output cannot be written as JSON.
    Output(serde_json::Error),
    /// The task panicked with this message.
    Panicked(String),
    /// The task ran longer than this.
    TimedOut(Duration),
    /// The state a task needs is not there; [`crate::Registry`] checks it at the start, so this is a defect.
    NoState(&'static str),
}

impl CallError {
    /// When the task itself asked to be tried again.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Task(error) => error.retry_after,
            Self::Input(_) | Self::Output(_) | Self::Panicked(_) | Self::TimedOut(_) | Self::NoState(_) => None,
        }
    }

    /// The failure in plain data.
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
            Self::NoState(name) => Failure::new(FailureKind::Task, format!("no state of type `{name}` was given")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_error_converts() {
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
