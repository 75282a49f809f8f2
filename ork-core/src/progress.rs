//! The progress of a job.

use serde::{Deserialize, Serialize};

/// The progress of a job, as its task reported it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The percentage of the work that is done, from 0 to 100.
    pub percent: f64,
    /// A short text about what the job is doing.
    pub info: String,
}
