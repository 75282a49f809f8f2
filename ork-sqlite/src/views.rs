//! Queries for the display of jobs and parts. They only read.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter, types::Value};
use uuid::Uuid;

use crate::codec::{self, last_part_id, number, part_id};
use crate::{follows, load, outbox, workers};
use ork_core::id::JobId;
use ork_core::ledger::{SHARD_SIZE, place};
use ork_core::progress::Progress;
use ork_ports::store::SettledPart;
use ork_ports::store::{Filter, JobDiagnostics, JobView, OPEN, PartFilter, PartRowInfo, PartStatus};

/// The columns of a view: those of a job, followed by progress, input and output.
macro_rules! view_columns {
    () => {
        concat!("SELECT ", codec::job_columns!(), ", progress_percent, progress_info, input, output FROM job")
    };
}

/// Returns the number of jobs.
pub(crate) fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM job", [], |row| row.get(0))
}

/// Returns the id that distinguishes this file from every other store.
pub(crate) fn identity(connection: &Connection) -> rusqlite::Result<Uuid> {
    connection.query_row("SELECT id FROM store", [], |row| row.get(0).map(Uuid::from_bytes))
}

/// Returns which of these jobs exist.
pub(crate) fn known(connection: &Connection, jobs: Vec<JobId>) -> rusqlite::Result<HashSet<JobId>> {
    let mut there = connection.prepare_cached("SELECT 1 FROM job WHERE id = ?1")?;
    let mut known = HashSet::new();
    for job in jobs {
        if there.exists([job.as_bytes()])? {
            known.insert(job);
        }
    }
    Ok(known)
}

/// Returns a job.
pub(crate) fn job(connection: &Connection, id: JobId) -> rusqlite::Result<Option<JobView>> {
    let mut statement = connection.prepare_cached(concat!(view_columns!(), " WHERE id = ?1"))?;
    let found = statement.query_row([id.as_bytes()], columns).optional()?;
    found.map(|columns| view(connection, columns)).transpose()
}

/// Returns the jobs that match a filter, newest first. Ids sort by time.
pub(crate) fn jobs(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<JobView>> {
    let (mut conditions, mut values) = (vec!["1".to_owned()], Vec::new());
    if !filter.states.is_empty() {
        conditions.push(format!("state IN ({})", vec!["?"; filter.states.len()].join(", ")));
        values.extend(filter.states.iter().map(|state| Value::Text(state.as_str().to_owned())));
    }
    if let Some(task) = &filter.task {
        conditions.push("task = ?".to_owned());
        values.push(Value::Text(task.clone()));
    }
    if let Some(parent) = filter.parent {
        conditions.push("parent = ?".to_owned());
        values.push(Value::Blob(parent.as_bytes().to_vec()));
    }
    if let Some(root) = filter.root {
        conditions.push("(id = ? OR (root = ? AND parent IS NOT NULL))".to_owned());
        values.extend([root, root].map(|root| Value::Blob(root.as_bytes().to_vec())));
    }
    if let Some(since) = filter.since {
        conditions.push("created >= ?".to_owned());
        values.push(Value::Integer(since.as_millis()));
    }
    if let Some(before) = filter.before {
        conditions.push("id < ?".to_owned());
        values.push(Value::Blob(before.as_bytes().to_vec()));
    }
    let conditions = conditions.join(" AND ");
    let query = format!(concat!(view_columns!(), " WHERE {} ORDER BY id DESC LIMIT {}"), conditions, filter.limit);
    let found: Vec<_> =
        connection.prepare(&query)?.query_map(params_from_iter(values), columns)?.collect::<rusqlite::Result<_>>()?;
    found.into_iter().map(|columns| view(connection, columns)).collect()
}

struct Columns {
    job: (i64, ork_core::job::Job, ork_core::ledger::Head),
    progress: Option<Progress>,
    input: Bytes,
    output: Option<Bytes>,
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok(Columns {
        job: codec::job(row)?,
        progress: progress(row.get("progress_percent")?, row.get("progress_info")?),
        input: row.get::<_, Vec<u8>>("input")?.into(),
        output: row.get::<_, Option<Vec<u8>>>("output")?.map(Bytes::from),
    })
}

fn view(connection: &Connection, columns: Columns) -> rusqlite::Result<JobView> {
    let Columns { job: (seq, job, head), progress, input, output } = columns;
    let counts = load::shard_counts(connection, seq)?.into_iter().map(|(_, counts)| counts).sum();
    Ok(JobView { job, counts, head, progress, input, output })
}

/// Returns diagnostic information about a job.
pub(crate) fn diagnostics(connection: &Connection, id: JobId) -> rusqlite::Result<JobDiagnostics> {
    let snapshot = connection.unchecked_transaction()?;
    let mut diagnostics = JobDiagnostics { processes: workers::processes(&snapshot)?, ..JobDiagnostics::default() };
    if let Some((seq, _, head)) = load::find(&snapshot, id)? {
        outbox::pending(&snapshot, seq, &mut diagnostics.outbox)?;
        diagnostics.follows = follows::of(&snapshot, id)?;
        for number in 0..head.appended.div_ceil(SHARD_SIZE) {
            if diagnostics.open.len() >= OPEN {
                break;
            }
            let shard = load::shard(&snapshot, seq, number)?;
            diagnostics.open.extend(shard.open(number, head.appended).take(OPEN - diagnostics.open.len()));
        }
    }
    snapshot.commit()?;
    Ok(diagnostics)
}

/// Returns settled parts, in order.
pub(crate) fn parts(connection: &Connection, id: JobId, from: u64, limit: usize) -> rusqlite::Result<Vec<SettledPart>> {
    // One snapshot, so that the shards and the rows of parts are consistent.
    let snapshot = connection.unchecked_transaction()?;
    let Some((seq, _, head)) = load::find(&snapshot, id)? else {
        return Ok(Vec::new());
    };
    let mut shards = HashMap::new();
    let mut settled = Vec::new();
    if from < head.appended {
        let query = "SELECT id & 4294967295, output, failure FROM part WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
        let mut statement = snapshot.prepare_cached(query)?;
        let mut rows = statement.query([part_id(seq, from)?, last_part_id(seq)])?;
        while let (true, Some(row)) = (settled.len() < limit, rows.next()?) {
            let index = number(row, 0)?;
            let (shard, low) = place(index);
            if let std::collections::hash_map::Entry::Vacant(e) = shards.entry(shard) {
                e.insert(load::shard(&snapshot, seq, shard)?);
            }
            let Some(how) = shards.get(&shard).and_then(|shard| shard.outcome(low)) else {
                continue;
            };
            let failure: Option<String> = row.get(2)?;
            settled.push(SettledPart {
                index,
                how,
                output: row.get::<_, Option<Vec<u8>>>(1)?.map(Bytes::from),
                failure: failure.and_then(|json| serde_json::from_str(&json).ok()),
            });
        }
    }
    snapshot.commit()?;
    Ok(settled)
}

/// Returns the status of parts, in order.
pub(crate) fn list_parts(connection: &Connection, id: JobId, filter: &PartFilter) -> rusqlite::Result<Vec<PartStatus>> {
    let snapshot = connection.unchecked_transaction()?;
    let Some((seq, _, head)) = load::find(&snapshot, id)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for number in place(filter.from).0..head.appended.div_ceil(SHARD_SIZE) {
        if found.len() >= filter.limit {
            break;
        }
        filter.pick(&load::shard(&snapshot, seq, number)?, number, head.appended, &mut found);
    }
    let query = "SELECT attempts, failure, progress_percent, progress_info FROM part WHERE id = ?1";
    let mut statement = snapshot.prepare_cached(query)?;
    let mut parts = Vec::with_capacity(found.len());
    for part in found {
        let notes = statement.query_row([part_id(seq, part.index)?], notes).optional()?;
        parts.push(PartStatus::new(part, notes.unwrap_or_default()));
    }
    drop(statement);
    snapshot.commit()?;
    Ok(parts)
}

fn notes(row: &Row<'_>) -> rusqlite::Result<PartRowInfo> {
    let failure: Option<String> = row.get(1)?;
    Ok(PartRowInfo {
        attempts: row.get(0)?,
        failure: failure.and_then(|json| serde_json::from_str(&json).ok()),
        progress: progress(row.get(2)?, row.get(3)?),
    })
}

fn progress(percent: Option<f64>, info: Option<String>) -> Option<Progress> {
    percent.map(|percent| Progress { percent, info: info.unwrap_or_default() })
}
