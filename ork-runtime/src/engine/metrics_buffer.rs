//! A buffer of measurements on their way to the store: they are added up as they arrive, never block a task, and are
//! written a page at a time.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::id::JobId;
use crate::metric::{Delta, MOST_SERIES, Measured, Series};

/// The number of waiting measurements at which they are written at once.
const MANY: usize = 8_192;

/// The maximum size of the waiting measurements in bytes, reached for example while the store is unavailable. New
/// ones are dropped then.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// The approximate size of a measurement without its texts, in bytes.
const OVERHEAD: usize = 192;

/// For how many jobs the buffer remembers that a warning was logged.
const WARNED: usize = 1_024;

/// The result of adding a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It will be written.
    Kept,
    /// Dropped: its job has as many series as a job may have. `first` asks for a warning in the log.
    Crowded { first: bool },
    /// Dropped: too many measurements are waiting. `first` asks for a warning in the log.
    Full { first: bool },
}

#[derive(Debug, Default)]
struct Pending {
    jobs: BTreeMap<JobId, BTreeMap<Series, Measured>>,
    count: usize,
    bytes: usize,
    /// Whether a warning was logged since the last write.
    full: bool,
    /// The jobs for which a warning was logged.
    warned: HashSet<JobId>,
}

impl Pending {
    fn add(&mut self, job: JobId, series: Series, measured: &Measured) -> Added {
        let of_job = self.jobs.entry(job).or_default();
        if let Some(known) = of_job.get_mut(&series) {
            known.add(measured);
            return Added::Kept;
        }
        if of_job.len() >= MOST_SERIES {
            return Added::Crowded { first: self.should_warn(job) };
        }
        let bytes = series.len() + OVERHEAD;
        if self.bytes + bytes > MOST_BYTES {
            if of_job.is_empty() {
                self.jobs.remove(&job);
            }
            return Added::Full { first: !std::mem::replace(&mut self.full, true) };
        }
        of_job.insert(series, *measured);
        (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
        Added::Kept
    }

    fn should_warn(&mut self, job: JobId) -> bool {
        if self.warned.len() >= WARNED {
            self.warned.clear();
        }
        self.warned.insert(job)
    }
}

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    /// Notified when there is something to write, or a flush is requested.
    some: Notify,
    /// Notified when it should be written now.
    flush: Notify,
    /// The number of flushes that were requested.
    asked: AtomicU64,
    /// The number of flushes that were done.
    written: watch::Receiver<u64>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_flush_requested(&self) -> bool {
        self.asked.load(Ordering::Acquire) > *self.written.borrow()
    }
}

/// The sending side.
#[derive(Debug, Clone)]
pub(crate) struct MetricsBuffer(Arc<Shared>);

/// The receiving side.
#[derive(Debug)]
pub(crate) struct MetricsReceiver(Arc<Shared>, watch::Sender<u64>);

impl MetricsBuffer {
    pub(super) fn new() -> (Self, MetricsReceiver) {
        let (done, written) = watch::channel(0);
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            some: Notify::new(),
            flush: Notify::new(),
            asked: AtomicU64::new(0),
            written,
        });
        (Self(Arc::clone(&shared)), MetricsReceiver(shared, done))
    }

    /// Adds a measurement.
    pub(super) fn add(&self, job: JobId, series: Series, measured: &Measured) -> Added {
        let mut pending = self.0.pending();
        let before = pending.count;
        let added = pending.add(job, series, measured);
        let count = pending.count;
        drop(pending);
        if before == 0 && count > 0 {
            self.0.some.notify_one();
        }
        if before < MANY && count >= MANY {
            self.0.flush.notify_one();
        }
        added
    }

    /// Requests a flush, and waits until all earlier measurements were written, or the write has failed.
    ///
    /// # Cancel safety
    /// If the future is dropped, the measurements are still written.
    pub(crate) async fn written(&self) {
        let ticket = self.0.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.some.notify_one();
        self.0.flush.notify_one();
        // The wait ends when the writer is gone.
        let mut written = self.0.written.clone();
        let _ended = written.wait_for(|written| *written >= ticket).await;
    }
}

impl MetricsReceiver {
    /// Waits until there is something to write, or a flush is requested.
    pub(crate) async fn some(&self) {
        while self.0.pending().count == 0 && !self.0.is_flush_requested() {
            self.0.some.notified().await;
        }
    }

    /// Waits until the measurements should be written at once.
    pub(crate) async fn pressing(&self) {
        while self.0.pending().count < MANY && !self.0.is_flush_requested() {
            self.0.flush.notified().await;
        }
    }

    /// Returns whether measurements of this job are waiting.
    pub(crate) fn has(&self, job: JobId) -> bool {
        self.0.pending().jobs.contains_key(&job)
    }

    /// Returns the number of flushes that were requested so far.
    pub(crate) fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Acquire)
    }

    /// Marks the first `asked` flushes as done: what was recorded before them was written, or the write has failed.
    pub(crate) fn done(&self, asked: u64) {
        self.1.send_replace(asked);
    }

    /// Takes all waiting measurements.
    pub(crate) fn take(&self) -> Vec<Delta> {
        let mut pending = self.0.pending();
        let jobs = std::mem::take(&mut pending.jobs);
        (pending.count, pending.bytes, pending.full) = (0, 0, false);
        drop(pending);
        let of_job = |(job, series): (JobId, BTreeMap<Series, Measured>)| {
            series.into_iter().map(move |(series, measured)| Delta { job, series, measured })
        };
        jobs.into_iter().flat_map(of_job).collect()
    }

    /// Puts back what could not be written. Returns how many did not fit and are dropped.
    pub(crate) fn put_back(&self, deltas: impl IntoIterator<Item = Delta>) -> usize {
        let mut pending = self.0.pending();
        let mut put = |Delta { job, series, measured }| pending.add(job, series, &measured) != Added::Kept;
        deltas.into_iter().map(&mut put).filter(|lost| *lost).count()
    }

    /// Returns whether to log a warning that this job has recorded too many series: only once for each job.
    pub(crate) fn should_warn(&self, job: JobId) -> bool {
        self.0.pending().should_warn(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn one(value: f64) -> Measured {
        Measured::one(value, Timestamp::from_millis(1))
    }

    fn series(n: usize) -> Series {
        Series::new(&format!("n{n}"), &[]).unwrap()
    }

    #[test]
    fn repeated_measurements_are_added_up() {
        let (buffer, receiver) = MetricsBuffer::new();
        let (one_job, other) = (JobId::new(), JobId::new());
        for value in [1.0, 2.0, 4.0] {
            assert_eq!(buffer.add(one_job, series(1), &one(value)), Added::Kept);
        }
        buffer.add(other, series(1), &one(8.0));
        assert!(receiver.has(one_job) && receiver.has(other));
        let taken = receiver.take();
        let sum = |job| taken.iter().find(|delta| delta.job == job).map(|delta| delta.measured.sum);
        assert_eq!((taken.len(), sum(one_job), sum(other)), (2, Some(7.0), Some(8.0)));
        assert!(receiver.take().is_empty() && !receiver.has(other));
    }

    #[test]
    fn series_of_a_job_are_limited_with_one_warning() {
        let (buffer, receiver) = MetricsBuffer::new();
        let job = JobId::new();
        for n in 0..MOST_SERIES {
            assert_eq!(buffer.add(job, series(n), &one(1.0)), Added::Kept);
        }
        assert_eq!(buffer.add(job, series(MOST_SERIES), &one(1.0)), Added::Crowded { first: true });
        assert_eq!(buffer.add(job, series(MOST_SERIES + 1), &one(1.0)), Added::Crowded { first: false });
        assert_eq!(buffer.add(job, series(3), &one(1.0)), Added::Kept);
        assert!(!receiver.should_warn(job));
        assert_eq!(buffer.add(JobId::new(), series(0), &one(1.0)), Added::Kept);
        assert_eq!(receiver.take().len(), MOST_SERIES + 1);
    }

    #[test]
    fn waiting_measurements_are_limited_in_bytes() {
        let (buffer, receiver) = MetricsBuffer::new();
        let (label, mut kept) = ("x".repeat(1_900), 0);
        let series = |n: usize| Series::new(&n.to_string(), &[("label", &label)]).unwrap();
        let last = loop {
            match buffer.add(JobId::new(), series(kept), &one(1.0)) {
                Added::Kept => kept += 1,
                dropped => break dropped,
            }
        };
        assert_eq!(last, Added::Full { first: true });
        assert_eq!(buffer.add(JobId::new(), series(kept), &one(1.0)), Added::Full { first: false });
        assert!((10_000..20_000).contains(&kept), "{kept}");
        let taken = receiver.take();
        assert_eq!((taken.len(), receiver.put_back(taken)), (kept, 0));
        assert_eq!(buffer.add(JobId::new(), series(kept), &one(1.0)), Added::Full { first: true });
    }

    #[tokio::test]
    async fn flush_does_not_wait_for_a_writer_that_is_gone() {
        let (buffer, receiver) = MetricsBuffer::new();
        drop(receiver);
        buffer.written().await;
    }
}
