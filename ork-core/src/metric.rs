//! Metrics: values that tasks record under a name with labels, and their sums for each job.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::role::JobRole;

/// The maximum length of a name, in bytes.
pub const LONGEST_NAME: usize = 200;

/// The maximum number of labels of a value.
pub const MOST_LABELS: usize = 16;

/// The maximum length of the labels as JSON, in bytes. It is limited because the labels are part of a database index.
pub const LONGEST_LABELS: usize = 2_000;

/// The maximum number of series of a job. Values of further series are dropped.
pub const MOST_SERIES: usize = 1_000;

/// The reason why a value is not kept as a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMetric {
    /// The value is not a number, or is infinite.
    #[error("the value is not finite: record a number")]
    Value,
    /// The name is empty or too long.
    #[error("the name has {0} bytes: expected 1 to {LONGEST_NAME}")]
    Name(usize),
    /// The name contains control characters.
    #[error("the name has control characters: expected letters, digits and signs")]
    Control,
    /// There are too many labels.
    #[error("there are {0} labels: expected at most {MOST_LABELS}")]
    Labels(usize),
    /// The labels are too long.
    #[error("the labels have {0} bytes as JSON: expected at most {LONGEST_LABELS}")]
    LongLabels(usize),
}

/// A name with labels. The values of a job are added up separately for each series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Series {
    name: String,
    /// The labels as JSON, sorted by key, so that equal labels are equal texts.
    labels: String,
}

impl Series {
    /// Creates a series. The labels may be in any order; if a key occurs twice, the later one counts.
    ///
    /// # Errors
    /// If the name or the labels exceed a limit.
    pub fn new(name: &str, labels: &[(&str, &str)]) -> Result<Self, NoMetric> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(NoMetric::Name(name.len()));
        }
        if name.chars().any(char::is_control) {
            return Err(NoMetric::Control);
        }
        if labels.len() > MOST_LABELS {
            return Err(NoMetric::Labels(labels.len()));
        }
        let labels = if labels.is_empty() {
            "{}".to_owned()
        } else {
            let sorted: BTreeMap<_, _> = labels.iter().copied().collect();
            // Serializing strings cannot fail.
            serde_json::to_string(&sorted).unwrap_or_default()
        };
        if labels.len() > LONGEST_LABELS {
            return Err(NoMetric::LongLabels(labels.len()));
        }
        Ok(Self { name: name.to_owned(), labels })
    }

    /// Creates a series from its stored form.
    pub const fn of_row(name: String, labels: String) -> Self {
        Self { name, labels }
    }

    /// The name of the series.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The labels as JSON, sorted by key.
    pub fn labels(&self) -> &str {
        &self.labels
    }

    /// The length of the name and the labels in bytes.
    pub const fn len(&self) -> usize {
        self.name.len() + self.labels.len()
    }

    /// Whether the length is 0. A series that a task records is never empty.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The sums of recorded values. All numbers are finite: sums saturate at the largest finite number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The number of values.
    pub count: u64,
    /// The sum of the values.
    pub sum: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The last value.
    pub last: f64,
    /// The time at which the last value was recorded.
    pub at: Timestamp,
}

impl Measured {
    /// Creates the sums of a single value, which must be finite.
    pub const fn one(value: f64, at: Timestamp) -> Self {
        Self { count: 1, sum: value, min: value, max: value, last: value, at }
    }

    /// Adds other values. If both last values were recorded at the same time, that of `others` becomes the last one.
    pub fn add(&mut self, others: &Self) {
        self.count = self.count.saturating_add(others.count);
        self.sum = (self.sum + others.sum).clamp(f64::MIN, f64::MAX);
        self.min = self.min.min(others.min);
        self.max = self.max.max(others.max);
        if others.at >= self.at {
            (self.last, self.at) = (others.last, others.at);
        }
    }
}

/// Values to be added to a series of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// The id of the job.
    pub job: JobId,
    /// The series.
    pub series: Series,
    /// The values to add.
    pub measured: Measured,
}

/// Removes the deltas that would give a job more than [`MOST_SERIES`] series, and returns the jobs concerned. `known`
/// has the series that each job has already.
pub fn keep_bounded(deltas: &mut Vec<Delta>, known: &mut BTreeMap<JobId, BTreeSet<Series>>) -> Vec<JobId> {
    let mut crowded = BTreeSet::new();
    deltas.retain(|delta| {
        let series = known.entry(delta.job).or_default();
        let fits = series.contains(&delta.series) || series.len() < MOST_SERIES;
        if fits {
            series.insert(delta.series.clone());
        } else {
            crowded.insert(delta.job);
        }
        fits
    });
    crowded.into_iter().collect()
}

/// The values that a job has recorded in one series, over all of its parts and attempts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metric {
    /// The id of the job.
    pub job: JobId,
    /// The name of its task.
    pub task: String,
    /// The name of the step in its workflow. `None` if the job is not a step.
    pub step: Option<String>,
    /// The name of the metric.
    pub name: String,
    /// The labels of the metric.
    pub labels: BTreeMap<String, String>,
    /// The number of values.
    pub count: u64,
    /// The sum of the values.
    pub sum: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The last value.
    pub last: f64,
    /// The time at which the last value was recorded.
    pub at: Timestamp,
}

impl Metric {
    /// Creates the metric from what a store has kept.
    pub fn new(job: JobId, task: String, role: Option<&JobRole>, series: &Series, measured: Measured) -> Self {
        let step = match role {
            Some(JobRole::Step { name, .. }) => Some(name.clone()),
            Some(JobRole::Workflow(_) | JobRole::Schedule(_) | JobRole::Untrusted) | None => None,
        };
        let Measured { count, sum, min, max, last, at } = measured;
        // Reading fails only if another program has written to the store.
        let labels = serde_json::from_str(series.labels()).unwrap_or_default();
        Self { job, task, step, name: series.name().to_owned(), labels, count, sum, min, max, last, at }
    }

    /// The mean of the values.
    pub fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a mean of so many is rounded anyway")]
        let count = self.count.max(1) as f64;
        self.sum / count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn order_of_labels_does_not_matter() {
        let (one, two) = (Series::new("n", &[("b", "2"), ("a", "1")]), Series::new("n", &[("a", "1"), ("b", "2")]));
        assert_eq!(one, two);
        assert_eq!(one.unwrap().labels(), r#"{"a":"1","b":"2"}"#);
        assert_eq!(Series::new("n", &[]).unwrap().labels(), "{}");
        assert_eq!(Series::new("n", &[("a", "1"), ("a", "2")]).unwrap().labels(), r#"{"a":"2"}"#);
    }

    #[test]
    fn names_and_labels_over_the_limits_are_rejected() {
        let name = "x".repeat(LONGEST_NAME);
        assert!(Series::new(&name, &[]).is_ok());
        assert_eq!(Series::new(&format!("{name}x"), &[]), Err(NoMetric::Name(201)));
        assert_eq!(Series::new("", &[]), Err(NoMetric::Name(0)));
        assert_eq!(Series::new("a\0", &[]), Err(NoMetric::Control));
        let labels = [("a", "1"); MOST_LABELS + 1];
        assert_eq!(Series::new("n", &labels), Err(NoMetric::Labels(17)));
        let long = "x".repeat(LONGEST_LABELS);
        assert_eq!(Series::new("n", &[("a", &long)]), Err(NoMetric::LongLabels(2_008)));
    }

    #[test]
    fn values_add_up_and_sums_saturate() {
        let mut all = Measured::one(3.0, at(2));
        all.add(&Measured::one(-1.0, at(1)));
        assert_eq!(all, Measured { count: 2, sum: 2.0, min: -1.0, max: 3.0, last: 3.0, at: at(2) });
        all.add(&Measured::one(7.0, at(2)));
        assert_eq!((all.last, all.count, all.sum), (7.0, 3, 9.0));
        let mut large = Measured::one(f64::MAX, at(1));
        large.add(&Measured::one(f64::MAX, at(1)));
        assert_eq!(large, Measured { count: 2, ..Measured::one(f64::MAX, at(1)) });
        let mut low = Measured::one(f64::MIN, at(1));
        low.add(&Measured::one(f64::MIN, at(1)));
        assert_eq!(low, Measured { count: 2, ..Measured::one(f64::MIN, at(1)) });
    }

    #[test]
    fn metric_has_mean_step_and_labels() {
        let job = JobId::new();
        let measured = Measured { count: 4, sum: 10.0, min: 1.0, max: 4.0, last: 4.0, at: at(1) };
        let role = JobRole::Step { at: 0, name: "load".into() };
        let series = Series::new("rows", &[("table", "users")]).unwrap();
        let metric = Metric::new(job, "task".into(), Some(&role), &series, measured);
        assert!((metric.mean() - 2.5).abs() < f64::EPSILON);
        assert_eq!((metric.step.as_deref(), &*metric.name), (Some("load"), "rows"));
        assert_eq!(metric.labels, [("table".to_owned(), "users".to_owned())].into());
    }

    #[test]
    fn series_over_the_limit_are_dropped() {
        let job = JobId::new();
        let series = |n: usize| Series::new(&n.to_string(), &[]).unwrap();
        let delta = |n| Delta { job, series: series(n), measured: Measured::one(1.0, at(1)) };
        let mut known = BTreeMap::from([(job, (0..MOST_SERIES - 1).map(series).collect())]);
        let mut deltas = vec![delta(5), delta(5_000), delta(5_001), delta(5_000)];
        assert_eq!(keep_bounded(&mut deltas, &mut known), [job]);
        assert_eq!(deltas, [delta(5), delta(5_000), delta(5_000)]);
    }
}
