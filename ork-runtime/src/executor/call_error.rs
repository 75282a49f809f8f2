//! The error that a call has in the engine if an executor made it.

use serde_json::json;

use super::{Ended, ExecutorError};
use crate::task::error::InputError;
use crate::task::{CallError, Error};

/// Converts to the error that calls of Rust tasks have. Returns `None` if the call was interrupted.
pub fn call_error(error: ExecutorError) -> Option<CallError> {
    let text = error.to_string();
    Some(match error {
        ExecutorError::Unfit(_) => CallError::Task(Error::permanent(text)),
        ExecutorError::Unavailable(_) => CallError::Task(Error::new(text)),
        ExecutorError::Input { field, message } if field.is_empty() => {
            CallError::Input(InputError::Wrong { field: "input".into(), message })
        }
        ExecutorError::Input { field, message } => CallError::Input(InputError::Wrong { field, message }),
        ExecutorError::Raised(raised) => {
            let raised = *raised;
            let details = raised.details.unwrap_or_else(|| json!({ "type": raised.kind, "at": raised.at }));
            let error = if raised.retry { Error::new(text) } else { Error::permanent(text) };
            CallError::Task(error.with_details(details))
        }
        ExecutorError::Crashed(crash) => {
            let mut details = match crash.ended {
                Ended::Code(code) => json!({ "exit_code": code }),
                Ended::Signal(signal) => json!({ "signal": signal }),
                Ended::Nonsense => json!({}),
            };
            if let Some(details) = details.as_object_mut() {
                details.insert("stderr".into(), crash.stderr.into());
            }
            CallError::Task(Error::new(text).with_details(details))
        }
        ExecutorError::Output(_) => CallError::Output(serde::ser::Error::custom(text)),
        ExecutorError::TimedOut(after) => CallError::TimedOut(after),
        ExecutorError::Interrupted => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Crash;

    #[test]
    fn failure_carries_details_and_whether_to_retry() {
        let crash = Crash { what: "python".into(), ended: Ended::Signal(11), stderr: vec!["one".into(), "two".into()] };
        let failure = call_error(ExecutorError::Crashed(crash)).unwrap().into_failure();
        assert_eq!(failure.message, "python was killed by signal 11 (SIGSEGV); last line of its standard error: two");
        assert_eq!(failure.details, Some(json!({ "signal": 11, "stderr": ["one", "two"] })));
        assert!(failure.retryable);
        let unfit = call_error(ExecutorError::Unfit("no task".into())).unwrap().into_failure();
        assert!(!unfit.retryable);
        assert!(call_error(ExecutorError::Interrupted).is_none());
    }
}
