//! The rows of the outbox.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params, params_from_iter};

use crate::codec::{self, number, part_id, signed};
use crate::error::damaged;
use crate::{permits, workers};
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::job::Job;
use ork_core::message::Outgoing;
use ork_core::tx::{ALIVE, Actor, HeldRow, KindColumns, OutboxId, OutboxKind, OutboxRow, StoreNotice};
use ork_ports::store::{OutboxPage, PendingOutbox, Take};

/// The columns of a row, in the order in which [`insert`] binds and [`outbox_row`] reads them.
macro_rules! columns {
    () => {
        "id, job, task, kind, detail, first, len, attempt, priority, due, holder, losses, waits_for, permits"
    };
}

/// The statement that adds a row; for [`insert`].
pub(crate) const INSERT: &str = concat!(
    "INSERT INTO outbox (",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
);

/// Adds a row.
pub(crate) fn insert(statement: &mut Statement<'_>, seq: i64, row: &OutboxRow) -> rusqlite::Result<()> {
    let KindColumns { kind, detail, first, len } = row.kind.to_columns();
    statement
        .execute(params![
            signed(row.id),
            seq,
            row.task,
            kind,
            detail,
            signed(first),
            signed(len),
            row.attempt,
            row.priority,
            row.due.map(Timestamp::as_millis),
            row.holder,
            row.losses,
            row.waits_for.as_ref().map(|limit| &limit.name),
            row.waits_for.as_ref().map(|limit| limit.permits)
        ])
        .map(drop)
}

fn outbox_row(row: &Row<'_>) -> rusqlite::Result<(i64, OutboxRow)> {
    let kind = row.get_ref(3)?.as_str().map_err(|_not_text| damaged("an outbox row has no kind"))?;
    let columns = KindColumns { kind, detail: row.get(4)?, first: number(row, 5)?, len: number(row, 6)? };
    let kind = OutboxKind::from_columns(columns).ok_or_else(|| damaged("an outbox row has an unknown kind"))?;
    let rows = OutboxRow {
        id: number(row, 0)?,
        // The row refers to its job by row number; the caller looks up the job, which has the id.
        job: JobId::from_bytes([0; 16]),
        task: row.get(2)?,
        kind,
        attempt: row.get(7)?,
        priority: row.get(8)?,
        due: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_millis),
        holder: row.get(10)?,
        losses: row.get(11)?,
        waits_for: permits::limit(row, 12)?,
    };
    Ok((row.get(1)?, rows))
}

/// Counts the rows of the outbox for a job. This scans the whole outbox, but is rarely called.
pub(crate) fn pending(connection: &Connection, seq: i64, pending: &mut PendingOutbox) -> rusqlite::Result<()> {
    let query = concat!("SELECT ", columns!(), " FROM outbox WHERE job = ?1");
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query([seq])?;
    while let Some(row) = rows.next()? {
        pending.add(&outbox_row(row)?.1);
    }
    if let Some((limit, taken)) = &mut pending.limit {
        *taken = permits::taken(connection, &limit.name)?;
    }
    Ok(())
}

/// The number of rows that are read at once. A row may stand for a thousand parts.
const ROWS: usize = 64;

/// Takes rows that are due and that no process holds.
pub(crate) fn take(connection: &Connection, take: &Take) -> rusqlite::Result<OutboxPage> {
    let now = take.actor.now.as_millis();
    connection.prepare_cached("UPDATE outbox SET due = NULL WHERE due <= ?1")?.execute([now])?;
    let next_due = connection.prepare_cached("SELECT min(due) FROM outbox WHERE due IS NOT NULL")?;
    let next_due = { next_due }.query_row([], |row| row.get::<_, Option<i64>>(0))?.map(Timestamp::from_millis);
    let tasks = take.tasks.as_deref().unwrap_or_default();
    let known = match take.tasks {
        None => String::new(),
        Some(_) => format!("AND task IN ({})", vec!["?"; tasks.len()].join(", ")),
    };
    let free = format!(
        concat!(
            "SELECT ",
            columns!(),
            " FROM outbox WHERE holder IS NULL AND due IS NULL AND waits_for IS NULL {} \
             ORDER BY priority DESC, id LIMIT {}"
        ),
        known, ROWS
    );
    let mut left = u64::try_from(take.limit).unwrap_or(u64::MAX);
    let mut taken = Vec::new();
    let holder = take.actor.worker.boot();
    let mut jobs = JobCache::default();
    let mut found = Vec::new().into_iter();
    while left > 0 {
        let Some((seq, mut row)) = found.next() else {
            // Rows that were taken are no longer free, so the same query returns the next ones.
            let mut statement = connection.prepare_cached(&free)?;
            let rows = statement.query_map(params_from_iter(tasks.iter()), outbox_row)?;
            found = rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter();
            if found.len() == 0 {
                break;
            }
            continue;
        };
        if taken.is_empty() {
            workers::holds(connection, holder, Some(take.actor.now + ALIVE))?;
        }
        let most = if row.losses > 0 { 1 } else { left };
        let held = if let Some(held) = cut(connection, seq, &mut row, most, holder)? {
            held
        } else {
            let hold = "UPDATE outbox SET holder = ?2 WHERE id = ?1";
            connection.prepare_cached(hold)?.execute(params![signed(row.id), holder])?;
            row
        };
        left -= held.n_messages().min(left);
        let messages = messages(connection, seq, &held, &mut jobs)?;
        taken.push(HeldRow { id: held.id, losses: held.losses, messages, release_after_events: false });
    }
    Ok(OutboxPage { rows: taken, next_due, more: left == 0 })
}

/// Splits a row for more parts than `most`. The remaining parts stay free.
fn cut(
    connection: &Connection,
    seq: i64,
    row: &mut OutboxRow,
    most: u64,
    holder: [u8; 16],
) -> rusqlite::Result<Option<OutboxRow>> {
    if row.n_messages() <= most {
        return Ok(None);
    }
    let next = next_id(connection)?;
    let Some(mut held) = row.split_off(next, most) else {
        return Ok(None);
    };
    set_next_id(connection, next + 1)?;
    held.holder = Some(holder);
    let mut statement = connection.prepare_cached(INSERT)?;
    insert(&mut statement, seq, &held)?;
    let shorten = "UPDATE outbox SET first = first + ?2, len = len - ?2 WHERE id = ?1";
    connection.prepare_cached(shorten)?.execute(params![signed(row.id), signed(most)])?;
    Ok(Some(held))
}

/// Returns the number of the next row of the outbox.
pub(crate) fn next_id(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT next_outbox_id FROM store")?.query_row([], |row| number(row, 0))
}

/// Stores the number of the next row of the outbox.
pub(crate) fn set_next_id(connection: &Connection, next: u64) -> rusqlite::Result<()> {
    let next = i64::try_from(next).unwrap_or(i64::MAX);
    connection.prepare_cached("UPDATE store SET next_outbox_id = ?1")?.execute([next]).map(drop)
}

/// Caches the job of the previous row, which usually is the job of this row as well.
#[derive(Default)]
struct JobCache(Option<(i64, Job)>);

impl JobCache {
    fn get(&mut self, connection: &Connection, seq: i64) -> rusqlite::Result<Option<&Job>> {
        if self.0.as_ref().is_none_or(|(cached, _)| *cached != seq) {
            let mut statement =
                connection.prepare_cached(concat!("SELECT ", codec::job_columns!(), " FROM job WHERE seq = ?1"))?;
            self.0 = statement.query_row([seq], codec::job).optional()?.map(|(seq, job, _)| (seq, job));
        }
        Ok(self.0.as_ref().map(|(_, job)| job))
    }
}

fn messages(
    connection: &Connection,
    seq: i64,
    row: &OutboxRow,
    jobs: &mut JobCache,
) -> rusqlite::Result<Vec<Outgoing>> {
    let Some(job) = jobs.get(connection, seq)? else {
        return Ok(Vec::new());
    };
    let column = |name: &str| -> rusqlite::Result<Option<Bytes>> {
        let mut statement = connection.prepare_cached(&format!("SELECT {name} FROM job WHERE seq = ?1"))?;
        statement.query_row([seq], |row| row.get::<_, Option<Vec<u8>>>(0)).map(|bytes| bytes.map(Bytes::from))
    };
    Ok(match row.kind {
        OutboxKind::Join => vec![row.work(job, Bytes::new())],
        OutboxKind::Start => vec![row.work(job, column("input")?.unwrap_or_default())],
        OutboxKind::Reply => OutboxRow::replies(job, column("output")?.as_ref()),
        OutboxKind::Hooks { mask: which } => vec![OutboxRow::hooks(job, which)],
        OutboxKind::Event(what) => vec![row.pending_event(job, what)],
        OutboxKind::Parts { epoch, first, len, .. } => {
            let inputs = "SELECT id & 4294967295, input FROM part WHERE id BETWEEN ?1 AND ?2 AND input IS NOT NULL";
            let mut statement = connection.prepare_cached(inputs)?;
            let ids = [part_id(seq, first)?, part_id(seq, first + len - 1)?];
            let part = |found: &Row<'_>| {
                let input = Bytes::from(found.get::<_, Vec<u8>>(1)?);
                Ok(row.part(job, epoch, number(found, 0)?, input))
            };
            statement.query_map(ids, part)?.collect::<rusqlite::Result<_>>()?
        }
    })
}

/// Removes rows that this process holds.
pub(crate) fn delete(connection: &Connection, rows: &[OutboxId], actor: &Actor) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE id = ?1 AND holder = ?2")?;
    rows.iter().try_for_each(|id| statement.execute(params![signed(*id), actor.worker.boot()]).map(drop))
}

/// Releases rows that this process holds.
pub(crate) fn release(
    connection: &Connection,
    rows: &[OutboxId],
    actor: &Actor,
    notices: &mut Vec<StoreNotice>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE outbox SET holder = NULL WHERE id = ?1 AND holder = ?2")?;
    for id in rows {
        statement.execute(params![signed(*id), actor.worker.boot()])?;
    }
    notices.push(StoreNotice::OutboxReady);
    Ok(())
}
