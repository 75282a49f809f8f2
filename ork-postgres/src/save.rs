//! Writes the changes of a transaction as arrays, so that a thousand rows are one statement. Also writes the progress
//! of jobs and parts, which no transaction loads.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use serde::Serialize;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres};

use crate::codec::{Uid, column, signed, text};
use crate::permits::{self, Holders, Moved};
use crate::{follows, outbox, uniques};
use ork_core::clock::Timestamp;
use ork_core::document;
use ork_core::id::JobId;
use ork_core::ledger::Counts;
use ork_core::progress::Progress;
use ork_core::tx::{LoadedJob, OutboxRow, PartWrite, StoreNotice, Transaction};

/// The maximum number of rows and bytes in one statement, whatever the size of a batch.
const MOST: (usize, usize) = (8_192, 8 * 1024 * 1024);

/// The source of new and changed jobs in a statement; its parameters are bound by [`bind`].
macro_rules! jobs {
    () => {
        "unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], \
         $9::bytea[], $10::bytea[]) AS n (id, root, parent, task, state, created, ended, document, input, output)"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO ork.job (id, root, parent, task, state, created, ended, document, input, output) SELECT * FROM ",
    jobs!()
);

const UPDATE: &str = concat!(
    "UPDATE ork.job SET state = n.state, ended = n.ended, document = n.document, \
     output = coalesce(n.output, job.output) FROM ",
    jobs!(),
    " WHERE job.id = n.id"
);

/// A job to be written.
struct JobRow<'tx> {
    loaded: &'tx LoadedJob,
    input: Option<Bytes>,
    output: Option<Bytes>,
}

/// A shard to be written.
struct ShardRow {
    job: JobId,
    number: u64,
    bitmaps: Vec<u8>,
    counts: Counts,
}

/// The changes to the row of a part.
#[derive(Default)]
struct PartRow {
    output: Option<Bytes>,
    failure: Option<String>,
    attempt: u32,
}

/// The result of [`save`].
pub(crate) struct Saved {
    /// The notices to send.
    pub(crate) notices: Vec<StoreNotice>,
    /// The new rows of the outbox.
    pub(crate) rows: Vec<OutboxRow>,
    /// The permits that were taken and released.
    pub(crate) moved: Vec<Moved>,
}

/// Writes the changes of the operations. `before` contains the permits that processes held before.
pub(crate) async fn save(connection: &mut PgConnection, tx: &mut Transaction, before: &Holders) -> sqlx::Result<Saved> {
    let (writes, mut notices) = tx.finish();
    let moved = permits::moved(before, &writes.permits);
    clear(connection, &writes.cleared).await?;
    let mut inputs: HashMap<_, _> = writes.inputs.into_iter().collect();
    let mut outputs: HashMap<_, _> = writes.outputs.into_iter().collect();
    // New jobs are written in the order of their ids, too, so that two processes that create the same jobs do not
    // deadlock.
    let touched: BTreeSet<_> = tx.take_touched().into_iter().collect();
    let mut shards = Vec::new();
    for job in &touched {
        let Some(loaded) = tx.written(*job) else { continue };
        let dirty = loaded.ledger.take_dirty().into_iter();
        shards.extend(dirty.map(|(number, shard)| ShardRow {
            job: *job,
            number,
            bitmaps: shard.encode(),
            counts: shard.counts(),
        }));
    }
    let (mut new, mut known) = (Vec::new(), Vec::new());
    for job in touched {
        let Some(loaded) = tx.get(job) else { continue };
        let row = JobRow { input: inputs.remove(&job), output: outputs.remove(&job), loaded };
        if row.input.is_some() {
            new.push(row);
        } else if row.loaded.dirty || row.output.is_some() {
            known.push(row);
        }
    }
    let bytes = |row: &JobRow<'_>| row.input.as_ref().map_or(0, Bytes::len) + row.output.as_ref().map_or(0, Bytes::len);
    for (statement, rows) in [(INSERT, new), (UPDATE, known)] {
        for rows in chunks(rows, bytes) {
            bind(sqlx::query(statement), &rows).execute(&mut *connection).await?;
        }
    }
    save_shards(connection, shards).await?;
    save_pages(connection, writes.pages).await?;
    save_parts(connection, writes.parts).await?;
    outbox::insert(connection, &writes.outbox).await?;
    uniques::write(connection, writes.uniques).await?;
    let mut woken = permits::write(connection, writes.permits, writes.woken).await?;
    woken |= follows::release(connection, &writes.ended).await?;
    follows::insert(connection, &writes.followed).await?;
    if woken && !notices.contains(&StoreNotice::OutboxReady) {
        notices.push(StoreNotice::OutboxReady);
    }
    Ok(Saved { notices, rows: writes.outbox, moved })
}

/// Splits a list into chunks that one statement can carry.
fn chunks<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut chunks, mut chunk, mut size) = (Vec::new(), Vec::new(), 0);
    for item in items {
        let more = bytes(&item);
        if chunk.len() >= MOST.0 || (size + more > MOST.1 && !chunk.is_empty()) {
            chunks.push(std::mem::take(&mut chunk));
            size = 0;
        }
        size += more;
        chunk.push(item);
    }
    chunks.extend(Some(chunk).filter(|chunk| !chunk.is_empty()));
    chunks
}

fn bind<'q>(query: Query<'q, Postgres, PgArguments>, rows: &[JobRow<'_>]) -> Query<'q, Postgres, PgArguments> {
    query
        .bind(column(rows, |row| Uid::from(row.loaded.job.id)))
        .bind(column(rows, |row| Uid::from(row.loaded.job.root)))
        .bind(column(rows, |row| row.loaded.job.parent.map(Uid::from)))
        .bind(column(rows, |row| text(&row.loaded.job.task)))
        .bind(column(rows, |row| row.loaded.job.state.as_str()))
        .bind(column(rows, |row| row.loaded.job.created.as_millis()))
        .bind(column(rows, |row| row.loaded.job.ended.map(Timestamp::as_millis)))
        .bind(column(rows, |row| document::write(&row.loaded.job, row.loaded.ledger.head())))
        .bind(column(rows, |row| row.input.as_ref().map(|input| input.to_vec())))
        .bind(column(rows, |row| row.output.as_ref().map(|output| output.to_vec())))
}

async fn clear(connection: &mut PgConnection, jobs: &[JobId]) -> sqlx::Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    for table in ["part", "shard"] {
        let delete = format!("DELETE FROM ork.{table} WHERE job = ANY($1)");
        let jobs = column(jobs, |job| Uid::from(*job));
        sqlx::query(AssertSqlSafe(delete)).bind(jobs).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn save_shards(connection: &mut PgConnection, rows: Vec<ShardRow>) -> sqlx::Result<()> {
    let upsert = "INSERT INTO ork.shard (job, number, bitmaps, succeeded, failed, skipped, cancelled, running) \
                  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], \
                      $6::bigint[], $7::bigint[], $8::bigint[]) \
                  ON CONFLICT (job, number) DO UPDATE SET bitmaps = excluded.bitmaps, succeeded = excluded.succeeded, \
                      failed = excluded.failed, skipped = excluded.skipped, cancelled = excluded.cancelled, \
                      running = excluded.running";
    for rows in chunks(rows, |row| row.bitmaps.len()) {
        sqlx::query(upsert)
            .bind(column(&rows, |row| Uid::from(row.job)))
            .bind(column(&rows, |row| signed(row.number)))
            .bind(column(&rows, |row| row.bitmaps.clone()))
            .bind(column(&rows, |row| signed(row.counts.succeeded)))
            .bind(column(&rows, |row| signed(row.counts.failed)))
            .bind(column(&rows, |row| signed(row.counts.skipped)))
            .bind(column(&rows, |row| signed(row.counts.cancelled)))
            .bind(column(&rows, |row| signed(row.counts.running)))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn save_pages(connection: &mut PgConnection, pages: Vec<(JobId, u64, Vec<Bytes>)>) -> sqlx::Result<()> {
    let insert = "INSERT INTO ork.part (job, index, input) SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[])";
    let parts = pages.into_iter().flat_map(|(job, first, inputs)| {
        let indexed = (first..).zip(inputs);
        indexed.map(move |(index, input)| (job, index, input))
    });
    for parts in chunks(parts.collect(), |(.., input)| input.len()) {
        sqlx::query(insert)
            .bind(column(&parts, |(job, ..)| Uid::from(*job)))
            .bind(column(&parts, |(_, index, _)| signed(*index)))
            .bind(column(&parts, |(.., input)| input.to_vec()))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn save_parts(connection: &mut PgConnection, parts: Vec<(JobId, u64, PartWrite)>) -> sqlx::Result<()> {
    // A part may have several changes. A statement that contained its row twice would apply an arbitrary one of them.
    let mut rows: BTreeMap<(JobId, u64), PartRow> = BTreeMap::new();
    for (job, index, write) in parts {
        let row = rows.entry((job, index)).or_default();
        let PartWrite { attempt, ended } = write;
        row.attempt = attempt;
        match ended {
            Ok(output) => (row.output, row.failure) = (Some(output), None),
            Err(failure) => row.failure = Some(json(&failure)),
        }
    }
    let update = "UPDATE ork.part SET input = CASE WHEN n.output IS NULL THEN part.input END, \
                      output = coalesce(n.output, part.output), failure = n.failure, attempts = n.attempts, \
                      progress_percent = NULL, progress_info = NULL \
                  FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::text[], $5::bigint[]) \
                      AS n (job, index, output, failure, attempts) \
                  WHERE part.job = n.job AND part.index = n.index";
    let rows = rows.into_iter().collect();
    for rows in chunks(rows, |(_, row): &(_, PartRow)| row.output.as_ref().map_or(0, Bytes::len)) {
        sqlx::query(update)
            .bind(column(&rows, |((job, _), _)| Uid::from(*job)))
            .bind(column(&rows, |((_, index), _)| signed(*index)))
            .bind(column(&rows, |(_, row)| row.output.as_ref().map(|output| output.to_vec())))
            .bind(column(&rows, |(_, row)| row.failure.clone()))
            .bind(column(&rows, |(_, row)| i64::from(row.attempt)))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Records the progress of a job, or of one of its parts. A part that has an output no longer needs it.
pub(crate) async fn progress(
    connection: &mut PgConnection,
    job: JobId,
    part: Option<u64>,
    progress: &Progress,
) -> sqlx::Result<()> {
    let update = match part {
        None => "UPDATE ork.job SET progress_percent = $2, progress_info = $3 WHERE id = $1",
        Some(_) => {
            "UPDATE ork.part SET progress_percent = $2, progress_info = $3 \
             WHERE job = $1 AND index = $4 AND output IS NULL"
        }
    };
    let query = sqlx::query(update).bind(Uid::from(job)).bind(progress.percent).bind(text(&progress.info));
    let query = if let Some(index) = part { query.bind(signed(index)) } else { query };
    query.execute(connection).await.map(drop)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
