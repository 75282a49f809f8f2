//! Removing jobs that ended long ago: looked up by a connection that reads, removed a page at a time by the writer.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;

use super::codec::{Columns, Uid, signed};
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::store::{Expired, Prune, Pruned};

/// Looks up jobs whose tree ended before a moment. All jobs are looked at.
pub(super) async fn expired(connection: &mut PgConnection, before: Timestamp, limit: usize) -> sqlx::Result<Expired> {
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

/// Removes jobs, as far as the page goes.
///
/// Rows that others have locked are passed by: they have other jobs of this transaction locked before, so waiting for
/// them could be waiting in a circle. Such a job is there the next time.
pub(super) async fn prune(connection: &mut PgConnection, prune: &Prune) -> sqlx::Result<Pruned> {
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
                // There may be more. Whoever takes the job up in the meantime begins anew, as its parts are not whole.
                let empty = "UPDATE ork.job SET appended = 0, sealed = NULL, halted = NULL, cut = false WHERE id = $1";
                sqlx::query(empty).bind(Uid::from(*id)).execute(&mut *connection).await?;
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

/// Removes at most so many parts of a job, and the sets in which they stand.
async fn remove_parts(connection: &mut PgConnection, job: JobId, most: u64) -> sqlx::Result<u64> {
    let shards = "DELETE FROM ork.shard WHERE job = $1";
    sqlx::query(shards).bind(Uid::from(job)).execute(&mut *connection).await?;
    // Up to one index, not in a list of them: of a table that was never analyzed the server expects anything, and looked
    // through the whole list for each part.
    let page = "DELETE FROM ork.part WHERE job = $1 AND index <= (SELECT max(index) FROM \
                    (SELECT index FROM ork.part WHERE job = $1 ORDER BY index LIMIT $2) AS page)";
    let removed = sqlx::query(page).bind(Uid::from(job)).bind(signed(most)).execute(connection).await?;
    Ok(removed.rows_affected())
}
