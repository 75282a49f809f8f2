//! Unique keys, and the jobs that took them last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sqlx::postgres::PgConnection;

use crate::codec::{Columns, Uid, column, text};
use crate::error::damaged;
use ork_core::clock::Timestamp;
use ork_core::document;
use ork_core::id::JobId;
use ork_core::tx::{KeyHolder, Transaction};
use ork_ports::store::Work;

/// Locks the keys that these operations need, and loads their holders into the transaction.
///
/// The locks are advisory locks of the server, taken in the order of their keys after the locks of jobs and
/// concurrency limits, which prevents deadlocks. The state of a job that is not loaded is read without a lock: a job
/// that is just ending has not ended yet.
pub(crate) async fn open(
    connection: &mut PgConnection,
    tx: &mut Transaction,
    works: &mut [&mut Box<dyn Work>],
) -> sqlx::Result<()> {
    let keys: BTreeSet<Arc<str>> =
        works.iter().flat_map(|work| (0..work.count()).filter_map(|at| work.unique(at).cloned())).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = keys.iter().map(|key| text(key)).collect();
    let lock = "SELECT pg_advisory_xact_lock(1869769474, hash) FROM \
                    (SELECT DISTINCT hashtext(key) AS hash FROM unnest($1::text[]) AS key ORDER BY hash) AS hashes";
    sqlx::query(lock).bind(&names).execute(&mut *connection).await?;
    let query = "SELECT key, job, last_seen, (SELECT document FROM ork.job WHERE job.id = unique_key.job) \
                 FROM ork.unique_key WHERE key = ANY($1)";
    let mut held: HashMap<String, KeyHolder> = HashMap::new();
    for row in sqlx::query(query).bind(names).fetch_all(connection).await? {
        let c = &mut Columns::new(&row);
        let (key, id, seen) = (c.get()?, c.id()?, c.time()?.unwrap_or_default());
        let document = c.get::<Option<&str>>()?.map(|json| document::read(json.as_bytes()));
        let job = document.transpose().map_err(damaged)?.map(|(job, _)| job);
        let started = job.as_ref().and_then(|job| job.started).unwrap_or_default();
        let open = job.is_some_and(|job| !job.state.is_final());
        held.insert(key, KeyHolder { job: id, seen: seen.max(started), open });
    }
    for key in keys {
        let holder = held.get(&text(&key)).copied();
        tx.open_unique(key, holder);
    }
    Ok(())
}

/// Writes which jobs have taken keys, and when.
pub(crate) async fn write(
    connection: &mut PgConnection,
    taken: BTreeMap<Arc<str>, (JobId, Timestamp)>,
) -> sqlx::Result<()> {
    if taken.is_empty() {
        return Ok(());
    }
    // Two keys may be equal once they are converted to a text that the server accepts.
    let rows: BTreeMap<String, _> = taken.into_iter().map(|(key, holder)| (text(&key), holder)).collect();
    let rows: Vec<_> = rows.into_iter().collect();
    let take = "INSERT INTO ork.unique_key (key, job, last_seen) SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[]) \
                ON CONFLICT (key) DO UPDATE SET job = excluded.job, last_seen = excluded.last_seen";
    let query = sqlx::query(take).bind(column(&rows, |(key, _)| key.clone()));
    let query = query.bind(column(&rows, |(_, (job, _))| Uid::from(*job)));
    query.bind(column(&rows, |(_, (_, seen))| seen.as_millis())).execute(connection).await.map(drop)
}

/// Records that a process works on these jobs, or on parts of them: updates the time of the last activity of all
/// unique keys that these jobs, or jobs above them, hold. A row that another transaction has locked is skipped, as
/// that transaction is writing it.
pub(crate) async fn seen(connection: &mut PgConnection, running: &[Uid], now: Timestamp) -> sqlx::Result<()> {
    let query = "WITH RECURSIVE alive (id) AS (SELECT unnest($1::uuid[]) UNION \
                    SELECT parent FROM ork.job JOIN alive ON job.id = alive.id WHERE parent IS NOT NULL), \
                kept AS (SELECT key FROM ork.unique_key WHERE job IN (SELECT id FROM alive) AND last_seen < $2 \
                    ORDER BY key FOR UPDATE SKIP LOCKED) \
                UPDATE ork.unique_key SET last_seen = $2 WHERE key IN (SELECT key FROM kept)";
    sqlx::query(query).bind(running).bind(now.as_millis()).execute(connection).await.map(drop)
}
