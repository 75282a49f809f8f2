//! What one transaction of a store does, decided by pure code over the jobs and ledgers that it has loaded.
//!
//! A store loads what an [`Operation`] names into a [`Transaction`], calls [`Operation::apply`], and writes the
//! resulting [`Writes`] back, all in one database transaction; only then does the caller get the operation's output. Every
//! store and the model checker run these same decisions, so that settling the last part, the final state of the job and
//! the outbox rows that follow from it are committed together or not at all.

mod effects;
mod events;
mod follow;
mod limits;
mod operation;
mod ops;
mod outbox;
mod transaction;
mod tree;
mod types;
mod unique;

pub use follow::{MAX_FOLLOWED, end_of, ends_before, is_ends, job_of_end};
pub use limits::{Limit, Permits};
pub use operation::Operation;
pub use ops::{
    AddReply, AppendParts, Cancel, Claim, Claimed, ControlResult, FireSchedule, JobRejection, Lease, NewJob, OpenParts,
    PartAttemptOutcome, PartKey, PartPage, PartStart, PartsStarted, PauseResult, PauseSchedule, RecordHookFailure,
    RejectJob, ReplyAdded, Resend, Retry, SealParts, Settle, SettleCalls, SettleParts, StartParts, StartWorkflow,
    Submit, Submitted,
};
pub use outbox::{HeldRow, OutboxId, OutboxKind, OutboxRow};
pub use transaction::{LoadedJob, PartWrite, Transaction, Writes};
pub use tree::ChildError;
pub use types::{Actor, Durability, SettleResult, Shards, StoreNotice};
pub use unique::{ALIVE, KeyHolder, key_taken};
