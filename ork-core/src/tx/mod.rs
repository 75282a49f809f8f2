//! Transactions: pure code that decides what a store writes, based on the jobs and ledgers that the store has loaded.
//!
//! A store loads the jobs that an [`Operation`] needs into a [`Transaction`], calls [`Operation::apply`], and writes
//! the resulting [`Writes`], all in one database transaction. The caller gets the output of the operation only after
//! the commit. Every store and the model checker run this same code, so the end of the last part, the final state of
//! the job and the outbox rows that follow are committed together or not at all.

mod effects;
mod events;
mod follow;
mod limits;
mod operation;
mod ops;
mod outbox;
mod permits;
mod transaction;
mod tree;
mod types;
mod unique;

pub use follow::{MAX_FOLLOWED, end_of, ends_before, job_of_end};
pub use operation::Operation;
pub use ops::{
    AddReply, AppendParts, Cancel, Claim, Claimed, ControlResult, FireSchedule, JobRejection, Lease, NewJob, OpenParts,
    PartAttemptOutcome, PartKey, PartPage, PartStart, PartsStarted, PauseResult, PauseSchedule, RecordHookFailure,
    RejectJob, ReplyAdded, Resend, Retry, SealParts, Settle, SettleCalls, SettleParts, StartParts, StartWorkflow,
    Submit, Submitted,
};
pub use outbox::{HeldRow, KindColumns, OutboxId, OutboxKind, OutboxRow};
pub use permits::{Held, Limit, Permit, Permits};
pub use transaction::{LoadedJob, PartWrite, Transaction, Writes};
pub use tree::ChildError;
pub use types::{Actor, Durability, KeyHolder, SettleResult, Shards, StoreNotice};
pub use unique::{ALIVE, key_taken};
