//! Loads rows into a transaction and writes them back: jobs with the heads of their ledgers, shards, and parts.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};
use serde::Serialize;

use crate::error::damaged;
use crate::{follows, outbox, permits, uniques, workers};
use ork_core::clock::Timestamp;
use ork_core::document;
use ork_core::id::JobId;
use ork_core::job::Job;
use ork_core::ledger::{Counts, Head, Ledger, Shard, place};
use ork_core::progress::Progress;
use ork_core::tx::{LoadedJob, PartWrite, Shards, StoreNotice, Transaction};

/// The row numbers of jobs, by id. Other tables refer to jobs by these short numbers.
pub(crate) type Seqs = HashMap<JobId, i64>;

/// The columns of a job, as [`job`] reads them.
macro_rules! job_columns {
    () => {
        "seq, document"
    };
}
pub(crate) use job_columns;

const JOB: &str = concat!("SELECT ", job_columns!(), " FROM job WHERE id = ?1");

const INSERT: &str = "INSERT INTO job (id, root, parent, task, state, created, ended, document, input, output) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const UPDATE: &str =
    "UPDATE job SET state = ?2, ended = ?3, document = ?4, output = coalesce(?5, output) WHERE seq = ?1";

/// Returns the row number of a part.
pub(crate) fn part_id(seq: i64, index: u64) -> rusqlite::Result<i64> {
    let index = u32::try_from(index).map_err(|_too_large| damaged("the index of a part exceeds 32 bits"))?;
    Ok((seq << 32) | i64::from(index))
}

/// Returns the last row number that a part of this job can have.
pub(crate) const fn last_part_id(seq: i64) -> i64 {
    (seq << 32) | 0xffff_ffff
}

pub(crate) fn shard_id(seq: i64, number: u64) -> rusqlite::Result<i64> {
    let number = u16::try_from(number).map_err(|_too_large| damaged("the number of a shard exceeds 16 bits"))?;
    Ok((seq << 16) | i64::from(number))
}

/// Returns the first and the last row number that a shard of this job can have.
pub(crate) const fn shard_ids(seq: i64) -> [i64; 2] {
    [seq << 16, (seq << 16) | 0xffff]
}

/// Reads a job and the head of its ledger from [`job_columns`], which come first in the row.
pub(crate) fn job(row: &Row<'_>) -> rusqlite::Result<(i64, Job, Head)> {
    let (job, head) = document(row, 1)?;
    Ok((row.get(0)?, job, head))
}

/// Reads a job and the head of its ledger from the column `document`.
pub(crate) fn document(row: &Row<'_>, place: usize) -> rusqlite::Result<(Job, Head)> {
    let json = row.get_ref(place)?.as_bytes().map_err(|_not_text| damaged("a job has no document"))?;
    document::read(json).map_err(|_damaged| damaged("the document of a job cannot be read"))
}

/// Returns the counts of all shards of a job, by the number of the shard.
pub(crate) fn shard_counts(connection: &Connection, seq: i64) -> rusqlite::Result<Vec<(u64, Counts)>> {
    let mut statement = connection.prepare_cached(
        "SELECT id & 65535, ok, failed, skipped, cancelled, running FROM shard WHERE id BETWEEN ?1 AND ?2",
    )?;
    let counts = |row: &Row<'_>| {
        let (ok, failed, skipped) = (number(row, 1)?, number(row, 2)?, number(row, 3)?);
        Ok((number(row, 0)?, Counts { ok, failed, skipped, cancelled: number(row, 4)?, running: number(row, 5)? }))
    };
    statement.query_map(shard_ids(seq), counts)?.collect()
}

/// Reads a column that is never negative.
pub(crate) fn number(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(place).map(|n| u64::try_from(n).unwrap_or(0))
}

/// Returns a job with its row number and the head of its ledger.
pub(crate) fn find(connection: &Connection, id: JobId) -> rusqlite::Result<Option<(i64, Job, Head)>> {
    connection.prepare_cached(JOB)?.query_row([id.as_bytes()], job).optional()
}

/// Loads a job into the transaction, unless it is loaded already.
pub(crate) fn open_job(
    connection: &Connection,
    tx: &mut Transaction,
    seqs: &mut Seqs,
    id: JobId,
) -> rusqlite::Result<()> {
    if tx.is_open(id) {
        return Ok(());
    }
    let found = match find(connection, id)? {
        None => None,
        Some((seq, job, head)) => {
            seqs.insert(id, seq);
            let shards = if head.epoch == 0 { Vec::new() } else { shard_counts(connection, seq)? };
            Some((job, Ledger::new(head, shards)))
        }
    };
    tx.open(id, found);
    Ok(())
}

/// Loads a job and all jobs above it, unless they are loaded already.
pub(crate) fn open_lineage(
    connection: &Connection,
    tx: &mut Transaction,
    seqs: &mut Seqs,
    id: JobId,
) -> rusqlite::Result<()> {
    let mut next = Some(id);
    while let Some(id) = next {
        open_job(connection, tx, seqs, id)?;
        next = tx.get(id).and_then(|entry| entry.job.parent);
    }
    Ok(())
}

/// Loads the shards that an operation needs, unless they are loaded already.
pub(crate) fn open_shards(
    connection: &Connection,
    tx: &mut Transaction,
    seqs: &Seqs,
    shards: Shards,
) -> rusqlite::Result<()> {
    let (id, range) = match shards {
        Shards::None => return Ok(()),
        Shards::Of(id, index) => (id, place(index).0..=place(index).0),
        Shards::Between(id, first, last) => (id, place(first).0..=place(last).0),
        Shards::All(id) => (id, 0..=u64::MAX),
    };
    let (Some(entry), Some(seq)) = (tx.get_mut(id), seqs.get(&id)) else { return Ok(()) };
    // Usually this is one shard that is loaded already; then there is nothing to look up.
    if range.start() == range.end() && !entry.ledger.needs(*range.start()) {
        return Ok(());
    }
    let numbers: Vec<_> = entry.ledger.unloaded().into_iter().filter(|number| range.contains(number)).collect();
    for number in numbers {
        entry.ledger.load(number, shard(connection, *seq, number)?);
    }
    Ok(())
}

/// Returns one shard of a job.
pub(crate) fn shard(connection: &Connection, seq: i64, number: u64) -> rusqlite::Result<Shard> {
    let mut statement = connection.prepare_cached("SELECT bitmaps FROM shard WHERE id = ?1")?;
    let mut rows = statement.query([shard_id(seq, number)?])?;
    match rows.next()? {
        None => Ok(Shard::default()),
        Some(row) => {
            let bitmaps = row.get_ref(0)?.as_blob().map_err(|_not_bytes| damaged("a shard has no bitmaps"))?;
            Shard::decode(bitmaps).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error))
            })
        }
    }
}

/// Returns the number of the next row of the outbox.
pub(crate) fn next_outbox_id(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT next_outbox_id FROM store")?.query_row([], |row| number(row, 0))
}

/// Stores the number of the next row of the outbox.
pub(crate) fn set_next_outbox_id(connection: &Connection, next: u64) -> rusqlite::Result<()> {
    let next = i64::try_from(next).unwrap_or(i64::MAX);
    connection.prepare_cached("UPDATE store SET next_outbox_id = ?1")?.execute([next]).map(drop)
}

/// Writes the changes of the operations.
pub(crate) fn write(
    connection: &Connection,
    tx: &mut Transaction,
    seqs: &mut Seqs,
    next_outbox_id: u64,
) -> rusqlite::Result<Vec<StoreNotice>> {
    let (writes, mut notifier) = tx.finish();
    for id in &writes.cleared {
        if let Some(seq) = seqs.get(id) {
            clear(connection, *seq)?;
        }
    }
    let mut inputs: HashMap<_, _> = writes.inputs.into_iter().collect();
    let mut outputs: HashMap<_, _> = writes.outputs.into_iter().collect();
    // Prepared once for all jobs: looking up a statement takes longer than running some of them.
    let (mut insert_job, mut update_job) = (connection.prepare_cached(INSERT)?, connection.prepare_cached(UPDATE)?);
    for id in tx.take_touched() {
        let Some(entry) = tx.written(id) else { continue };
        let output = outputs.remove(&id);
        if let Some(input) = inputs.remove(&id) {
            seqs.insert(id, insert(&mut insert_job, entry, &input, output.as_deref())?);
        } else if let (true, Some(seq)) = (entry.dirty || output.is_some(), seqs.get(&id)) {
            update(&mut update_job, entry, *seq, output.as_deref())?;
        }
        entry.dirty = false;
        if let Some(seq) = seqs.get(&id) {
            write_shards(connection, entry, *seq)?;
        }
    }
    let mut insert = connection.prepare_cached("INSERT INTO part (id, input) VALUES (?1, ?2)")?;
    for (id, first, page) in writes.pages {
        let Some(seq) = seqs.get(&id) else { continue };
        for (input, index) in page.iter().zip(first..) {
            insert.execute(params![part_id(*seq, index)?, &**input])?;
        }
    }
    let mut succeed = connection.prepare_cached(
        "UPDATE part SET input = NULL, output = ?2, failure = NULL, attempts = ?3, progress_percent = NULL, \
         progress_info = NULL WHERE id = ?1",
    )?;
    let mut fail = connection.prepare_cached(
        "UPDATE part SET failure = ?2, attempts = ?3, progress_percent = NULL, progress_info = NULL WHERE id = ?1",
    )?;
    for (id, index, write) in writes.parts {
        let Some(seq) = seqs.get(&id) else { continue };
        let PartWrite { attempt, ended } = write;
        match ended {
            Ok(output) => succeed.execute(params![part_id(*seq, index)?, &*output, attempt])?,
            Err(failure) => fail.execute(params![part_id(*seq, index)?, json(&failure), attempt])?,
        };
    }
    let holders = writes.outbox.iter().filter_map(|row| row.holder);
    for boot in holders.chain(writes.permits.keys().map(|(_, boot)| *boot)).collect::<BTreeSet<_>>() {
        workers::holds(connection, boot, None)?;
    }
    let mut insert_row = connection.prepare_cached(outbox::INSERT)?;
    for row in &writes.outbox {
        if let Some(seq) = seqs.get(&row.job) {
            outbox::insert(&mut insert_row, *seq, row)?;
        }
    }
    permits::write(connection, &writes.permits)?;
    uniques::write(connection, &writes.uniques)?;
    for (limit, count) in writes.woken {
        permits::wake(connection, &limit, count, &mut notifier)?;
    }
    follows::release(connection, &writes.ended, &mut notifier)?;
    follows::insert(connection, &writes.followed)?;
    if tx.next_outbox_id() != next_outbox_id {
        set_next_outbox_id(connection, tx.next_outbox_id())?;
    }
    Ok(notifier)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn clear(connection: &Connection, seq: i64) -> rusqlite::Result<()> {
    let parts = [part_id(seq, 0)?, last_part_id(seq)];
    connection.prepare_cached("DELETE FROM part WHERE id BETWEEN ?1 AND ?2")?.execute(parts)?;
    connection.prepare_cached("DELETE FROM shard WHERE id BETWEEN ?1 AND ?2")?.execute(shard_ids(seq))?;
    Ok(())
}

fn insert(
    statement: &mut Statement<'_>,
    entry: &LoadedJob,
    input: &[u8],
    output: Option<&[u8]>,
) -> rusqlite::Result<i64> {
    let LoadedJob { job, ledger, .. } = entry;
    statement.insert(params![
        job.id.as_bytes(),
        job.root.as_bytes(),
        job.parent.as_ref().map(JobId::as_bytes),
        job.task,
        job.state.as_str(),
        job.created.as_millis(),
        job.ended.map(Timestamp::as_millis),
        document::write(job, ledger.head()),
        input,
        output
    ])
}

fn update(statement: &mut Statement<'_>, entry: &LoadedJob, seq: i64, output: Option<&[u8]>) -> rusqlite::Result<()> {
    let LoadedJob { job, ledger, .. } = entry;
    let (ended, document) = (job.ended.map(Timestamp::as_millis), document::write(job, ledger.head()));
    statement.execute(params![seq, job.state.as_str(), ended, document, output]).map(drop)
}

fn write_shards(connection: &Connection, entry: &mut LoadedJob, seq: i64) -> rusqlite::Result<()> {
    for (number, shard) in entry.ledger.take_dirty() {
        let counts = shard.counts();
        let replace = "INSERT OR REPLACE INTO shard (id, bitmaps, ok, failed, skipped, cancelled, running) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        connection.prepare_cached(replace)?.execute(params![
            shard_id(seq, number)?,
            shard.encode(),
            signed(counts.ok),
            signed(counts.failed),
            signed(counts.skipped),
            signed(counts.cancelled),
            signed(counts.running)
        ])?;
    }
    Ok(())
}

/// Records the progress of a job, or of one of its parts. A part that has an output no longer needs it.
pub(crate) fn progress(
    connection: &Connection,
    (job, part): (JobId, Option<u64>),
    progress: &Progress,
    notifier: &mut Vec<StoreNotice>,
) -> rusqlite::Result<()> {
    let Progress { percent, info } = progress;
    match part {
        None => {
            let update = "UPDATE job SET progress_percent = ?2, progress_info = ?3 WHERE id = ?1";
            connection.prepare_cached(update)?.execute(params![job.as_bytes(), percent, info])?;
        }
        Some(index) => {
            let Some((seq, ..)) = find(connection, job)? else { return Ok(()) };
            let update = "UPDATE part SET progress_percent = ?2, progress_info = ?3 WHERE id = ?1 AND output IS NULL";
            connection.prepare_cached(update)?.execute(params![part_id(seq, index)?, percent, info])?;
        }
    }
    notifier.push(StoreNotice::JobChanged(job));
    Ok(())
}

pub(crate) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
