//! Queries for diagnostic information about a job. They only read.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::codec::{Columns, Uid};
use super::{follows, rows};
use crate::id::JobId;
use crate::ledger::SHARD_SIZE;
use crate::store::{JobDiagnostics, LiveProcess, OPEN, PendingOutbox};
use crate::tx::Limit;

/// Returns diagnostic information about a job.
pub(super) async fn of(connection: &mut PgConnection, job: JobId) -> sqlx::Result<JobDiagnostics> {
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let diagnostics = JobDiagnostics {
        to_send: to_send(&mut snapshot, job).await?,
        processes: processes(&mut snapshot).await?,
        open: open(&mut snapshot, job).await?,
        follows: follows::of(&mut snapshot, job).await?,
    };
    snapshot.commit().await?;
    Ok(diagnostics)
}

/// Counts the rows of the outbox for a job. This scans the whole outbox, but is rarely called.
async fn to_send(connection: &mut PgConnection, job: JobId) -> sqlx::Result<PendingOutbox> {
    let query = "SELECT CASE WHEN ask = 'reply' THEN 'reply' WHEN waits IS NOT NULL THEN 'waiting' \
                     WHEN holder IS NOT NULL THEN 'held' WHEN due IS NOT NULL THEN 'later' ELSE 'free' END AS how, \
                     holder, sum(len)::bigint, min(due), max(lost)::bigint, max(waits), max(permits), \
                     (SELECT sum(held)::bigint FROM ork.permit WHERE name = max(waits)) \
                 FROM ork.owed WHERE job = $1 GROUP BY how, holder ORDER BY holder";
    let mut pending = PendingOutbox::default();
    for row in sqlx::query(query).bind(Uid::from(job)).fetch_all(connection).await? {
        let c = &mut Columns::new(&row);
        let (how, holder, n) = (c.get::<&str>()?, c.get::<Option<Uid>>()?, c.number::<u64>()?);
        let (due, lost) = (c.time()?, c.number::<u32>()?);
        pending.lost = pending.lost.max(lost);
        match (how, holder) {
            ("reply", _) => pending.replies += n,
            ("waiting", _) => {
                let name = c.get::<Option<&str>>()?.unwrap_or_default().into();
                let (permits, taken) = (c.number()?, c.number_or_none()?.unwrap_or(0));
                (pending.waiting, pending.limit) = (n, Some((Limit { name, permits }, taken)));
            }
            (_, Some(Uid(holder))) => pending.held.push((holder, n)),
            ("later", None) => (pending.later, pending.next_due) = (n, due),
            _ => pending.free = n,
        }
    }
    Ok(pending)
}

/// Returns the processes that are not known to have ended.
pub(super) async fn processes(connection: &mut PgConnection) -> sqlx::Result<Vec<LiveProcess>> {
    let query = "SELECT boot, name, until, running FROM ork.worker ORDER BY name, boot";
    let rows = sqlx::query(query).fetch_all(connection).await?;
    let process = |row| {
        let c = &mut Columns::new(row);
        let (Uid(boot), name, until) = (c.get()?, c.get::<&str>()?, c.time()?);
        let running = c.get::<Vec<Uid>>()?.into_iter().map(|Uid(id)| JobId::from_bytes(id)).collect();
        Ok(LiveProcess { running, ..LiveProcess::new(name, boot, until.unwrap_or_default()) })
    };
    rows.iter().map(process).collect()
}

/// Returns the first open parts of a job. Shards are read in order until enough are found.
async fn open(connection: &mut PgConnection, job: JobId) -> sqlx::Result<Vec<u64>> {
    let query = "SELECT appended FROM ork.job WHERE id = $1";
    let found = sqlx::query(query).bind(Uid::from(job)).fetch_optional(&mut *connection).await?;
    let Some(row) = found else { return Ok(Vec::new()) };
    let appended: u64 = Columns::new(&row).number()?;
    let mut open = Vec::new();
    for number in 0..appended.div_ceil(SHARD_SIZE) {
        if open.len() >= OPEN {
            break;
        }
        let shard = rows::shard(&mut *connection, job, number).await?;
        open.extend(shard.open(number, appended).take(OPEN - open.len()));
    }
    Ok(open)
}
