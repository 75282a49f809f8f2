//! Queries for diagnostic information about a job. They only read.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::codec::{Columns, Uid};
use crate::{follows, load, outbox};
use ork_core::id::JobId;
use ork_core::ledger::SHARD_SIZE;
use ork_ports::store::{JobDiagnostics, LiveProcess, OPEN};

/// Returns diagnostic information about a job.
pub(crate) async fn of(connection: &mut PgConnection, job: JobId) -> sqlx::Result<JobDiagnostics> {
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let diagnostics = JobDiagnostics {
        outbox: outbox::pending(&mut snapshot, job).await?,
        processes: processes(&mut snapshot).await?,
        open: open(&mut snapshot, job).await?,
        follows: follows::of(&mut snapshot, job).await?,
    };
    snapshot.commit().await?;
    Ok(diagnostics)
}

/// Returns the processes that are not known to have ended.
pub(crate) async fn processes(connection: &mut PgConnection) -> sqlx::Result<Vec<LiveProcess>> {
    let query = "SELECT boot, name, expires_at, running FROM ork.process ORDER BY name, boot";
    let rows = sqlx::query(query).fetch_all(connection).await?;
    let process = |row| {
        let c = &mut Columns::new(row);
        let (Uid(boot), name, expires_at) = (c.get()?, c.get::<&str>()?, c.time()?);
        let running = c.get::<Vec<Uid>>()?.into_iter().map(|Uid(id)| JobId::from_bytes(id)).collect();
        Ok(LiveProcess { running, ..LiveProcess::new(name, boot, expires_at.unwrap_or_default()) })
    };
    rows.iter().map(process).collect()
}

/// Returns the first open parts of a job. Shards are read in order until enough are found.
async fn open(connection: &mut PgConnection, job: JobId) -> sqlx::Result<Vec<u64>> {
    let appended = load::find(&mut *connection, job).await?.map_or(0, |(_, head)| head.appended);
    let mut open = Vec::new();
    for number in 0..appended.div_ceil(SHARD_SIZE) {
        if open.len() >= OPEN {
            break;
        }
        let shard = load::shard(&mut *connection, job, number).await?;
        open.extend(shard.open(number, appended).take(OPEN - open.len()));
    }
    Ok(open)
}
