//! The metrics of jobs.

use std::collections::BTreeMap;

use crate::id::JobId;
use crate::job::Job;
use crate::metric::{Delta, MOST_SERIES, Measured, Metric, Series};

/// Metrics by job and series, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(BTreeMap<JobId, BTreeMap<Series, Measured>>);

impl Metrics {
    /// Adds a measurement. Returns `false` if the job has no room for another series.
    pub(super) fn add(&mut self, Delta { job, series, measured }: Delta) -> bool {
        let of_job = self.0.entry(job).or_default();
        if let Some(known) = of_job.get_mut(&series) {
            known.add(&measured);
            return true;
        }
        let fits = of_job.len() < MOST_SERIES;
        if fits {
            of_job.insert(series, measured);
        }
        fits
    }

    /// Returns the jobs that have metrics, in order.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.0.keys().copied()
    }

    /// Returns the metrics of a job, in order.
    pub(super) fn of(&self, job: &Job) -> Vec<Metric> {
        let metric = |(series, measured): (&Series, &Measured)| {
            Metric::new(job.id, job.task.clone(), job.role.as_deref(), series, *measured)
        };
        self.0.get(&job.id).into_iter().flatten().map(metric).collect()
    }

    /// Removes the metrics of a job.
    pub(super) fn delete(&mut self, job: JobId) {
        self.0.remove(&job);
    }
}
