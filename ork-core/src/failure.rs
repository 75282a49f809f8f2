//! The reason why an attempt failed, as plain data that can be stored, sent and shown.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "OrkFailureKind")]
#[non_exhaustive]
pub enum FailureKind {
    /// The task returned an error.
    Task,
    /// The task panicked.
    Panic,
    /// The task ran longer than its `timeout`.
    Timeout,
    /// The input does not match the schema of the task.
    Input,
    /// No worker of its queue knows the task.
    UnknownTask,
    /// The output cannot be serialized as JSON, or cannot be stored.
    Output,
    /// Too many parts failed.
    Parts,
    /// Child jobs failed.
    Children,
    /// Another job holds its unique key.
    Taken,
    /// Its workers died more often than allowed.
    Lost,
}

impl FailureKind {
    /// Whether another attempt could succeed.
    pub const fn may_pass_later(self) -> bool {
        match self {
            Self::Task | Self::Panic | Self::Timeout | Self::Lost => true,
            Self::Input | Self::UnknownTask | Self::Output | Self::Parts | Self::Children | Self::Taken => false,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Input => "wrong input",
            Self::UnknownTask => "unknown task",
            Self::Output => "unwritable output",
            Self::Parts => "failed parts",
            Self::Children => "failed jobs below",
            Self::Taken => "taken key",
            Self::Lost => "lost worker",
        })
    }
}

/// Why an attempt failed.
///
/// It is read by people and by programs in other languages, so it contains text and JSON, but no backtraces or secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrkFailure")]
#[non_exhaustive]
pub struct Failure {
    /// The kind of the failure.
    pub kind: FailureKind,
    /// The message of the outermost error.
    pub message: String,
    /// The causes of the error, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Details that the task has added, for use by programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
    /// Whether another attempt could succeed.
    #[serde(default)]
    pub retryable: bool,
}

/// The maximum length of a message in bytes. Longer messages are truncated, because a failure is stored with every
/// attempt.
const LONGEST: usize = 8 * 1024;

impl Failure {
    /// Creates a failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let (message, retryable) = (cut(message.into()), kind.may_pass_later());
        Self { kind, message, causes: Vec::new(), details: None, retryable }
    }

    /// Adds the sources of `error` as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let sources = std::iter::successors(error.source(), |source| source.source());
        self.causes = sources.take(16).map(|source| cut(source.to_string())).collect();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FailureKind::Task | FailureKind::Parts => f.write_str(&self.message)?,
            kind => write!(f, "{kind}: {}", self.message)?,
        }
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_message_is_truncated_at_a_char_boundary() {
        let failure = Failure::new(FailureKind::Task, "ä".repeat(10_000));
        assert!(failure.message.len() <= LONGEST + 3);
        assert!(failure.message.ends_with('…'));
    }
}
