//! The permits of concurrency limits, and the rows of the outbox that wait for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::codec::{Columns, Uid, column};
use ork_core::clock::Timestamp;
use ork_core::tx::{Held, Permits, Transaction};
use ork_ports::store::Work;

/// The permits that each process holds, by limit and boot id.
pub(crate) type Holders = BTreeMap<(Arc<str>, [u8; 16]), Held>;

/// A change in the number of permits that a process holds.
#[derive(Debug, Clone)]
pub(crate) struct Moved {
    pub(crate) limit: Arc<str>,
    boot: [u8; 16],
    /// The difference: how many more permits it holds.
    more: i64,
    /// The time from which the process holds these permits, see [`Held::since`].
    since: Timestamp,
}

/// Locks the limits that these operations need, reverts the changes in `undo`, and loads the permits into the
/// transaction. Returns how many permits each process holds.
///
/// The locks are advisory locks of the server, taken in the order of their keys, which prevents deadlocks. Two limits
/// may share a key; they then wait for each other needlessly.
pub(crate) async fn open(
    connection: &mut PgConnection,
    tx: &mut Transaction,
    works: &mut [&mut Box<dyn Work>],
    undo: &[Moved],
) -> sqlx::Result<Holders> {
    let limits = works.iter().flat_map(|work| (0..work.count()).filter_map(|at| work.limit(at).cloned()));
    let limits: BTreeSet<Arc<str>> = limits.chain(undo.iter().map(|moved| Arc::clone(&moved.limit))).collect();
    let mut before = Holders::new();
    if limits.is_empty() {
        return Ok(before);
    }
    let names: Vec<String> = limits.iter().map(ToString::to_string).collect();
    let lock = "SELECT pg_advisory_xact_lock(1869769473, hash) FROM \
                    (SELECT DISTINCT hashtext(name) AS hash FROM unnest($1::text[]) AS name ORDER BY hash) AS hashes";
    sqlx::query(lock).bind(&names).execute(&mut *connection).await?;
    for moved in undo {
        take_back(connection, moved).await?;
    }
    let mut held: HashMap<String, Vec<([u8; 16], Held)>> = HashMap::new();
    let query = "SELECT limit_name, boot, held, since FROM ork.permit WHERE limit_name = ANY($1)";
    for row in sqlx::query(query).bind(names).fetch_all(connection).await? {
        let c = &mut Columns::new(&row);
        let (name, Uid(boot)) = (c.get()?, c.get()?);
        let (count, since) = (c.number()?, Timestamp::from_millis(c.get()?));
        held.entry(name).or_default().push((boot, Held { count, since }));
    }
    for limit in limits {
        let held = held.remove(&*limit).unwrap_or_default();
        before.extend(held.iter().map(|(boot, held)| ((Arc::clone(&limit), *boot), *held)));
        tx.open_permits(limit, Permits::new(held));
    }
    Ok(before)
}

/// Returns the differences between two states.
pub(crate) fn moved(before: &Holders, now: &Holders) -> Vec<Moved> {
    let moved = |(of, held): (&(Arc<str>, [u8; 16]), &Held)| {
        let more = i64::from(held.count) - i64::from(before.get(of).map_or(0, |held| held.count));
        (more != 0).then(|| Moved { limit: Arc::clone(&of.0), boot: of.1, more, since: held.since })
    };
    now.iter().filter_map(moved).collect()
}

/// Reverts a change of permits whose caller received an error and will ask again. Rows that wait for a permit are
/// freed by the next heartbeat.
async fn take_back(connection: &mut PgConnection, moved: &Moved) -> sqlx::Result<()> {
    let Moved { limit, boot, more, since } = moved;
    // A process that was presumed dead in the meantime no longer holds any permits.
    let raise = "INSERT INTO ork.permit SELECT $1, $2, -$3, $4 WHERE $3 < 0 \
                     AND EXISTS (SELECT FROM ork.process WHERE boot = $2) \
                 ON CONFLICT (limit_name, boot) DO UPDATE SET held = permit.held + excluded.held \
                     WHERE permit.since = excluded.since";
    let lower = "UPDATE ork.permit SET held = greatest(held - $3, 0) \
                 WHERE $3 > 0 AND limit_name = $1 AND boot = $2 AND since = $4";
    for statement in [raise, lower] {
        sqlx::query(statement)
            .bind(limit.to_string())
            .bind(Uid(*boot))
            .bind(more)
            .bind(since.as_millis())
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("DELETE FROM ork.permit WHERE limit_name = $1 AND boot = $2 AND held = 0")
        .bind(limit.to_string())
        .bind(Uid(*boot))
        .execute(connection)
        .await
        .map(drop)
}

/// Writes which permits each process holds, and frees rows that waited for one. Returns whether there were any.
pub(crate) async fn write(
    connection: &mut PgConnection,
    permits: Holders,
    woken: BTreeMap<Arc<str>, u32>,
) -> sqlx::Result<bool> {
    let (held, none): (Vec<_>, Vec<_>) = permits.into_iter().partition(|(_, held)| held.count > 0);
    if !held.is_empty() {
        let insert = "INSERT INTO ork.permit SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[]) \
                    ON CONFLICT (limit_name, boot) DO UPDATE SET held = excluded.held, since = excluded.since";
        sqlx::query(insert)
            .bind(column(&held, |((limit, _), _)| limit.to_string()))
            .bind(column(&held, |((_, boot), _)| Uid(*boot)))
            .bind(column(&held, |(_, held)| i64::from(held.count)))
            .bind(column(&held, |(_, held)| held.since.as_millis()))
            .execute(&mut *connection)
            .await?;
    }
    if !none.is_empty() {
        let drop = "DELETE FROM ork.permit USING unnest($1::text[], $2::uuid[]) AS ended (limit_name, boot) \
                    WHERE permit.limit_name = ended.limit_name AND permit.boot = ended.boot";
        sqlx::query(drop)
            .bind(column(&none, |((limit, _), _)| limit.to_string()))
            .bind(column(&none, |((_, boot), _)| Uid(*boot)))
            .execute(&mut *connection)
            .await?;
    }
    let mut any = false;
    for (limit, count) in woken {
        any |= wake(connection, &limit, i64::from(count)).await?;
    }
    Ok(any)
}

async fn wake(connection: &mut PgConnection, limit: &str, count: i64) -> sqlx::Result<bool> {
    let wake = "UPDATE ork.outbox SET waits_for = NULL, permits = NULL WHERE id IN (SELECT id FROM ork.outbox \
                    WHERE waits_for = $1 ORDER BY priority DESC, id LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let woken = sqlx::query(wake).bind(limit).bind(count).execute(connection).await?;
    Ok(woken.rows_affected() > 0)
}

/// Returns how many permits of a limit are taken.
pub(crate) async fn taken(connection: &mut PgConnection, limit: &str) -> sqlx::Result<u32> {
    let sum = "SELECT sum(held)::bigint FROM ork.permit WHERE limit_name = $1";
    let row = sqlx::query(sum).bind(limit).fetch_one(connection).await?;
    Ok(Columns::new(&row).number_or_none()?.unwrap_or(0))
}

/// Removes the permits of processes that have ended.
pub(crate) async fn end(connection: &mut PgConnection, boots: &[Uid]) -> sqlx::Result<()> {
    let end = "DELETE FROM ork.permit WHERE boot = ANY($1)";
    sqlx::query(end).bind(boots).execute(connection).await.map(drop)
}

/// Frees as many waiting rows as there are free permits, which includes the permits of dead processes and of lost
/// messages. Returns whether there were any.
pub(crate) async fn sweep(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let rooms = "SELECT waits_for, max(permits) - coalesce(\
                     (SELECT sum(held)::bigint FROM ork.permit WHERE limit_name = waits_for), 0) AS room \
                 FROM ork.outbox WHERE waits_for IS NOT NULL GROUP BY waits_for ORDER BY waits_for";
    let mut any = false;
    for row in sqlx::query(rooms).fetch_all(&mut *connection).await? {
        let (name, room) = (row.try_get::<&str, _>(0)?, row.try_get::<i64, _>(1)?);
        if room > 0 {
            any |= wake(connection, name, room).await?;
        }
    }
    Ok(any)
}
