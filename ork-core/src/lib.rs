//! The model of ork: jobs, their parts and messages, and the transactions that every store applies.
//!
//! This crate is pure: it has no runtime, no sockets, no files and no logs. The store adapters and the model checker
//! run this code as it is. Users depend on the crate `ork`; the items of this crate may change in any release.

pub mod barrier;
mod body;
pub mod clock;
pub mod entropy;
pub mod event;
pub mod failure;
pub mod hook;
pub mod id;
pub mod job;
pub mod ledger;
pub mod message;
pub mod metric;
#[doc(hidden)]
pub mod mutant;
pub mod output;
pub mod policy;
pub mod progress;
pub mod retry;
pub mod tx;

pub use job::{document, role, schedule, tree, workflow_run};
