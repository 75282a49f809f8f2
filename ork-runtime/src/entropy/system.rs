//! The random numbers of the system.

use uuid::Uuid;

use super::Entropy;
use crate::id::JobId;

/// The system's source of randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn job_id(&self) -> JobId {
        JobId::new()
    }

    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }

    fn fraction(&self) -> f64 {
        fastrand::f64()
    }
}
