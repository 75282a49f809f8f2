//! Tasks as the runtime sees them: a table row, which `#[task]` generates, with pointers to generic functions.
//!
//! This module does not depend on stores, brokers or workers. Start with [`TaskDef`]. `arg` reads inputs, `outcome`
//! writes outputs, `rules` checks the constraints of schemas, and `error` describes why a call failed.

pub mod arg;
pub mod binding;
pub(crate) mod builtin;
pub mod call;
pub mod conclusion;
pub mod def;
pub mod error;
pub mod fields;
mod finite;
pub mod form;
pub mod json;
pub mod message;
pub mod outcome;
pub mod parts;
pub mod rules;
pub mod schema;
pub mod state;
pub(crate) mod wait;
pub mod writer;

pub use conclusion::{Conclusion, ConclusionOutcome, Next};
pub use def::TaskDef;
pub use error::{CallError, Error, Result};
pub use message::TaskMessage;
pub use parts::Parts;
pub use state::State;
