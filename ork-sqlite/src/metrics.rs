//! The metrics of jobs.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::codec::{self, signed};
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::metric::{Delta, MOST_SERIES, Measured, Metric, Series};
use ork_ports::store::MetricsOf;

// A sum saturates at the largest number.
const ADD: &str = "UPDATE metric SET count = count + ?4, sum = max(?10, min(?11, sum + ?5)), min = min(min, ?6), \
    max = max(max, ?7), last = iif(?9 >= at, ?8, last), at = max(at, ?9) WHERE job = ?1 AND name = ?2 AND labels = ?3";

const INSERT: &str = "INSERT INTO metric (job, name, labels, count, sum, min, max, last, at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Adds measurements. Returns the jobs of which a measurement was dropped.
pub(crate) fn record(connection: &Connection, deltas: &[Delta]) -> rusqlite::Result<Vec<JobId>> {
    let mut job = connection.prepare_cached("SELECT seq FROM job WHERE id = ?1")?;
    let mut count = connection.prepare_cached("SELECT count(*) FROM metric WHERE job = ?1")?;
    let (mut add, mut insert) = (connection.prepare_cached(ADD)?, connection.prepare_cached(INSERT)?);
    let mut seqs: HashMap<JobId, Option<i64>> = HashMap::new();
    let mut counts: HashMap<i64, usize> = HashMap::new();
    let mut crowded = BTreeSet::new();
    for Delta { job: id, series, measured } in deltas {
        let seq = match seqs.get(id) {
            Some(known) => *known,
            None => *seqs.entry(*id).or_insert(job.query_row([id.as_bytes()], |row| row.get(0)).optional()?),
        };
        let Some(seq) = seq else { continue };
        let Measured { count: n, sum, min, max, last, at } = measured;
        let (n, at, name, labels) = (signed(*n), at.as_millis(), series.name(), series.labels());
        if add.execute(params![seq, name, labels, n, sum, min, max, last, at, f64::MIN, f64::MAX])? > 0 {
            continue;
        }
        let known = match counts.entry(seq) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let known: i64 = count.query_row([seq], |row| row.get(0))?;
                place.insert(usize::try_from(known).unwrap_or(usize::MAX))
            }
        };
        if *known < MOST_SERIES {
            insert.execute(params![seq, name, labels, n, sum, min, max, last, at])?;
            *known += 1;
        } else {
            crowded.insert(*id);
        }
    }
    Ok(crowded.into_iter().collect())
}

/// Removes the metrics of a job.
pub(crate) fn delete(connection: &Connection, seq: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM metric WHERE job = ?1")?.execute([seq]).map(drop)
}

/// Returns the metrics of jobs, in order.
pub(crate) fn recorded(connection: &Connection, of: MetricsOf) -> rusqlite::Result<Vec<Metric>> {
    macro_rules! query {
        ($jobs:literal) => {
            concat!(
                "SELECT job.document, metric.name, metric.labels, metric.count, metric.sum, metric.min, \
                 metric.max, metric.last, metric.at FROM job JOIN metric ON metric.job = job.seq WHERE ",
                $jobs,
                " ORDER BY job.id, metric.name, metric.labels"
            )
        };
    }
    let (query, id) = match of {
        MetricsOf::Job(id) => (query!("job.id = ?1"), id),
        MetricsOf::Tree(root) => (query!("(job.id = ?1 OR (job.root = ?1 AND job.parent IS NOT NULL))"), root),
    };
    let mut query = connection.prepare_cached(query)?;
    query.query_map([id.as_bytes()], metric)?.collect()
}

fn metric(row: &Row<'_>) -> rusqlite::Result<Metric> {
    let (job, _) = codec::document(row, 0)?;
    let series = Series::of_row(row.get(1)?, row.get(2)?);
    let measured = Measured {
        count: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
        sum: row.get(4)?,
        min: row.get(5)?,
        max: row.get(6)?,
        last: row.get(7)?,
        at: Timestamp::from_millis(row.get(8)?),
    };
    Ok(Metric::new(job.id, job.task, job.role.as_deref(), &series, measured))
}
