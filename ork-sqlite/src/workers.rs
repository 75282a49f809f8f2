//! Heartbeats of processes on the clock that they share, and what depends on heartbeats.

use rusqlite::{Connection, Row, params, params_from_iter};

use crate::{codec, load, permits, uniques};
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::tx::{Actor, StoreNotice};
use ork_ports::store::{Heartbeat, HeartbeatReply, LiveProcess, UNATTENDED, is_unattended};

/// Records that a process is alive, and releases what dead processes held. Returns which of its jobs have ended, and
/// the time.
pub(crate) fn heartbeat(
    connection: &Connection,
    heartbeat: &Heartbeat,
    notices: &mut Vec<StoreNotice>,
) -> rusqlite::Result<HeartbeatReply> {
    let (worker, now) = (&heartbeat.actor.worker, heartbeat.actor.now);
    let running: Vec<u8> = heartbeat.attends().iter().flat_map(|job| *job.as_bytes()).collect();
    connection
        .prepare_cached("INSERT OR REPLACE INTO process (boot, name, expires_at, running) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![worker.boot(), worker.name(), (now + heartbeat.ttl).as_millis(), running])?;
    let dead: Vec<[u8; 16]> = connection
        .prepare_cached("SELECT boot FROM process WHERE expires_at < ?1")?
        .query_map([now.as_millis()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for boot in dead {
        let free = "UPDATE outbox SET holder = NULL, losses = losses + 1 WHERE holder = ?1";
        connection.prepare_cached(free)?.execute([boot])?;
        connection.prepare_cached("DELETE FROM process WHERE boot = ?1")?.execute([boot])?;
        permits::end(connection, boot)?;
        notices.push(StoreNotice::OutboxReady);
    }
    permits::sweep(connection, notices)?;
    uniques::seen(connection, &heartbeat.running, heartbeat.written())?;
    let mut ended = Vec::new();
    for job in &heartbeat.running {
        if load::find(connection, *job)?.is_some_and(|(_, job, _)| job.own_work_ended()) {
            ended.push(*job);
        }
    }
    let unattended = unattended(connection, &heartbeat.waiting)?;
    Ok(HeartbeatReply { ended, time: Some(time(connection)?), unattended })
}

/// Makes sure that a process which is about to hold something has a heartbeat: only the end of that heartbeat releases
/// what the process holds. A process that was presumed dead, and continues, has no heartbeat until its next one.
pub(crate) fn holds(connection: &Connection, boot: [u8; 16], expires_at: Option<Timestamp>) -> rusqlite::Result<()> {
    let note = "INSERT OR IGNORE INTO process (boot, name, expires_at) \
                VALUES (?1, '', coalesce(?2, (SELECT max(expires_at) FROM process), 0))";
    connection.prepare_cached(note)?.execute(params![boot, expires_at.map(Timestamp::as_millis)]).map(drop)
}

/// Returns the time of the clock of this computer, which all processes that share the file use.
pub(crate) fn time(connection: &Connection) -> rusqlite::Result<Timestamp> {
    let now = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    connection.query_row(now, [], |row| row.get(0)).map(Timestamp::from_millis)
}

/// Returns the processes that are not known to have ended.
pub(crate) fn processes(connection: &Connection) -> rusqlite::Result<Vec<LiveProcess>> {
    let query = "SELECT boot, name, expires_at, running FROM process ORDER BY name, boot";
    let process = |row: &Row<'_>| {
        let (boot, name, expires_at) = (row.get(0)?, row.get::<_, String>(1)?, row.get(2)?);
        let ids: Vec<u8> = row.get(3)?;
        let running = ids.as_chunks().0.iter().copied().map(JobId::from_bytes).collect();
        Ok(LiveProcess { running, ..LiveProcess::new(&name, boot, Timestamp::from_millis(expires_at)) })
    };
    connection.prepare_cached(query)?.query_map([], process)?.collect()
}

/// Returns jobs of these tasks that wait for a message, although the outbox has no row for them and no process works
/// on them.
fn unattended(connection: &Connection, tasks: &[String]) -> rusqlite::Result<Vec<JobId>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "SELECT document FROM job WHERE ended IS NULL AND task IN ({}) \
             AND seq NOT IN (SELECT job FROM outbox WHERE kind IN ('start', 'join', 'parts', 'waited-part'))",
        vec!["?"; tasks.len()].join(", ")
    );
    let processes = processes(connection)?;
    let mut statement = connection.prepare(&query)?;
    let mut rows = statement.query(params_from_iter(tasks))?;
    let mut found = Vec::new();
    while let (true, Some(row)) = (found.len() < UNATTENDED, rows.next()?) {
        let (job, head) = codec::document(row, 0)?;
        if is_unattended(&job, &head, &processes) {
            found.push(job.id);
        }
    }
    Ok(found)
}

/// Records that a process ends, and releases everything that it holds.
pub(crate) fn leave(connection: &Connection, actor: &Actor, notices: &mut Vec<StoreNotice>) -> rusqlite::Result<()> {
    let boot = actor.worker.boot();
    let freed = connection.prepare_cached("UPDATE outbox SET holder = NULL WHERE holder = ?1")?.execute([boot])?;
    connection.prepare_cached("DELETE FROM process WHERE boot = ?1")?.execute([boot])?;
    permits::end(connection, boot)?;
    permits::sweep(connection, notices)?;
    if freed > 0 {
        notices.push(StoreNotice::OutboxReady);
    }
    Ok(())
}
