//! Randomness as a port. Ids, marks and the jitter of pauses come from it, so that a run can be repeated.

use std::fmt::Debug;

use uuid::Uuid;

use crate::id::JobId;

/// A source of randomness. No two processes may get the same values.
pub trait Entropy: Debug + Send + Sync {
    /// Returns the id of a new job. It begins with the time, and the ids of one process are increasing.
    fn job_id(&self) -> JobId;

    /// Returns 122 random bits as a UUID.
    fn uuid(&self) -> Uuid;

    /// Returns a random number from 0 (inclusive) to 1 (exclusive), with uniform distribution. It is not secret.
    fn fraction(&self) -> f64;
}
