//! The metrics of jobs.

use std::collections::BTreeMap;

use super::tables::Tables;
use crate::id::JobId;
use crate::metric::{Delta, MOST_SERIES, Measured, Metric, Series};
use crate::store::MetricsOf;

/// Metrics by job and series, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(BTreeMap<JobId, BTreeMap<Series, Measured>>);

impl Metrics {
    /// Adds a measurement. Returns `false` if the job has no room for another series.
    fn add(&mut self, Delta { job, series, measured }: Delta) -> bool {
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

    /// Removes the metrics of a job.
    pub(super) fn forget(&mut self, job: JobId) {
        self.0.remove(&job);
    }
}

impl Tables {
    /// Adds measurements. Returns the jobs of which a measurement was dropped.
    pub fn record(&mut self, deltas: Vec<Delta>) -> Vec<JobId> {
        let mut crowded = Vec::new();
        for delta in deltas {
            let job = delta.job;
            if self.jobs.contains_key(&job) && !self.metrics.add(delta) {
                crowded.push(job);
            }
        }
        crowded.sort_unstable();
        crowded.dedup();
        crowded
    }

    /// Returns the metrics of jobs, in order.
    pub fn recorded(&self, of: MetricsOf) -> Vec<Metric> {
        match of {
            MetricsOf::Job(id) => {
                self.metrics.0.get_key_value(&id).into_iter().flat_map(|job| self.show(job)).collect()
            }
            MetricsOf::Tree(root) => {
                let jobs = self.metrics.0.iter();
                let jobs = jobs.filter(|(id, _)| self.jobs.get(id).is_some_and(|row| row.entry.job.root == root));
                jobs.flat_map(|job| self.show(job)).collect()
            }
        }
    }

    fn show(&self, (id, series): (&JobId, &BTreeMap<Series, Measured>)) -> Vec<Metric> {
        let Some(row) = self.jobs.get(id) else { return Vec::new() };
        let job = &row.entry.job;
        let metric = |(series, measured): (&Series, &Measured)| {
            Metric::new(*id, job.task.clone(), job.role.as_deref(), series, *measured)
        };
        series.iter().map(metric).collect()
    }
}
