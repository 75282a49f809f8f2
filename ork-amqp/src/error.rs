//! Maps lapin's errors to the kinds and messages of the broker port.

use std::fmt::Display;
use std::io::ErrorKind as Io;

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

use super::url::Address;
use ork_ports::broker::{BrokerError, BrokerErrorKind};

/// A cloneable [`BrokerError`], for reporting one error for every message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkError {
    pub(super) kind: BrokerErrorKind,
    pub(super) detail: String,
    pub(super) cut: Cut,
}

/// Whether and when a connection was cut. A cut connection does not mean that the next one will fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It was not cut.
    No,
    /// It was cut while being established.
    Connecting,
    /// It was cut during an operation.
    Working,
}

impl LinkError {
    pub(super) fn new(kind: BrokerErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), cut: Cut::No }
    }

    /// Marks the error as that of a connection that was cut while being established.
    pub(super) fn cut_while_connecting(self) -> Self {
        Self { cut: Cut::Connecting, ..self }
    }

    pub(super) fn closed() -> Self {
        Self::new(BrokerErrorKind::Closed, "the connection to RabbitMQ was closed by this program")
    }

    /// Combines several errors into one: the messages of all, the kind of the first.
    pub(super) fn all(errors: Vec<Self>) -> Self {
        let kind = errors.first().map_or(BrokerErrorKind::Disconnected, |first| first.kind);
        let is_cut = errors.iter().any(|error| error.cut != Cut::No);
        let detail: Vec<_> = errors.into_iter().map(|error| error.detail).collect();
        let all = Self::new(kind, detail.join("; "));
        if is_cut { all.cut_while_connecting() } else { all }
    }

    pub(super) fn timed_out(address: &impl Display, doing: &str, after: std::time::Duration) -> Self {
        Self::new(BrokerErrorKind::TimedOut, format!("RabbitMQ at {address} did not answer within {after:?} ({doing})"))
    }

    /// Creates the error of a connection that was lost during an operation.
    pub(super) fn lost(address: &Address, doing: &str, why: &str) -> Self {
        let detail = format!("lost the connection to RabbitMQ at {address} ({doing}): {why}");
        Self { cut: Cut::Working, ..Self::new(BrokerErrorKind::Disconnected, detail) }
    }

    /// Converts an error on a connection that was up.
    pub(super) fn while_up(address: &Address, doing: &str, error: &lapin::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::ProtocolError(error) => match error.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                    BrokerErrorKind::Refused
                }
                AMQPErrorKind::Soft(_) => BrokerErrorKind::Protocol,
                AMQPErrorKind::Hard(_) => BrokerErrorKind::Disconnected,
            },
            ErrorKind::IOError(_)
            | ErrorKind::InvalidChannel(_)
            | ErrorKind::InvalidChannelState(..)
            | ErrorKind::InvalidConnectionState(_)
            | ErrorKind::MissingHeartbeatError
            | ErrorKind::RuntimeShutdownError(_) => BrokerErrorKind::Disconnected,
            _ => BrokerErrorKind::Protocol,
        };
        match kind {
            BrokerErrorKind::Disconnected => Self::lost(address, doing, &reason(error)),
            BrokerErrorKind::Refused => {
                Self::new(kind, format!("RabbitMQ at {address} denied access ({doing}): {}", reason(error)))
            }
            _ => Self::new(kind, format!("RabbitMQ at {address} reported an error ({doing}): {}", reason(error))),
        }
    }

    /// Converts an error while connecting; returns `None` if lapin's error does not contain the reason.
    pub(super) fn while_connecting(address: &Address, error: &lapin::Error) -> Option<Self> {
        let refused = BrokerErrorKind::Refused;
        match error.kind() {
            ErrorKind::ProtocolError(error) => {
                let text = error.get_message();
                Some(match error.kind() {
                    AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Self::new(
                        refused,
                        format!("RabbitMQ at {address} rejected the login of user `{}`: {text}", address.user()),
                    ),
                    AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Self::new(
                        refused,
                        format!("RabbitMQ at {address} rejected the vhost `{}`: {text}", address.vhost()),
                    ),
                    _ => {
                        Self::new(BrokerErrorKind::Disconnected, format!("cannot reach RabbitMQ at {address}: {text}"))
                    }
                })
            }
            ErrorKind::IOError(io) if is_cut(io.kind()) => None,
            ErrorKind::IOError(io) => Some(Self::new(
                BrokerErrorKind::Disconnected,
                format!("cannot reach RabbitMQ at {address}: {}", io_detail(io)),
            )),
            _ => None,
        }
    }
}

impl From<LinkError> for BrokerError {
    fn from(error: LinkError) -> Self {
        Self::new(error.kind, error.detail)
    }
}

/// An error of a call to the broker.
#[derive(Debug)]
pub(super) enum Failed {
    /// The broker or lapin reported an error.
    Lapin(lapin::Error, LinkError),
    /// There was no answer in time.
    Silent(LinkError),
}

impl From<Failed> for LinkError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Lapin(_, error) | Failed::Silent(error) => error,
        }
    }
}

/// Returns whether RabbitMQ reports that an exchange or a queue does not exist.
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    is_soft(error, AMQPSoftError::NOTFOUND)
}

/// Returns whether RabbitMQ reports a failed precondition: a queue that exists with other arguments, or a message
/// that is too large.
pub(super) fn is_precondition_failed(error: &lapin::Error) -> bool {
    is_soft(error, AMQPSoftError::PRECONDITIONFAILED)
}

/// Returns whether RabbitMQ reports that another client has exclusive access, for example a queue with an exclusive
/// consumer.
pub(super) fn is_refused(error: &lapin::Error) -> bool {
    is_soft(error, AMQPSoftError::ACCESSREFUSED)
}

fn is_soft(error: &lapin::Error, wanted: AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if *error.kind() == AMQPErrorKind::Soft(wanted))
}

/// Returns lapin's error message without lapin's own name for the kind of error.
pub(super) fn reason(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(io) => io_detail(io),
        _ => error.to_string(),
    }
}

/// Returns whether the peer has closed the connection. The kind of I/O error depends on whether this side was reading
/// or writing at that moment.
pub(super) const fn is_cut(kind: Io) -> bool {
    matches!(kind, Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof)
}

/// Describes an I/O error in plain words, without the error number of the operating system.
fn io_detail(error: &std::io::Error) -> String {
    match error.kind() {
        Io::ConnectionRefused => "connection refused".to_owned(),
        kind if is_cut(kind) => "connection closed by the server".to_owned(),
        Io::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}
