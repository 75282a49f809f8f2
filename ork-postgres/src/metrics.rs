//! The metrics of jobs.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::{PgConnection, PgRow};

use crate::codec::{Columns, Uid, signed};
use ork_core::id::JobId;
use ork_core::metric::{Delta, MOST_SERIES, Measured, Metric, Series, keep_bounded};
use ork_ports::store::MetricsOf;

// A sum saturates at the largest number: beyond it the server would reject the whole transaction.
const ADD: &str = "INSERT INTO ork.metric AS old \
    SELECT new.* FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::float8[], $6::float8[], \
        $7::float8[], $8::float8[], $9::bigint[]) AS new (job, name, labels, count, sum, min, max, last, at) \
    JOIN ork.job ON job.id = new.job ORDER BY new.job, new.name COLLATE \"C\", new.labels COLLATE \"C\" \
    ON CONFLICT (job, name, labels) DO UPDATE SET count = old.count + excluded.count, \
        sum = CASE WHEN old.sum > 0 AND excluded.sum > $10 - old.sum THEN $10 \
                   WHEN old.sum < 0 AND excluded.sum < -$10 - old.sum THEN -$10 \
                   ELSE old.sum + excluded.sum END, \
        min = least(old.min, excluded.min), max = greatest(old.max, excluded.max), \
        last = CASE WHEN excluded.at >= old.at THEN excluded.last ELSE old.last END, \
        at = greatest(old.at, excluded.at)";

/// Adds measurements. Returns the jobs of which a measurement was dropped. The rows of the jobs are locked, so no
/// other transaction adds to the same jobs or removes them.
pub(crate) async fn record(connection: &mut PgConnection, deltas: &[Delta]) -> sqlx::Result<Vec<JobId>> {
    let (mut deltas, crowded) = bounded(connection, added_up(deltas)).await?;
    // A statement must not contain a row twice.
    deltas.sort_by(|a, b| (a.job, &a.series).cmp(&(b.job, &b.series)));
    let of = |value: fn(&Measured) -> f64| deltas.iter().map(|delta| value(&delta.measured)).collect::<Vec<_>>();
    sqlx::query(ADD)
        .bind(deltas.iter().map(|delta| Uid::from(delta.job)).collect::<Vec<_>>())
        .bind(deltas.iter().map(|delta| delta.series.name()).collect::<Vec<_>>())
        .bind(deltas.iter().map(|delta| delta.series.labels()).collect::<Vec<_>>())
        .bind(deltas.iter().map(|delta| signed(delta.measured.count)).collect::<Vec<_>>())
        .bind(of(|measured| measured.sum))
        .bind(of(|measured| measured.min))
        .bind(of(|measured| measured.max))
        .bind(of(|measured| measured.last))
        .bind(deltas.iter().map(|delta| delta.measured.at.as_millis()).collect::<Vec<_>>())
        .bind(f64::MAX)
        .execute(connection)
        .await?;
    Ok(crowded)
}

/// Adds up measurements of the same job, name and labels, as a statement must not contain a row twice.
fn added_up(deltas: &[Delta]) -> Vec<Delta> {
    let mut all: BTreeMap<(JobId, &Series), Measured> = BTreeMap::new();
    for Delta { job, series, measured } in deltas {
        all.entry((*job, series)).and_modify(|known| known.add(measured)).or_insert(*measured);
    }
    all.into_iter().map(|((job, series), measured)| Delta { job, series: series.clone(), measured }).collect()
}

/// Returns the measurements for which their jobs have room, and the jobs of which others were dropped.
async fn bounded(connection: &mut PgConnection, mut deltas: Vec<Delta>) -> sqlx::Result<(Vec<Delta>, Vec<JobId>)> {
    let mut counts: BTreeMap<JobId, usize> = BTreeMap::new();
    for delta in &deltas {
        *counts.entry(delta.job).or_default() += 1;
    }
    let ids: Vec<_> = counts.keys().copied().map(Uid::from).collect();
    let query = "SELECT job, count(*) FROM ork.metric WHERE job = ANY($1) GROUP BY job";
    for row in sqlx::query(query).bind(ids).fetch_all(&mut *connection).await? {
        let c = &mut Columns::new(&row);
        let (job, known): (_, usize) = (c.id()?, c.number()?);
        *counts.entry(job).or_default() += known;
    }
    let full: Vec<_> = counts.iter().filter(|(_, n)| **n > MOST_SERIES).map(|(job, _)| Uid::from(*job)).collect();
    if full.is_empty() {
        return Ok((deltas, Vec::new()));
    }
    let mut known: BTreeMap<JobId, BTreeSet<Series>> = BTreeMap::new();
    let query = "SELECT job, name, labels FROM ork.metric WHERE job = ANY($1)";
    for row in sqlx::query(query).bind(full).fetch_all(&mut *connection).await? {
        let c = &mut Columns::new(&row);
        known.entry(c.id()?).or_default().insert(Series::of_row(c.get()?, c.get()?));
    }
    let crowded = keep_bounded(&mut deltas, &mut known);
    Ok((deltas, crowded))
}

/// Returns the metrics of jobs, in order.
pub(crate) async fn recorded(connection: &mut PgConnection, of: MetricsOf) -> sqlx::Result<Vec<Metric>> {
    macro_rules! query {
        ($jobs:literal) => {
            concat!(
                "SELECT document, metric.name, metric.labels, metric.count, metric.sum, metric.min, metric.max, \
                 metric.last, metric.at FROM ork.job JOIN ork.metric ON metric.job = job.id WHERE ",
                $jobs,
                " ORDER BY metric.job, metric.name, metric.labels"
            )
        };
    }
    let (query, id) = match of {
        MetricsOf::Job(id) => (query!("job.id = $1"), id),
        MetricsOf::Tree(root) => (query!("(job.id = $1 OR (job.root = $1 AND job.parent IS NOT NULL))"), root),
    };
    sqlx::query(query).bind(Uid::from(id)).fetch_all(connection).await?.iter().map(metric).collect()
}

fn metric(row: &PgRow) -> sqlx::Result<Metric> {
    let c = &mut Columns::new(row);
    let (job, _) = c.job()?;
    let series = Series::of_row(c.get()?, c.get()?);
    let measured = Measured {
        count: c.number()?,
        sum: c.get()?,
        min: c.get()?,
        max: c.get()?,
        last: c.get()?,
        at: c.time()?.unwrap_or_default(),
    };
    Ok(Metric::new(job.id, job.task, job.role.as_deref(), &series, measured))
}
