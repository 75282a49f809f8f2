//! Which jobs this process runs right now, so that a cancel reaches them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::id::JobId;

#[derive(Debug)]
struct Place {
    token: CancellationToken,
    guests: usize,
}

/// The jobs that run here, each with the token that stops it; parts share their job's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<JobId, Place>>>);

/// Says that a job, or one part of it, runs here, until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    running: Running,
    job: JobId,
    token: CancellationToken,
}

impl Running {
    fn places(&self) -> MutexGuard<'_, HashMap<JobId, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, job: JobId) -> Guest {
        let mut places = self.places();
        let place = places.entry(job).or_insert_with(|| Place { token: CancellationToken::new(), guests: 0 });
        place.guests += 1;
        Guest { running: self.clone(), job, token: place.token.clone() }
    }

    /// The jobs that run here.
    pub(crate) fn jobs(&self) -> Vec<JobId> {
        self.places().keys().copied().collect()
    }

    /// Asks a job that runs here to stop.
    pub(crate) fn stop(&self, job: JobId) {
        if let Some(place) = self.places().get(&job) {
            place.token.cancel();
        }
    }
}

impl Guest {
    pub(super) const fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut places = self.running.places();
        if let Some(place) = places.get_mut(&self.job) {
            place.guests -= 1;
            if place.guests == 0 {
                places.remove(&self.job);
            }
        }
    }
}
