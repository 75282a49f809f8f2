//! Unique keys that are taken over from jobs that have been inactive for long.

use ork::JobId;

use super::names::{Property, Reached};
use super::world::World;

impl World {
    /// A client takes over the key of a job, and cancels that job: it must not be active.
    pub(crate) fn is_taken_over(&self, job: JobId) {
        let now = self.executor.now();
        self.oracle(|oracle| {
            oracle.reaches(Reached::TakenOver);
            oracle.taken_over.insert(job);
            if let Some(call) = oracle.is_active(job, now) {
                oracle.report(Property::Stale, format!("{job} is cancelled as inactive, while {call} runs"));
            }
        });
    }
}
