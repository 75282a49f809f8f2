//! Heartbeats of processes, and what depends on them.

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use crate::codec::{Columns, Uid, text};
use crate::{diagnostics, permits, uniques, views};
use ork_core::id::JobId;
use ork_core::tx::Actor;
use ork_ports::store::{Heartbeat, HeartbeatReply, UNATTENDED, is_unattended};

/// The result of a heartbeat.
pub(crate) struct Found {
    /// The reply.
    pub(crate) beaten: HeartbeatReply,
    /// Whether rows were freed, e.g. because a process had died.
    pub(crate) freed: bool,
}

/// Records that a process is alive, and releases what dead processes held. Returns which of its jobs have ended.
///
/// The process that deletes the row of a dead process also frees what that process held, so of several processes only
/// one counts the rows as lost.
pub(crate) async fn heartbeat(connection: &mut PgConnection, heartbeat: &Heartbeat) -> sqlx::Result<Found> {
    let (worker, now) = (&heartbeat.actor.worker, heartbeat.actor.now);
    let query = "WITH beat AS (INSERT INTO ork.process (boot, name, expires_at, running) VALUES ($1, $2, $3, $5) \
                    ON CONFLICT (boot) DO UPDATE \
                    SET name = excluded.name, expires_at = excluded.expires_at, running = excluded.running) \
                DELETE FROM ork.process WHERE boot IN (SELECT boot FROM ork.process \
                    WHERE expires_at < $4 AND boot <> $1 ORDER BY boot FOR UPDATE SKIP LOCKED) \
                RETURNING boot";
    let running: Vec<_> = heartbeat.running.iter().copied().map(Uid::from).collect();
    let attends: Vec<_> = heartbeat.attends().into_iter().map(Uid::from).collect();
    let dead = sqlx::query(query)
        .bind(Uid(worker.boot()))
        .bind(text(worker.name()))
        .bind((now + heartbeat.ttl).as_millis())
        .bind(now.as_millis())
        .bind(attends)
        .fetch_all(&mut *connection)
        .await?;
    let mut dead = dead.iter().map(|row| row.try_get::<Uid, _>(0)).collect::<sqlx::Result<Vec<_>>>()?;
    dead.extend(without_heartbeat(connection).await?);
    let mut freed = !dead.is_empty();
    if freed {
        permits::end(connection, &dead).await?;
        let free = "UPDATE ork.outbox SET holder = NULL, losses = losses + 1 WHERE id IN \
                        (SELECT id FROM ork.outbox WHERE holder = ANY($1) ORDER BY id FOR UPDATE)";
        sqlx::query(free).bind(dead).execute(&mut *connection).await?;
    }
    freed |= permits::sweep(connection).await?;
    let mut ended = Vec::new();
    if !heartbeat.running.is_empty() {
        uniques::seen(connection, &running, heartbeat.written()).await?;
        let query = "SELECT document FROM ork.job WHERE id = ANY($1)";
        for row in sqlx::query(query).bind(running).fetch_all(&mut *connection).await? {
            let (job, _) = Columns::new(&row).job()?;
            ended.extend(job.own_work_ended().then_some(job.id));
        }
    }
    let unattended = unattended(connection, &heartbeat.waiting).await?;
    Ok(Found { beaten: HeartbeatReply { ended, time: Some(views::time(connection).await?), unattended }, freed })
}

/// Returns processes that hold rows or permits but have no heartbeat: they were presumed dead, continued, took
/// something, and died before their next heartbeat.
async fn without_heartbeat(connection: &mut PgConnection) -> sqlx::Result<Vec<Uid>> {
    // A loose index scan: one step per holder, not per row.
    let next = "SELECT holder FROM ork.outbox WHERE holder IS NOT NULL";
    let query = format!(
        "WITH RECURSIVE holders (boot) AS ( \
             ({next} ORDER BY holder LIMIT 1) \
             UNION ALL SELECT ({next} AND holder > boot ORDER BY holder LIMIT 1) FROM holders WHERE boot IS NOT NULL) \
         SELECT boot FROM (SELECT boot FROM holders WHERE boot IS NOT NULL UNION SELECT boot FROM ork.permit) AS held \
         WHERE NOT EXISTS (SELECT FROM ork.process WHERE process.boot = held.boot)"
    );
    let found = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await?;
    found.iter().map(|row| row.try_get(0)).collect()
}

/// Returns jobs of these tasks that wait for a message, although the outbox has no row for them and no process works
/// on them.
async fn unattended(connection: &mut PgConnection, tasks: &[String]) -> sqlx::Result<Vec<JobId>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let query = "SELECT document FROM ork.job WHERE ended IS NULL AND task = ANY($1) \
                     AND NOT EXISTS (SELECT FROM ork.outbox \
                         WHERE job = ork.job.id AND kind IN ('start', 'join', 'parts', 'waited-part')) \
                     AND NOT EXISTS (SELECT FROM ork.process WHERE ork.job.id = ANY(running))";
    let tasks: Vec<_> = tasks.iter().map(|task| text(task)).collect();
    let processes = diagnostics::processes(&mut *connection).await?;
    let mut found = Vec::new();
    let mut rows = sqlx::query(query).bind(tasks).fetch(connection);
    while let (true, Some(row)) = (found.len() < UNATTENDED, rows.try_next().await?) {
        let (job, head) = Columns::new(&row).job()?;
        if is_unattended(&job, &head, &processes) {
            found.push(job.id);
        }
    }
    Ok(found)
}

/// Records that a process ends. Returns whether rows were freed.
pub(crate) async fn leave(connection: &mut PgConnection, actor: &Actor) -> sqlx::Result<bool> {
    let free = "UPDATE ork.outbox SET holder = NULL WHERE id IN \
                    (SELECT id FROM ork.outbox WHERE holder = $1 ORDER BY id FOR UPDATE)";
    let boot = Uid(actor.worker.boot());
    let freed = sqlx::query(free).bind(boot).execute(&mut *connection).await?.rows_affected();
    sqlx::query("DELETE FROM ork.process WHERE boot = $1").bind(boot).execute(&mut *connection).await?;
    permits::end(connection, &[boot]).await?;
    Ok(permits::sweep(connection).await? || freed > 0)
}
