//! Removes jobs that ended long ago. A separate reading connection looks them up; the writer removes them page by
//! page.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::codec::{last_part_id, part_id, shard_ids, signed};
use crate::error::store_error;
use crate::{load, metrics, schema, uniques};
use ork_core::clock::Timestamp;
use ork_core::document;
use ork_core::id::JobId;
use ork_ports::store::{Expired, Prune, Pruned, StoreError};

/// Looks up jobs whose tree ended before a given time. This scans all jobs, and therefore uses a separate connection.
pub(crate) fn expired(path: &Path, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
    let connection = schema::open_reader(path)?;
    find(&connection, before, limit).map_err(|error| store_error(path, error))
}

fn find(connection: &Connection, before: Timestamp, limit: usize) -> rusqlite::Result<Expired> {
    let before = before.as_millis();
    let due = "WITH due AS (SELECT root FROM job GROUP BY root HAVING count(*) = count(ended) AND max(ended) < ?1 \
                   ORDER BY max(ended) LIMIT ?2) \
               SELECT id FROM job WHERE root IN due ORDER BY id = root, seq LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut due = connection.prepare(due)?;
    let jobs = due.query_map([before, limit], |row| row.get(0).map(JobId::from_bytes))?;
    let jobs = jobs.collect::<rusqlite::Result<_>>()?;
    let next = "SELECT min(last) FROM (SELECT max(ended) AS last FROM job GROUP BY root \
                    HAVING count(*) = count(ended) AND max(ended) >= ?1)";
    let next = connection.query_row(next, [before], |row| row.get::<_, Option<i64>>(0))?;
    Ok(Expired { jobs, next: next.map(Timestamp::from_millis) })
}

/// Removes jobs, up to the limit of parts.
pub(crate) fn prune(connection: &Connection, prune: &Prune) -> rusqlite::Result<Pruned> {
    let newest = "SELECT max(seq) FROM job";
    let newest: Option<i64> = connection.query_row(newest, [], |row| row.get(0))?;
    let mut pruned = Pruned::default();
    for id in &prune.jobs {
        let Some(seq) = due(connection, *id, prune.before)? else {
            pruned.done += 1;
            continue;
        };
        let left = prune.parts - pruned.parts;
        let removed = remove_parts(connection, seq, left)?;
        pruned.parts += removed;
        if removed == left {
            // There may be more parts. A process that retries the job in the meantime starts it from the beginning, as
            // its parts are incomplete.
            if let Some((_, job, mut head)) = load::find(connection, *id)? {
                (head.appended, head.sealed, head.halted, head.cut) = (0, None, None, false);
                let empty = "UPDATE job SET document = ?2 WHERE seq = ?1";
                connection.prepare_cached(empty)?.execute(params![seq, document::write(&job, &head)])?;
            }
            break;
        }
        connection.prepare_cached("DELETE FROM job WHERE seq = ?1")?.execute([seq])?;
        uniques::delete(connection, *id)?;
        metrics::delete(connection, seq)?;
        pruned.jobs += 1;
        pruned.done += 1;
        if newest == Some(seq) {
            // The next job reuses the row number of this one. Rows of the outbox for removed jobs must not become rows
            // of that job.
            connection.execute("DELETE FROM outbox WHERE job NOT IN (SELECT seq FROM job)", [])?;
        }
    }
    Ok(pruned)
}

/// Returns the row number of a job if it ended before the given time, and its root, if it still exists, did as well.
fn due(connection: &Connection, id: JobId, before: Timestamp) -> rusqlite::Result<Option<i64>> {
    let query = "SELECT seq FROM job WHERE id = ?1 AND ended < ?2 \
                 AND NOT EXISTS (SELECT 1 FROM job AS root \
                     WHERE root.id = job.root AND (root.ended >= ?2 OR root.ended IS NULL))";
    let mut query = connection.prepare_cached(query)?;
    query.query_row(params![id.as_bytes(), before.as_millis()], |row| row.get(0)).optional()
}

/// Removes at most `most` parts of a job, and all of its shards.
fn remove_parts(connection: &Connection, seq: i64, most: u64) -> rusqlite::Result<u64> {
    connection.prepare_cached("DELETE FROM shard WHERE id BETWEEN ?1 AND ?2")?.execute(shard_ids(seq))?;
    let (first, last) = (part_id(seq, 0)?, last_part_id(seq));
    let page = "DELETE FROM part WHERE id IN (SELECT id FROM part WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3)";
    let removed = connection.prepare_cached(page)?.execute([first, last, signed(most)])?;
    Ok(u64::try_from(removed).unwrap_or(u64::MAX))
}
