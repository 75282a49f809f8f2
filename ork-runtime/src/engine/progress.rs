//! A buffer of progress reports on their way to the store: it holds the newest report of each job and part, and never
//! blocks a task.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::context::{CallInfo, Progress};
use crate::id::JobId;

/// A job, or one part of it.
pub(crate) type ReportKey = (JobId, Option<u64>);

/// The progress that a job or a part has reported.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) info: CallInfo,
    pub(crate) progress: Progress,
    /// Whether its event was published.
    pub(crate) emitted: bool,
}

#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<BTreeMap<ReportKey, Report>>,
    some: Notify,
}

/// The sending side. A newer report replaces one that was not written yet.
#[derive(Debug, Clone)]
pub(crate) struct Reports(Arc<Shared>);

/// The receiving side.
#[derive(Debug)]
pub(crate) struct ProgressReceiver(Arc<Shared>);

impl Reports {
    pub(super) fn new() -> (Self, ProgressReceiver) {
        let shared = Arc::new(Shared::default());
        (Self(Arc::clone(&shared)), ProgressReceiver(shared))
    }

    pub(super) fn report(&self, info: &CallInfo, progress: Progress) {
        let report = Report { info: info.clone(), progress, emitted: false };
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).insert((info.job, info.index), report);
        self.0.some.notify_one();
    }

    /// Returns the report whose event was not published yet, and marks it as published: it is the last chance before
    /// the end event.
    pub(super) fn take_unpublished(&self, report_key: ReportKey) -> Option<Report> {
        let mut newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let report = newest.get_mut(&report_key).filter(|report| !report.emitted)?;
        report.emitted = true;
        Some(report.clone())
    }

    /// Removes the unwritten report of a job or part that has ended.
    pub(super) fn forget(&self, report_key: ReportKey) {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).remove(&report_key);
    }
}

impl ProgressReceiver {
    /// Waits for reports, and returns the newest one of each job and part. Publishes them as [`ProgressReceiver::take`]
    /// does.
    ///
    /// # Cancel safety
    /// No report is lost if the future is dropped.
    pub(crate) async fn next(&self, publish: impl Fn(&Report)) -> BTreeMap<ReportKey, Report> {
        loop {
            let newest = self.take(&publish);
            if !newest.is_empty() {
                return newest;
            }
            self.0.some.notified().await;
        }
    }

    /// Returns the reports that are waiting now, and publishes the events of those that were not published yet: under
    /// the lock, so that a call which ends in the meantime finds its last report published, or publishes it itself.
    pub(crate) fn take(&self, publish: impl Fn(&Report)) -> BTreeMap<ReportKey, Report> {
        let mut newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.values().filter(|report| !report.emitted).for_each(publish);
        std::mem::take(&mut *newest)
    }
}
