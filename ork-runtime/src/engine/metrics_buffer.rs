//! The way of measurements to the store: added up as they come, never in a task's way, and written a page at a time.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::id::JobId;
use crate::metric::{Delta, MOST_SERIES, Measured, Series};

/// From so many on they are written at once.
const MANY: usize = 8_192;

/// At most so many bytes wait to be written, as while the store cannot be reached; what is new is dropped then.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What one takes beside its texts, more or less.
const OVERHEAD: usize = 192;

/// Of how many jobs it is remembered that a warning was given.
const WARNED: usize = 1_024;

/// What became of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It will be written.
    Kept,
    /// It is dropped: its job has as many names with labels as a job may have. The first time, somebody should know.
    Crowded { first: bool },
    /// It is dropped: too many wait to be written.
    Full { first: bool },
}

#[derive(Debug, Default)]
struct Pending {
    jobs: BTreeMap<JobId, BTreeMap<Series, Measured>>,
    count: usize,
    bytes: usize,
    /// Whether a warning was given since they were written.
    full: bool,
    /// The jobs of which a warning was given.
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
            return Added::Crowded { first: self.warns(job) };
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

    fn warns(&mut self, job: JobId) -> bool {
        if self.warned.len() >= WARNED {
            self.warned.clear();
        }
        self.warned.insert(job)
    }
}

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    /// There is something to write, or somebody waits.
    some: Notify,
    /// It should be written now.
    press: Notify,
    /// How often somebody has asked to have it written.
    asked: AtomicU64,
    /// Up to which of them that was done.
    written: watch::Receiver<u64>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire) > *self.written.borrow()
    }
}

/// Takes measurements.
#[derive(Debug, Clone)]
pub(crate) struct MetricsBuffer(Arc<Shared>);

/// Hands out what is to be written.
#[derive(Debug)]
pub(crate) struct MetricsReceiver(Arc<Shared>, watch::Sender<u64>);

impl MetricsBuffer {
    pub(super) fn new() -> (Self, MetricsReceiver) {
        let (done, written) = watch::channel(0);
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            some: Notify::new(),
            press: Notify::new(),
            asked: AtomicU64::new(0),
            written,
        });
        (Self(Arc::clone(&shared)), MetricsReceiver(shared, done))
    }

    /// Adds a measurement to those that wait.
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
            self.0.press.notify_one();
        }
        added
    }

    /// Waits until what was recorded before is written, or it was tried.
    ///
    /// # Cancel safety
    /// It is written all the same if the future is dropped.
    pub(crate) async fn written(&self) {
        let ticket = self.0.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.some.notify_one();
        self.0.press.notify_one();
        // Once nobody writes any more, nothing is waited for.
        let mut written = self.0.written.clone();
        let _ended = written.wait_for(|written| *written >= ticket).await;
    }
}

impl MetricsReceiver {
    /// Waits until there is something to write, or somebody asks for it.
    pub(crate) async fn some(&self) {
        while self.0.pending().count == 0 && !self.0.is_asked() {
            self.0.some.notified().await;
        }
    }

    /// Waits until what there is should be written at once.
    pub(crate) async fn pressing(&self) {
        while self.0.pending().count < MANY && !self.0.is_asked() {
            self.0.press.notified().await;
        }
    }

    /// Whether something of this job waits.
    pub(crate) fn has(&self, job: JobId) -> bool {
        self.0.pending().jobs.contains_key(&job)
    }

    /// How often it was asked to be written, so far.
    pub(crate) fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Acquire)
    }

    /// Says that all was written, or tried, that had been recorded when it was asked so often.
    pub(crate) fn done(&self, asked: u64) {
        self.1.send_replace(asked);
    }

    /// All that waits.
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

    /// Puts back what could not be written; answers how many found no place.
    pub(crate) fn put_back(&self, deltas: impl IntoIterator<Item = Delta>) -> usize {
        let mut pending = self.0.pending();
        let mut put = |Delta { job, series, measured }| pending.add(job, series, &measured) != Added::Kept;
        deltas.into_iter().map(&mut put).filter(|lost| *lost).count()
    }

    /// Whether somebody should know that this job has recorded too many names with labels.
    pub(crate) fn warns(&self, job: JobId) -> bool {
        self.0.pending().warns(job)
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
    fn what_is_recorded_twice_is_added_up() {
        let (measures, receiver) = MetricsBuffer::new();
        let (one_job, other) = (JobId::new(), JobId::new());
        for value in [1.0, 2.0, 4.0] {
            assert_eq!(measures.add(one_job, series(1), &one(value)), Added::Kept);
        }
        measures.add(other, series(1), &one(8.0));
        assert!(receiver.has(one_job) && receiver.has(other));
        let taken = receiver.take();
        let sum = |job| taken.iter().find(|delta| delta.job == job).map(|delta| delta.measured.sum);
        assert_eq!((taken.len(), sum(one_job), sum(other)), (2, Some(7.0), Some(8.0)));
        assert!(receiver.take().is_empty() && !receiver.has(other));
    }

    #[test]
    fn a_job_has_an_end_and_one_warning() {
        let (measures, receiver) = MetricsBuffer::new();
        let job = JobId::new();
        for n in 0..MOST_SERIES {
            assert_eq!(measures.add(job, series(n), &one(1.0)), Added::Kept);
        }
        assert_eq!(measures.add(job, series(MOST_SERIES), &one(1.0)), Added::Crowded { first: true });
        assert_eq!(measures.add(job, series(MOST_SERIES + 1), &one(1.0)), Added::Crowded { first: false });
        assert_eq!(measures.add(job, series(3), &one(1.0)), Added::Kept);
        assert!(!receiver.warns(job));
        assert_eq!(measures.add(JobId::new(), series(0), &one(1.0)), Added::Kept);
        assert_eq!(receiver.take().len(), MOST_SERIES + 1);
    }

    #[test]
    fn what_waits_has_an_end() {
        let (measures, receiver) = MetricsBuffer::new();
        let (label, mut kept) = ("x".repeat(1_900), 0);
        let series = |n: usize| Series::new(&n.to_string(), &[("label", &label)]).unwrap();
        let last = loop {
            match measures.add(JobId::new(), series(kept), &one(1.0)) {
                Added::Kept => kept += 1,
                dropped => break dropped,
            }
        };
        assert_eq!(last, Added::Full { first: true });
        assert_eq!(measures.add(JobId::new(), series(kept), &one(1.0)), Added::Full { first: false });
        assert!((10_000..20_000).contains(&kept), "{kept}");
        let taken = receiver.take();
        assert_eq!((taken.len(), receiver.put_back(taken)), (kept, 0));
        assert_eq!(measures.add(JobId::new(), series(kept), &one(1.0)), Added::Full { first: true });
    }

    #[tokio::test]
    async fn nobody_waits_for_a_writer_that_is_gone() {
        let (measures, receiver) = MetricsBuffer::new();
        drop(receiver);
        measures.written().await;
    }
}
