//! The permits of concurrency limits, and the rows of the outbox that wait for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use ork_core::clock::Timestamp;
use ork_core::tx::{Held, Limit, Permits, StoreNotice, Transaction};

/// Loads the permits of a limit into the transaction, unless they are loaded already.
pub(crate) fn open(connection: &Connection, tx: &mut Transaction, limit: Option<&Arc<str>>) -> rusqlite::Result<()> {
    let Some(limit) = limit.filter(|limit| !tx.knows_permits(limit)) else { return Ok(()) };
    let mut statement = connection.prepare_cached("SELECT boot, held, since FROM permit WHERE limit_name = ?1")?;
    let held =
        |row: &Row<'_>| Ok((row.get(0)?, Held { count: row.get(1)?, since: Timestamp::from_millis(row.get(2)?) }));
    let held = statement.query_map([limit], held)?;
    tx.open_permits(Arc::clone(limit), Permits::new(held.collect::<rusqlite::Result<Vec<_>>>()?));
    Ok(())
}

/// Writes which permits each process holds.
pub(crate) fn write(connection: &Connection, permits: &BTreeMap<(Arc<str>, [u8; 16]), Held>) -> rusqlite::Result<()> {
    for ((limit, boot), Held { count, since }) in permits {
        if *count > 0 {
            let hold = "INSERT OR REPLACE INTO permit (limit_name, boot, held, since) VALUES (?1, ?2, ?3, ?4)";
            connection.prepare_cached(hold)?.execute(params![limit, boot, count, since.as_millis()])?;
        } else {
            let drop = "DELETE FROM permit WHERE limit_name = ?1 AND boot = ?2";
            connection.prepare_cached(drop)?.execute(params![limit, boot])?;
        }
    }
    Ok(())
}

/// Frees rows that wait for a permit, highest priority first, then the oldest.
pub(crate) fn wake(
    connection: &Connection,
    limit: &str,
    count: u32,
    notices: &mut Vec<StoreNotice>,
) -> rusqlite::Result<()> {
    let wake = "UPDATE outbox SET waits_for = NULL, permits = NULL WHERE id IN \
                    (SELECT id FROM outbox WHERE waits_for = ?1 ORDER BY priority DESC, id LIMIT ?2)";
    if connection.prepare_cached(wake)?.execute(params![limit, count])? > 0
        && !notices.contains(&StoreNotice::OutboxReady)
    {
        notices.push(StoreNotice::OutboxReady);
    }
    Ok(())
}

/// Removes the permits of a process that has ended.
pub(crate) fn end(connection: &Connection, boot: [u8; 16]) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM permit WHERE boot = ?1")?.execute([boot]).map(drop)
}

/// Frees as many waiting rows as there are free permits, which includes the permits of dead processes and of lost
/// messages.
pub(crate) fn sweep(connection: &Connection, notices: &mut Vec<StoreNotice>) -> rusqlite::Result<()> {
    let limits = "SELECT waits_for, max(permits) FROM outbox WHERE waits_for IS NOT NULL GROUP BY waits_for";
    let limit = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let limits: BTreeMap<String, u32> =
        connection.prepare_cached(limits)?.query_map([], limit)?.collect::<Result<_, _>>()?;
    for (limit, permits) in limits {
        let room = permits.saturating_sub(taken(connection, &limit)?);
        if room > 0 {
            wake(connection, &limit, room, notices)?;
        }
    }
    Ok(())
}

/// Returns how many permits of a limit are taken.
pub(crate) fn taken(connection: &Connection, limit: &str) -> rusqlite::Result<u32> {
    let sum = "SELECT sum(held) FROM permit WHERE limit_name = ?1";
    let sum = connection.prepare_cached(sum)?.query_row([limit], |row| row.get::<_, Option<u32>>(0)).optional()?;
    Ok(sum.flatten().unwrap_or(0))
}

/// Returns the limit that a row waits for, from its columns `waits_for` and `permits`, which begin at `place`.
pub(crate) fn limit(row: &Row<'_>, place: usize) -> rusqlite::Result<Option<Limit>> {
    let name = row.get::<_, Option<Arc<str>>>(place)?;
    let permits = row.get::<_, Option<u32>>(place + 1)?.unwrap_or(0);
    Ok(name.map(|name| Limit { name, permits }))
}
