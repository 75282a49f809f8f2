//! The operations, one file for each decision that a transaction can apply.

mod add_reply;
mod claim;
mod control;
mod lease;
mod reject;
mod resend;
mod schedule;
mod settle;
mod settle_parts;
mod split;
mod start_parts;
mod submit;
mod workflow;

use crate::failure::Failure;

pub use add_reply::{AddReply, ReplyAdded};
pub use claim::{Claim, Claimed};
pub use control::{Cancel, ControlResult, Retry};
pub use lease::Lease;
pub use reject::{JobRejection, RejectJob};
pub use resend::Resend;
pub use schedule::{FireSchedule, PauseResult, PauseSchedule};
pub use settle::{RecordHookFailure, Settle};
pub use settle_parts::{PartAttemptOutcome, SettleParts};
pub use split::{AppendParts, OpenParts, PartPage, SealParts};
pub use start_parts::{PartKey, PartStart, PartsStarted, StartParts};
pub use submit::{NewJob, Submit, Submitted};
pub use workflow::StartWorkflow;
pub(super) use workflow::step_job;

use super::operation::Operation;
use super::types::SettleResult;

/// An operation that records how calls have ended.
///
/// A store may be unable to write an output, e.g. one that is too large. The engine then settles each call alone, and
/// settles the call at fault as failed.
pub trait SettleCalls: Operation<Output = SettleResult> + Clone {
    /// Returns one operation for each of its calls.
    fn each(&self) -> Vec<Self> {
        vec![self.clone()]
    }

    /// Returns the operation that records the same calls as failed, or `None` if they cannot fail any more.
    fn failing(&self, failure: Failure) -> Option<Self>;
}
