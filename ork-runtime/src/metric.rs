//! Measurements: what tasks record under a name with labels, added up for their job.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::clock::Timestamp;
use crate::id::JobId;
use crate::role::JobRole;

/// A name has at most so many bytes.
pub const LONGEST_NAME: usize = 200;

/// A measurement has at most so many labels.
pub const MOST_LABELS: usize = 16;

/// The JSON of its labels has at most so many bytes: it is part of an index of databases.
pub const LONGEST_LABELS: usize = 2_000;

/// A job has at most so many names with labels; further ones are dropped.
pub const MOST_SERIES: usize = 1_000;

/// Why something cannot be kept as a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMetric {
    /// The value is no number, or has no end.
    #[error("the value is not finite: record a number")]
    Value,
    /// The name has too few bytes, or too many.
    #[error("the name has {0} bytes: expected 1 to {LONGEST_NAME}")]
    Name(usize),
    /// The name could not be shown.
    #[error("the name has control characters: expected letters, digits and signs")]
    Control,
    /// There are too many labels.
    #[error("there are {0} labels: expected at most {MOST_LABELS}")]
    Labels(usize),
    /// The labels are too long.
    #[error("the labels have {0} bytes as JSON: expected at most {LONGEST_LABELS}")]
    LongLabels(usize),
}

/// A name with labels: what is added up apart from everything else that a job records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Series {
    name: String,
    /// As JSON, sorted by key: the same labels are the same text.
    labels: String,
}

impl Series {
    /// A name with labels, in any order; of two labels with one key the later one counts.
    ///
    /// # Errors
    /// When there is too much of something.
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
            // Texts are always JSON.
            serde_json::to_string(&sorted).unwrap_or_default()
        };
        if labels.len() > LONGEST_LABELS {
            return Err(NoMetric::LongLabels(labels.len()));
        }
        Ok(Self { name: name.to_owned(), labels })
    }

    /// As a store has kept it.
    pub const fn of_row(name: String, labels: String) -> Self {
        Self { name, labels }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The labels as JSON, sorted by key.
    pub fn labels(&self) -> &str {
        &self.labels
    }

    /// How many bytes it has.
    pub const fn len(&self) -> usize {
        self.name.len() + self.labels.len()
    }

    /// Whether it has no bytes at all, as no series of a task has.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Values that were added up. All numbers are finite: a sum stops at the largest there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The last one.
    pub last: f64,
    /// When that was recorded.
    pub at: Timestamp,
}

impl Measured {
    /// One value; it is finite.
    pub const fn one(value: f64, at: Timestamp) -> Self {
        Self { count: 1, sum: value, min: value, max: value, last: value, at }
    }

    /// Adds others to these. Of what was recorded at the same time the others' is the last.
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

/// What is to be added to what a job has recorded under a name with labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// The job.
    pub job: JobId,
    /// The name with labels.
    pub series: Series,
    /// What to add.
    pub measured: Measured,
}

/// Takes those away that would give a job more names with labels than it may have, and answers the jobs of those;
/// `known` has the ones that each job has already.
#[cfg_attr(not(any(test, feature = "postgres")), expect(dead_code, reason = "only one store counts them so"))]
pub(crate) fn keep_bounded(deltas: &mut Vec<Delta>, known: &mut BTreeMap<JobId, BTreeSet<Series>>) -> Vec<JobId> {
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

/// What a job has recorded under a name with labels: all of its parts and all of its attempts together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metric {
    /// The job.
    pub job: JobId,
    /// Its task.
    pub task: String,
    /// The name that its workflow has for the task, if it is a task of one.
    pub step: Option<String>,
    /// The name of the measurement.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How many values were recorded.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest of them.
    pub min: f64,
    /// The largest of them.
    pub max: f64,
    /// The last of them.
    pub last: f64,
    /// When that was recorded.
    pub at: Timestamp,
}

impl Metric {
    /// What a store has kept of a job.
    pub fn new((job, task): (JobId, String), role: Option<&JobRole>, series: &Series, measured: Measured) -> Self {
        let step = match role {
            Some(JobRole::Step { name, .. }) => Some(name.clone()),
            Some(JobRole::Workflow(_) | JobRole::Schedule(_) | JobRole::Untrusted) | None => None,
        };
        let Measured { count, sum, min, max, last, at } = measured;
        // Only a store that others have written to has what cannot be read.
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
    fn the_order_of_labels_does_not_matter() {
        let (one, two) = (Series::new("n", &[("b", "2"), ("a", "1")]), Series::new("n", &[("a", "1"), ("b", "2")]));
        assert_eq!(one, two);
        assert_eq!(one.unwrap().labels(), r#"{"a":"1","b":"2"}"#);
        assert_eq!(Series::new("n", &[]).unwrap().labels(), "{}");
        assert_eq!(Series::new("n", &[("a", "1"), ("a", "2")]).unwrap().labels(), r#"{"a":"2"}"#);
    }

    #[test]
    fn what_is_too_much_is_refused() {
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
    fn values_add_up_and_a_sum_has_an_end() {
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
    fn a_mean_is_what_it_is() {
        let job = JobId::new();
        let measured = Measured { count: 4, sum: 10.0, min: 1.0, max: 4.0, last: 4.0, at: at(1) };
        let role = JobRole::Step { at: 0, name: "load".into() };
        let series = Series::new("rows", &[("table", "users")]).unwrap();
        let metric = Metric::new((job, "task".into()), Some(&role), &series, measured);
        assert!((metric.mean() - 2.5).abs() < f64::EPSILON);
        assert_eq!((metric.step.as_deref(), &*metric.name), (Some("load"), "rows"));
        assert_eq!(metric.labels, [("table".to_owned(), "users".to_owned())].into());
    }

    #[test]
    fn further_names_are_taken_away() {
        let job = JobId::new();
        let series = |n: usize| Series::new(&n.to_string(), &[]).unwrap();
        let delta = |n| Delta { job, series: series(n), measured: Measured::one(1.0, at(1)) };
        let mut known = BTreeMap::from([(job, (0..MOST_SERIES - 1).map(series).collect())]);
        let mut deltas = vec![delta(5), delta(5_000), delta(5_001), delta(5_000)];
        assert_eq!(keep_bounded(&mut deltas, &mut known), [job]);
        assert_eq!(deltas, [delta(5), delta(5_000), delta(5_000)]);
    }
}
