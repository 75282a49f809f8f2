//! Randomness, as a port: ids, marks and pauses are drawn from it, so that a run can be repeated.

pub mod system;

use std::fmt::Debug;

use uuid::Uuid;

use crate::id::JobId;

/// Draws what no two processes may draw alike.
pub trait Entropy: Debug + Send + Sync {
    /// The id of a new job: it begins with the time, and those of one process grow.
    fn job_id(&self) -> JobId;

    /// 122 random bits.
    fn uuid(&self) -> Uuid;

    /// A number from 0 up to 1, which it does not reach; equally likely, and not secret.
    fn fraction(&self) -> f64;
}
