//! The way of progress reports to the store: the newest of each job, never in a task's way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::context::Progress;
use crate::id::JobId;

#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<HashMap<JobId, Progress>>,
    some: Notify,
}

/// Takes reports; a newer one replaces one that was not written yet.
#[derive(Debug, Clone)]
pub(crate) struct Reports(Arc<Shared>);

/// Hands out the newest reports.
#[derive(Debug)]
pub(crate) struct ProgressReceiver(Arc<Shared>);

impl Reports {
    pub(super) fn new() -> (Self, ProgressReceiver) {
        let shared = Arc::new(Shared::default());
        (Self(Arc::clone(&shared)), ProgressReceiver(shared))
    }

    pub(super) fn report(&self, job: JobId, progress: Progress) {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).insert(job, progress);
        self.0.some.notify_one();
    }
}

impl ProgressReceiver {
    /// The newest report of each job that has one; waits for some.
    ///
    /// # Cancel safety
    /// No report is lost if the future is dropped.
    pub(crate) async fn next(&self) -> HashMap<JobId, Progress> {
        loop {
            let newest = self.take();
            if !newest.is_empty() {
                return newest;
            }
            self.0.some.notified().await;
        }
    }

    /// The reports that wait right now.
    pub(crate) fn take(&self) -> HashMap<JobId, Progress> {
        std::mem::take(&mut *self.0.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
