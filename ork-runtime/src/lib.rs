//! ork

#[path = "private.rs"]
#[doc(hidden)]
pub mod __private;

mod broker;
mod clock;
mod context;
mod failure;
mod id;
mod job;
mod ledger;
mod message;
mod policy;
mod registry;
mod retry;
mod store;
mod task;

pub use clock::{Clock, Timestamp};
pub use context::Context;
pub use failure::{Failure, FailureKind};
pub use id::{JobId, WorkerId};
pub use job::State as JobState;
pub use ork_macros::task;
pub use policy::{OnError, Tolerate};
pub use registry::Registry;
pub use retry::RetryPolicy;
pub use task::{Error, Parts, Result, State, parts::Outcome};
