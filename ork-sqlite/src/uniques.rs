//! Unique keys, and the jobs that took them last.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::load;
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::tx::{KeyHolder, Transaction};

/// Loads the holder of a key into the transaction, unless it is loaded already.
pub(crate) fn open(connection: &Connection, tx: &mut Transaction, key: Option<&Arc<str>>) -> rusqlite::Result<()> {
    let Some(key) = key.filter(|key| !tx.knows_unique(key)) else { return Ok(()) };
    let query = "SELECT job, last_seen FROM unique_key WHERE key = ?1";
    let holder = |row: &Row<'_>| {
        let (id, seen) = (JobId::from_bytes(row.get(0)?), Timestamp::from_millis(row.get(1)?));
        let job = load::find(connection, id)?.map(|(_, job, _)| job);
        let started = job.as_ref().and_then(|job| job.started).unwrap_or_default();
        Ok(KeyHolder { job: id, seen: seen.max(started), open: job.is_some_and(|job| !job.state.is_final()) })
    };
    let holder = connection.prepare_cached(query)?.query_row([key], holder).optional()?;
    tx.open_unique(Arc::clone(key), holder);
    Ok(())
}

/// Writes which jobs have taken keys, and when.
pub(crate) fn write(connection: &Connection, taken: &BTreeMap<Arc<str>, (JobId, Timestamp)>) -> rusqlite::Result<()> {
    for (key, (job, seen)) in taken {
        let take = "INSERT OR REPLACE INTO unique_key (key, job, last_seen) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(take)?.execute(params![key, job.as_bytes(), seen.as_millis()])?;
    }
    Ok(())
}

/// Records that a process works on these jobs, or on parts of them: updates the time of the last activity of all
/// unique keys that these jobs, or jobs above them, hold.
pub(crate) fn seen(connection: &Connection, running: &[JobId], now: Timestamp) -> rusqlite::Result<()> {
    let any = "SELECT 1 FROM unique_key LIMIT 1";
    if running.is_empty() || connection.prepare_cached(any)?.query_row([], |_| Ok(())).optional()?.is_none() {
        return Ok(());
    }
    let note = "WITH RECURSIVE alive (id) AS (VALUES (?1) UNION \
                    SELECT parent FROM job JOIN alive ON job.id = alive.id WHERE parent IS NOT NULL) \
                UPDATE unique_key SET last_seen = max(last_seen, ?2) WHERE job IN (SELECT id FROM alive)";
    let mut note = connection.prepare_cached(note)?;
    for job in running {
        note.execute(params![job.as_bytes(), now.as_millis()])?;
    }
    Ok(())
}

/// Removes the keys of a job that is removed.
pub(crate) fn delete(connection: &Connection, job: JobId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM unique_key WHERE job = ?1")?.execute([job.as_bytes()]).map(drop)
}
