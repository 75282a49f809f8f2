//! Queries for the display of jobs and parts. They only read.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};
use uuid::Uuid;

use crate::codec::{Columns, Uid, signed, text};
use crate::load;
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::ledger::{Counts, SHARD_SIZE, Shard, place};
use ork_core::progress::Progress;
use ork_ports::store::SettledPart;
use ork_ports::store::{Filter, JobView, PartFilter, PartRowInfo, PartStatus};

/// The columns of a view: those of a job, followed by progress, input, output, and the sums of the counts of its
/// shards.
macro_rules! view {
    ($rest:literal) => {
        concat!(
            "SELECT document, progress_percent, progress_info, input, output, counts.* FROM ork.job CROSS JOIN LATERAL \
             (SELECT coalesce(sum(succeeded), 0)::bigint, coalesce(sum(failed), 0)::bigint, \
                 coalesce(sum(skipped), 0)::bigint, coalesce(sum(cancelled), 0)::bigint, \
                 coalesce(sum(running), 0)::bigint FROM ork.shard WHERE shard.job = job.id) AS counts ",
            $rest
        )
    };
}

/// Returns the number of jobs, the version of the server, and the TLS version of the connection, if it is encrypted.
pub(crate) async fn check(connection: &mut PgConnection) -> sqlx::Result<(i64, String, Option<String>)> {
    let query = "SELECT (SELECT count(*) FROM ork.job), current_setting('server_version'), \
                     (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl)";
    let row = sqlx::query(query).fetch_one(connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}

/// Returns the time of the clock of the server.
pub(crate) async fn time(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    sqlx::query(now).fetch_one(connection).await?.try_get(0).map(Timestamp::from_millis)
}

/// Returns the id that distinguishes this database from every other store.
pub(crate) async fn identity(connection: &mut PgConnection) -> sqlx::Result<Uuid> {
    let row = sqlx::query("SELECT id FROM ork.store").fetch_one(connection).await?;
    row.try_get::<Uid, _>(0).map(|uid| Uuid::from_bytes(uid.0))
}

/// Returns which of these jobs exist.
pub(crate) async fn known(connection: &mut PgConnection, jobs: &[JobId]) -> sqlx::Result<HashSet<JobId>> {
    let ids: Vec<_> = jobs.iter().copied().map(Uid::from).collect();
    let rows = sqlx::query("SELECT id FROM ork.job WHERE id = ANY($1)").bind(ids).fetch_all(connection).await?;
    rows.iter().map(|row| Columns::new(row).id()).collect()
}

/// Returns a job.
pub(crate) async fn job(connection: &mut PgConnection, id: JobId) -> sqlx::Result<Option<JobView>> {
    let row = sqlx::query(view!("WHERE id = $1")).bind(Uid::from(id)).fetch_optional(connection).await?;
    row.as_ref().map(shown).transpose()
}

/// Returns the jobs that match a filter, newest first. Ids sort by time.
pub(crate) async fn jobs(connection: &mut PgConnection, filter: &Filter) -> sqlx::Result<Vec<JobView>> {
    let query = view!(
        "WHERE (cardinality($1::text[]) = 0 OR state = ANY($1)) AND ($2::text IS NULL OR task = $2) \
         AND ($3::uuid IS NULL OR id < $3) AND ($5::uuid IS NULL OR parent = $5) \
         AND ($6::uuid IS NULL OR id = $6 OR (root = $6 AND parent IS NOT NULL)) \
         AND ($7::bigint IS NULL OR created >= $7) ORDER BY id DESC LIMIT $4"
    );
    let rows = sqlx::query(query)
        .bind(filter.states.iter().map(|state| state.as_str()).collect::<Vec<_>>())
        .bind(filter.task.as_deref().map(text))
        .bind(filter.before.map(Uid::from))
        .bind(i64::try_from(filter.limit).unwrap_or(i64::MAX))
        .bind(filter.parent.map(Uid::from))
        .bind(filter.root.map(Uid::from))
        .bind(filter.since.map(Timestamp::as_millis))
        .fetch_all(connection)
        .await?;
    rows.iter().map(shown).collect()
}

fn shown(row: &PgRow) -> sqlx::Result<JobView> {
    let c = &mut Columns::new(row);
    let (job, head) = c.job()?;
    Ok(JobView {
        job,
        head,
        progress: progress(c)?,
        input: Bytes::from(c.get::<Vec<u8>>()?),
        output: c.get::<Option<Vec<u8>>>()?.map(Bytes::from),
        counts: Counts {
            succeeded: c.number()?,
            failed: c.number()?,
            skipped: c.number()?,
            cancelled: c.number()?,
            running: c.number()?,
        },
    })
}

/// Returns settled parts, in order.
pub(crate) async fn parts(
    connection: &mut PgConnection,
    id: JobId,
    from: u64,
    limit: usize,
) -> sqlx::Result<Vec<SettledPart>> {
    // One snapshot, so that the shards and the rows of parts are consistent.
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let mut shards: HashMap<u64, Shard> = HashMap::new();
    let (mut settled, mut next) = (Vec::new(), from);
    let query = "SELECT index, output, failure FROM ork.part WHERE job = $1 AND index >= $2 ORDER BY index LIMIT $3";
    while settled.len() < limit {
        // Usually all parts are settled; if not, the rest is in further pages.
        let page = (limit - settled.len()).clamp(64, 4_096);
        let rows = sqlx::query(query)
            .bind(Uid::from(id))
            .bind(signed(next))
            .bind(i64::try_from(page).unwrap_or(i64::MAX))
            .fetch_all(&mut *snapshot)
            .await?;
        let last = rows.len() < page;
        for row in rows {
            let c = &mut Columns::new(&row);
            let index = c.number()?;
            next = index + 1;
            let (number, low) = place(index);
            let shard = match shards.entry(number) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(load::shard(&mut snapshot, id, number).await?)
                }
            };
            let Some(how) = shard.outcome(low) else { continue };
            if settled.len() == limit {
                break;
            }
            settled.push(SettledPart {
                index,
                how,
                output: c.get::<Option<Vec<u8>>>()?.map(Bytes::from),
                failure: c.get::<Option<&str>>()?.and_then(|json| serde_json::from_str(json).ok()),
            });
        }
        if last {
            break;
        }
    }
    snapshot.commit().await?;
    Ok(settled)
}

/// Returns the status of parts, in order.
pub(crate) async fn list_parts(
    connection: &mut PgConnection,
    id: JobId,
    filter: &PartFilter,
) -> sqlx::Result<Vec<PartStatus>> {
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let appended = load::find(&mut snapshot, id).await?.map_or(0, |(_, head)| head.appended);
    let mut found = Vec::new();
    for number in place(filter.from).0..appended.div_ceil(SHARD_SIZE) {
        if found.len() >= filter.limit {
            break;
        }
        filter.pick(&load::shard(&mut snapshot, id, number).await?, number, appended, &mut found);
    }
    let query = "SELECT index, attempts, failure, progress_percent, progress_info FROM ork.part \
                 WHERE job = $1 AND index = ANY($2)";
    let indices: Vec<_> = found.iter().map(|part| signed(part.index)).collect();
    let mut infos: HashMap<u64, _> = HashMap::with_capacity(found.len());
    for row in sqlx::query(query).bind(Uid::from(id)).bind(indices).fetch_all(&mut *snapshot).await? {
        let c = &mut Columns::new(&row);
        let index = c.number()?;
        let info = PartRowInfo {
            attempts: c.get::<Option<i64>>()?.and_then(|n| u32::try_from(n).ok()),
            failure: c.get::<Option<&str>>()?.and_then(|json| serde_json::from_str(json).ok()),
            progress: progress(c)?,
        };
        infos.insert(index, info);
    }
    snapshot.commit().await?;
    Ok(found.into_iter().map(|part| PartStatus::new(part, infos.remove(&part.index).unwrap_or_default())).collect())
}

fn progress(c: &mut Columns<'_>) -> sqlx::Result<Option<Progress>> {
    let (percent, info): (Option<f64>, Option<String>) = (c.get()?, c.get()?);
    Ok(percent.map(|percent| Progress { percent, info: info.unwrap_or_default() }))
}
