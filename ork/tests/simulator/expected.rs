//! The outcomes that jobs must have.

use ork::JobState;
use ork_ports::store::JobView;

/// Returns whether a job has not ended.
pub(crate) fn is_open(view: &JobView) -> bool {
    !view.job.state.is_final()
}

/// The outcome that a job must have, if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Success(Option<u64>),
    Failed,
    Any,
}

impl Expected {
    pub(crate) fn holds(&self, state: JobState, output: Option<&[u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::Failed => state == JobState::Failed,
            Self::Success(None) => state == JobState::Succeeded,
            Self::Success(Some(number)) => {
                state == JobState::Succeeded && output.is_some_and(|output| output == number.to_string().as_bytes())
            }
        }
    }
}
