//! Errors of commands. This is the only module that turns errors into text, hints and exit codes.

use std::error::Error;

use ork_ports::broker::BrokerError;
use ork_ports::objects::{ObjectError, ObjectErrorKind};
use ork_ports::store::{StoreError, StoreErrorKind};
use ork_runtime::app::BuildError;
use ork_runtime::client::ClientError;
use ork_runtime::config::ConfigError;
use ork_runtime::registry::UnknownTask;

/// The kind of an error, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The job failed or was cancelled.
    Job,
    /// The command line or an input is wrong.
    User,
    /// The configuration or the tasks are wrong.
    Config,
    /// The store or the broker cannot be used.
    Unavailable,
    /// An internal error.
    Internal,
}

/// The error of a command.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    message: String,
    hints: Vec<String>,
}

impl Failure {
    fn new(kind: Kind, error: impl Error + Send + Sync + 'static) -> Self {
        Self { kind, message: chain(&error), hints: Vec::new() }
    }

    /// An error in the command line or in an input.
    pub(super) fn user(message: impl Into<String>) -> Self {
        Self { kind: Kind::User, message: message.into(), hints: Vec::new() }
    }

    /// An error in the configuration: it does not allow the command.
    pub(super) fn config(message: impl Into<String>) -> Self {
        Self { kind: Kind::Config, message: message.into(), hints: Vec::new() }
    }

    /// The command worked, but its job failed or was cancelled.
    pub(super) fn job(message: impl Into<String>) -> Self {
        Self { kind: Kind::Job, message: message.into(), hints: Vec::new() }
    }

    /// An internal error.
    pub(super) fn internal(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let message = format!("{}\n  caused by: {}", message.into(), chain(source.into().as_ref()));
        Self { kind: Kind::Internal, message, hints: Vec::new() }
    }

    /// The output of the command cannot be written.
    pub(super) fn output_unwritable(error: &std::io::Error) -> Self {
        let message = format!("cannot write to standard output\n  caused by: {error}");
        Self { kind: Kind::Unavailable, message, hints: vec!["check where the output is redirected to".to_owned()] }
    }

    /// Adds a hint about what to do.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Returns the exit code.
    pub(super) const fn code(&self) -> u8 {
        match self.kind {
            Kind::Job => 1,
            Kind::User => 2,
            Kind::Config => 3,
            Kind::Unavailable => 4,
            Kind::Internal => 5,
        }
    }
}

/// Formats an error and its causes, one per line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join("\n  caused by: ")
}

fn store(error: StoreError) -> Failure {
    let (kind, hint) = match error.kind() {
        StoreErrorKind::NotFound => (Kind::User, Some("`jobs list` lists the jobs of this store")),
        StoreErrorKind::Data => (Kind::User, None),
        StoreErrorKind::Config | StoreErrorKind::NoStore | StoreErrorKind::TooNew => (Kind::Config, None),
        StoreErrorKind::Unavailable | StoreErrorKind::ReadOnly | StoreErrorKind::Corrupt | StoreErrorKind::Closed => {
            (Kind::Unavailable, None)
        }
    };
    let failure = Failure::new(kind, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        store(error)
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        Self::new(Kind::Unavailable, error).hint("`doctor` checks configuration and connectivity")
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        match error.kind() {
            ObjectErrorKind::Config => Self::new(Kind::Config, error),
            ObjectErrorKind::Unavailable | ObjectErrorKind::Missing | ObjectErrorKind::Damaged => {
                Self::new(Kind::Unavailable, error).hint("`doctor` checks configuration and connectivity")
            }
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Kind::Config, error)
    }
}

impl From<UnknownTask> for Failure {
    fn from(error: UnknownTask) -> Self {
        Self::new(Kind::User, error)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Config(error) => error.into(),
            BuildError::Store(error) => error.into(),
            BuildError::Broker(error) => error.into(),
            BuildError::Objects(error) => error.into(),
            // `BuildError::Registry` and `BuildError::StateTwice`.
            error => Self::new(Kind::Config, error),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Store(error) => error.into(),
            ClientError::Broker(error) => error.into(),
            ClientError::Objects(error) => error.into(),
            ClientError::UnknownTask(error) => error.into(),
            ClientError::JobNotFound { .. } => {
                Self::new(Kind::User, error).hint("`jobs list` lists the jobs of this store")
            }
            ClientError::Failed { .. } | ClientError::Cancelled { .. } | ClientError::Lost { .. } => {
                Self::new(Kind::Job, error)
            }
            ClientError::Serialize { .. }
            | ClientError::Body(_)
            | ClientError::Hook(_)
            | ClientError::InvalidState { .. }
            | ClientError::InProgress { .. }
            | ClientError::Rejected(_)
            | ClientError::KeyTaken { .. }
            | ClientError::PartNotRetryable { .. }
            | ClientError::AncestorCancelled { .. }
            | ClientError::Superseded { .. }
            | ClientError::SchemaChanged { .. }
            | ClientError::NoEvents
            | ClientError::NoSchedule { .. }
            | ClientError::NotARun { .. }
            | ClientError::StepNotFound { .. }
            | ClientError::InvalidInput { .. } => Self::new(Kind::User, error),
            // `ClientError::Output` and `ClientError::MissedEvents`.
            error => Self::new(Kind::Internal, error),
        }
    }
}
