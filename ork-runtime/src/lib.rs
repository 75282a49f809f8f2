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

/// The ports and their words, for the contract suites and the benchmarks of this repository. Not a public interface.
#[doc(hidden)]
pub mod testing {
    #[cfg(feature = "amqp")]
    pub use crate::broker::amqp;
    pub use crate::broker::{
        Answered, Broker, BrokerError, BrokerErrorKind, DeadReason, Delivery, Receipt, Refused, Replies, Settlement,
        Subscribe, Subscription,
    };
    pub use crate::job::ReplyTo;
    pub use crate::message::{Ask, Message, Outgoing, Reply};
}
