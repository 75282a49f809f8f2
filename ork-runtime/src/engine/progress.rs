//! The way of progress reports to the store: the newest of each job and part, never in a task's way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::context::{About, Progress};
use crate::id::JobId;

/// A job, or one part of it.
pub(crate) type Of = (JobId, Option<u64>);

/// How far a job, or a part, is, and who says so.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) about: About,
    pub(crate) progress: Progress,
    /// Whether its event was told.
    pub(crate) told: bool,
}

#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<BTreeMap<Of, Report>>,
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

    pub(super) fn report(&self, about: &About, progress: Progress) {
        let report = Report { about: about.clone(), progress, told: false };
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).insert((about.job, about.index), report);
        self.0.some.notify_one();
    }

    /// The report of which no event was told: now is the time, for the end is near.
    pub(super) fn last(&self, of: Of) -> Option<Report> {
        let mut newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let report = newest.get_mut(&of).filter(|report| !report.told)?;
        report.told = true;
        Some(report.clone())
    }

    /// Forgets what was not written yet: it has ended.
    pub(super) fn forget(&self, of: Of) {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).remove(&of);
    }
}

impl ProgressReceiver {
    /// The newest report of each job and part that has one; waits for some.
    ///
    /// # Cancel safety
    /// No report is lost if the future is dropped.
    pub(crate) async fn next(&self) -> BTreeMap<Of, Report> {
        loop {
            let newest = self.take();
            if !newest.is_empty() {
                return newest;
            }
            self.0.some.notified().await;
        }
    }

    /// The reports that wait right now.
    pub(crate) fn take(&self) -> BTreeMap<Of, Report> {
        std::mem::take(&mut *self.0.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
