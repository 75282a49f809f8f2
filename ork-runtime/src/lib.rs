//! ork

#[path = "private.rs"]
#[doc(hidden)]
pub mod __private;

mod id;
mod clock;
mod failure;
mod retry;
mod policy;
mod ledger;
mod job;
mod message;
mod task;
mod context;
mod registry;
mod broker;
mod store;

pub use clock::{Clock, Timestamp};
pub use context::Context;
pub use failure::{Failure, FailureKind};
pub use id::{JobId, WorkerId};
pub use job::State as JobState;
pub use policy::{OnError, Tolerate};
pub use registry::Registry;
pub use retry::RetryPolicy;
pub use task::{Error, Parts, Result, State, parts::Outcome};
pub use ork_macros::task;
