//! The rows of the outbox: inserted, taken by one process each, deleted, released.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use crate::codec::{Columns, Uid, column, signed, text};
use crate::error::damaged;
use crate::numbers::Numbers;
use crate::{messages, permits};
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::tx::{HeldRow, KindColumns, Limit, OutboxId, OutboxKind, OutboxRow};
use ork_ports::store::{OutboxPage, PendingOutbox, Take};

/// The number of rows that are locked at first. Other processes skip locked rows, so this is no more than is usually
/// needed.
const FIRST: usize = 8;

/// A row, and the boot id of the process that holds it, according to the caller.
pub(crate) type Held = (OutboxId, [u8; 16]);

/// The columns of a row, in the order in which [`insert`] binds and [`outbox_row`] reads them.
macro_rules! columns {
    () => {
        "id, job, task, kind, detail, first, len, attempt, priority, due, holder, losses, waits_for, permits"
    };
}

/// Adds rows.
pub(crate) async fn insert(connection: &mut PgConnection, rows: &[OutboxRow]) -> sqlx::Result<()> {
    let insert = concat!(
        "INSERT INTO ork.outbox (",
        columns!(),
        ") SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], \
              $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::uuid[], $12::bigint[], $13::text[], \
              $14::bigint[])"
    );
    for rows in rows.chunks(8_192) {
        sqlx::query(insert)
            .bind(column(rows, |row| signed(row.id)))
            .bind(column(rows, |row| Uid::from(row.job)))
            .bind(column(rows, |row| text(&row.task)))
            .bind(column(rows, |row| row.kind.to_columns().kind))
            .bind(column(rows, |row| i64::from(row.kind.to_columns().detail)))
            .bind(column(rows, |row| signed(row.kind.to_columns().first)))
            .bind(column(rows, |row| signed(row.kind.to_columns().len)))
            .bind(column(rows, |row| i64::from(row.attempt)))
            .bind(column(rows, |row| i64::from(row.priority)))
            .bind(column(rows, |row| row.due.map(Timestamp::as_millis)))
            .bind(column(rows, |row| row.holder.map(Uid)))
            .bind(column(rows, |row| i64::from(row.losses)))
            .bind(column(rows, |row| row.waits_for.as_ref().map(|limit| limit.name.to_string())))
            .bind(column(rows, |row| row.waits_for.as_ref().map(|limit| i64::from(limit.permits))))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn outbox_row(row: &PgRow) -> sqlx::Result<OutboxRow> {
    let c = &mut Columns::new(row);
    let (id, job, task) = (c.number()?, c.id()?, c.get()?);
    let columns = KindColumns { kind: c.get()?, detail: c.number()?, first: c.number()?, len: c.number()? };
    let kind = OutboxKind::from_columns(columns).ok_or_else(|| damaged("an outbox row has an unknown kind"))?;
    let (attempt, priority, due) = (c.number()?, c.number()?, c.time()?);
    let (holder, losses) = (c.get::<Option<Uid>>()?.map(|holder| holder.0), c.number()?);
    let (name, permits) = (c.get::<Option<&str>>()?, c.number_or_none()?.unwrap_or(0));
    let waits_for = name.map(|name| Limit { name: name.into(), permits });
    Ok(OutboxRow { id, job, task, kind, attempt, priority, due, holder, losses, waits_for })
}

/// Counts the rows of the outbox for a job. This scans the whole outbox, but is rarely called.
pub(crate) async fn pending(connection: &mut PgConnection, job: JobId) -> sqlx::Result<PendingOutbox> {
    let query = concat!("SELECT ", columns!(), " FROM ork.outbox WHERE job = $1");
    let mut pending = PendingOutbox::default();
    // There may be many rows, so they are not collected.
    let mut rows = sqlx::query(query).bind(Uid::from(job)).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        pending.add(&outbox_row(&row)?);
    }
    drop(rows);
    if let Some((limit, taken)) = &mut pending.limit {
        *taken = permits::taken(connection, &limit.name).await?;
    }
    Ok(pending)
}

/// The result of [`take`].
pub(crate) struct Took {
    pub(crate) taken: OutboxPage,
    /// Whether there may be more rows that others had locked. The rows that they leave have to be looked for again.
    pub(crate) passed_by: bool,
}

/// Takes rows that are due and that no process holds.
pub(crate) async fn take(connection: &mut PgConnection, take: &Take, numbers: &mut Numbers) -> sqlx::Result<Took> {
    let now = take.actor.now.as_millis();
    let next_due = free_due(connection, now).await?;
    let tasks = take.tasks.as_deref().map(|tasks| tasks.iter().map(|task| text(task)).collect::<Vec<_>>());
    let mut left = u64::try_from(take.limit).unwrap_or(u64::MAX);
    let mut taken = Vec::new();
    // Rows for lost parts from which one part was split off: a second part of the same row is not taken by the same
    // call.
    let mut seen = Vec::new();
    let mut page = take.limit.min(FIRST);
    loop {
        let rows = lock_page(connection, tasks.as_deref(), &seen, page).await?;
        let last = rows.len() < page;
        let (mut whole, mut cut, mut shorter) = (Vec::new(), Vec::new(), Vec::new());
        for mut row in rows {
            if left == 0 {
                break;
            }
            let most = if row.losses > 0 { 1 } else { left };
            if row.n_messages() > most {
                let next = numbers.next(connection).await?;
                let Some(mut held) = row.split_off(next, most) else { continue };
                held.holder = Some(take.actor.worker.boot());
                left -= most;
                seen.push(signed(row.id));
                shorter.push((signed(row.id), signed(most)));
                cut.push(held);
            } else {
                left -= row.n_messages();
                whole.push(row);
            }
        }
        hold(connection, &whole, take.actor.worker.boot()).await?;
        shorten(connection, &shorter).await?;
        insert(connection, &cut).await?;
        taken.append(&mut whole);
        taken.append(&mut cut);
        if last || left == 0 {
            break;
        }
        page = usize::try_from(left).unwrap_or(usize::MAX).min(1_024);
    }
    let passed_by = left > 0 && is_more(connection, tasks.as_deref(), &seen, now).await?;
    let mut messages = messages::of(connection, &taken).await?;
    let rows = taken.into_iter().map(|row| {
        let messages = messages.remove(&row.id).unwrap_or_default();
        HeldRow { id: row.id, losses: row.losses, messages, release_after_events: false }
    });
    Ok(Took { taken: OutboxPage { rows: rows.collect(), next_due, more: left == 0 }, passed_by })
}

/// Frees the rows that are due. Returns when the next row becomes due.
async fn free_due(connection: &mut PgConnection, now: i64) -> sqlx::Result<Option<Timestamp>> {
    let query = "WITH freed AS (UPDATE ork.outbox SET due = NULL WHERE id IN \
                     (SELECT id FROM ork.outbox WHERE due <= $1 ORDER BY id FOR UPDATE SKIP LOCKED)) \
                 SELECT min(due) FROM ork.outbox WHERE due > $1";
    let row = sqlx::query(query).bind(now).fetch_one(connection).await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.map(Timestamp::from_millis))
}

/// Locks the next free rows that no other process has locked.
async fn lock_page(
    connection: &mut PgConnection,
    tasks: Option<&[String]>,
    seen: &[i64],
    page: usize,
) -> sqlx::Result<Vec<OutboxRow>> {
    let query = concat!(
        "SELECT ",
        columns!(),
        " FROM ork.outbox WHERE holder IS NULL AND due IS NULL AND waits_for IS NULL \
              AND ($1::text[] IS NULL OR task = ANY($1)) AND id <> ALL($2) \
          ORDER BY priority DESC, id LIMIT $3 FOR UPDATE SKIP LOCKED"
    );
    let page = i64::try_from(page).unwrap_or(i64::MAX);
    let rows = sqlx::query(query).bind(tasks).bind(seen).bind(page).fetch_all(connection).await?;
    rows.iter().map(outbox_row).collect()
}

/// Whether there are free rows that this transaction has not seen: others have locked them, and may leave them.
async fn is_more(
    connection: &mut PgConnection,
    tasks: Option<&[String]>,
    seen: &[i64],
    now: i64,
) -> sqlx::Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM ork.outbox WHERE holder IS NULL AND due IS NULL AND waits_for IS NULL \
                     AND ($1::text[] IS NULL OR task = ANY($1)) AND id <> ALL($2)) \
                 OR EXISTS (SELECT FROM ork.outbox WHERE due <= $3 AND ($1::text[] IS NULL OR task = ANY($1)))";
    sqlx::query(query).bind(tasks).bind(seen).bind(now).fetch_one(connection).await?.try_get(0)
}

async fn hold(connection: &mut PgConnection, rows: &[OutboxRow], holder: [u8; 16]) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let update = "UPDATE ork.outbox SET holder = $2 WHERE id = ANY($1)";
    let ids = column(rows, |row| signed(row.id));
    sqlx::query(update).bind(ids).bind(Uid(holder)).execute(connection).await.map(drop)
}

/// Removes the first parts from rows that are too long. The remaining parts stay free.
async fn shorten(connection: &mut PgConnection, cuts: &[(i64, i64)]) -> sqlx::Result<()> {
    if cuts.is_empty() {
        return Ok(());
    }
    let update = "UPDATE ork.outbox SET first = first + cut.len, len = outbox.len - cut.len \
                  FROM unnest($1::bigint[], $2::bigint[]) AS cut (id, len) WHERE outbox.id = cut.id";
    let (ids, lens) = (column(cuts, |(id, _)| *id), column(cuts, |(_, len)| *len));
    sqlx::query(update).bind(ids).bind(lens).execute(connection).await.map(drop)
}

/// Deletes rows that are still held by the given processes.
pub(crate) async fn delete(connection: &mut PgConnection, rows: &[Held]) -> sqlx::Result<()> {
    let delete = "DELETE FROM ork.outbox USING unnest($1::bigint[], $2::uuid[]) AS done (id, holder) \
                  WHERE outbox.id = done.id AND outbox.holder = done.holder";
    each(connection, delete, rows).await
}

/// Releases rows that are still held by the given processes.
pub(crate) async fn release(connection: &mut PgConnection, rows: &[Held]) -> sqlx::Result<()> {
    let update = "UPDATE ork.outbox SET holder = NULL FROM unnest($1::bigint[], $2::uuid[]) AS done (id, holder) \
                  WHERE outbox.id = done.id AND outbox.holder = done.holder";
    each(connection, update, rows).await
}

async fn each(connection: &mut PgConnection, statement: &'static str, rows: &[Held]) -> sqlx::Result<()> {
    let mut rows = rows.to_vec();
    // All processes touch these rows in the same order.
    rows.sort_unstable();
    for rows in rows.chunks(8_192) {
        let (ids, holders) = (column(rows, |(id, _)| signed(*id)), column(rows, |(_, holder)| Uid(*holder)));
        sqlx::query(statement).bind(ids).bind(holders).execute(&mut *connection).await?;
    }
    Ok(())
}
