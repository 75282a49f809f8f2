//! Removes jobs that ended long ago. A reading connection looks them up; the writer removes them page by page.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;

use crate::codec::{Columns, Uid, signed};
use crate::load;
use ork_core::clock::Timestamp;
use ork_core::document;
use ork_core::id::JobId;
use ork_ports::store::{Expired, Prune, Pruned};

/// Looks up jobs whose tree ended before a given time. This scans all jobs.
pub(crate) async fn expired(connection: &mut PgConnection, before: Timestamp, limit: usize) -> sqlx::Result<Expired> {
    let due = "SELECT id FROM ork.job WHERE root IN (SELECT root FROM ork.job GROUP BY root \
                   HAVING count(*) = count(ended) AND max(ended) < $1 ORDER BY max(ended) LIMIT $2) \
               ORDER BY id = root, id LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query(due).bind(before.as_millis()).bind(limit).fetch_all(&mut *connection).await?;
    let jobs = rows.iter().map(|row| Columns::new(row).id()).collect::<sqlx::Result<_>>()?;
    let next = "SELECT min(last) FROM (SELECT max(ended) AS last FROM ork.job GROUP BY root \
                    HAVING count(*) = count(ended) AND max(ended) >= $1) AS trees";
    let row = sqlx::query(next).bind(before.as_millis()).fetch_one(connection).await?;
    Ok(Expired { jobs, next: Columns::new(&row).time()? })
}

/// Removes jobs, up to the limit of parts.
///
/// Rows that other transactions have locked are skipped: this transaction has already locked other jobs, so waiting
/// could be a deadlock. Such jobs are found again by the next look-up.
pub(crate) async fn prune(connection: &mut PgConnection, prune: &Prune) -> sqlx::Result<Pruned> {
    let lock = "SELECT id FROM ork.job WHERE id = ANY($1) AND ended < $2 AND NOT EXISTS (SELECT FROM ork.job AS root \
                    WHERE root.id = job.root AND (root.ended >= $2 OR root.ended IS NULL)) \
                ORDER BY id FOR UPDATE SKIP LOCKED";
    let ids: Vec<_> = prune.jobs.iter().copied().map(Uid::from).collect();
    let rows = sqlx::query(lock).bind(ids).bind(prune.before.as_millis()).fetch_all(&mut *connection).await?;
    let due = rows.iter().map(|row| Columns::new(row).id()).collect::<sqlx::Result<BTreeSet<_>>>()?;
    let (mut pruned, mut gone) = (Pruned::default(), Vec::new());
    for id in &prune.jobs {
        if due.contains(id) {
            let left = prune.parts - pruned.parts;
            let removed = remove_parts(connection, *id, left).await?;
            pruned.parts += removed;
            if removed == left {
                // There may be more parts. A process that retries the job in the meantime starts it from the
                // beginning, as its parts are incomplete.
                if let Some((job, mut head)) = load::find(connection, *id).await? {
                    (head.appended, head.sealed, head.halted, head.cut) = (0, None, None, false);
                    let empty = "UPDATE ork.job SET document = $2 WHERE id = $1";
                    let empty = sqlx::query(empty).bind(Uid::from(*id)).bind(document::write(&job, &head));
                    empty.execute(&mut *connection).await?;
                }
                break;
            }
            gone.push(Uid::from(*id));
        }
        pruned.done += 1;
    }
    let keys = "DELETE FROM ork.unique_key WHERE job = ANY($1)";
    sqlx::query(keys).bind(&gone).execute(&mut *connection).await?;
    let metrics = "DELETE FROM ork.metric WHERE job = ANY($1)";
    sqlx::query(metrics).bind(&gone).execute(&mut *connection).await?;
    let delete = "DELETE FROM ork.job WHERE id = ANY($1)";
    pruned.jobs = sqlx::query(delete).bind(gone).execute(connection).await?.rows_affected();
    Ok(pruned)
}

/// Removes at most `most` parts of a job, and all of its shards.
async fn remove_parts(connection: &mut PgConnection, job: JobId, most: u64) -> sqlx::Result<u64> {
    let shards = "DELETE FROM ork.shard WHERE job = $1";
    sqlx::query(shards).bind(Uid::from(job)).execute(&mut *connection).await?;
    // Deletes up to one index, not by a list of indices: for a table that was never analyzed, the planner assumed any
    // size, and scanned the whole list for each part.
    let page = "DELETE FROM ork.part WHERE job = $1 AND index <= (SELECT max(index) FROM \
                    (SELECT index FROM ork.part WHERE job = $1 ORDER BY index LIMIT $2) AS page)";
    let removed = sqlx::query(page).bind(Uid::from(job)).bind(signed(most)).execute(connection).await?;
    Ok(removed.rows_affected())
}
