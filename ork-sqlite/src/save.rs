//! Writes the changes of a transaction to all tables. Also writes the progress of jobs and parts, which no transaction
//! loads.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, Statement, params};
use serde::Serialize;

use crate::codec::{last_part_id, part_id, shard_id, shard_ids, signed};
use crate::load::{self, Seqs};
use crate::{follows, outbox, permits, uniques, workers};
use ork_core::clock::Timestamp;
use ork_core::document;
use ork_core::id::JobId;
use ork_core::progress::Progress;
use ork_core::tx::{LoadedJob, PartWrite, StoreNotice, Transaction};

const INSERT: &str = "INSERT INTO job (id, root, parent, task, state, created, ended, document, input, output) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const UPDATE: &str =
    "UPDATE job SET state = ?2, ended = ?3, document = ?4, output = coalesce(?5, output) WHERE seq = ?1";

/// Writes the changes of the operations.
pub(crate) fn save(
    connection: &Connection,
    tx: &mut Transaction,
    seqs: &mut Seqs,
    next_outbox_id: u64,
) -> rusqlite::Result<Vec<StoreNotice>> {
    let (writes, mut notices) = tx.finish();
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
        permits::wake(connection, &limit, count, &mut notices)?;
    }
    follows::release(connection, &writes.ended, &mut notices)?;
    follows::insert(connection, &writes.followed)?;
    if tx.next_outbox_id() != next_outbox_id {
        outbox::set_next_id(connection, tx.next_outbox_id())?;
    }
    Ok(notices)
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
        let replace = "INSERT OR REPLACE INTO shard (id, bitmaps, succeeded, failed, skipped, cancelled, running) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        connection.prepare_cached(replace)?.execute(params![
            shard_id(seq, number)?,
            shard.encode(),
            signed(counts.succeeded),
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
    job: JobId,
    part: Option<u64>,
    progress: &Progress,
    notices: &mut Vec<StoreNotice>,
) -> rusqlite::Result<()> {
    let Progress { percent, info } = progress;
    match part {
        None => {
            let update = "UPDATE job SET progress_percent = ?2, progress_info = ?3 WHERE id = ?1";
            connection.prepare_cached(update)?.execute(params![job.as_bytes(), percent, info])?;
        }
        Some(index) => {
            let Some((seq, ..)) = load::find(connection, job)? else { return Ok(()) };
            let update = "UPDATE part SET progress_percent = ?2, progress_info = ?3 WHERE id = ?1 AND output IS NULL";
            connection.prepare_cached(update)?.execute(params![part_id(seq, index)?, percent, info])?;
        }
    }
    notices.push(StoreNotice::JobChanged(job));
    Ok(())
}
