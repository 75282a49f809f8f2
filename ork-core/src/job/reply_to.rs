//! The address of a sender that waits for an outcome.

use serde::{Deserialize, Serialize};

/// The address to which the outcome of a job is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplyTo {
    /// The name of the queue.
    pub queue: String,
    /// The correlation id that the sender chose. It is returned with the reply unchanged.
    pub correlation: String,
}
