//! Loads rows into a transaction: jobs with the heads of their ledgers, and the shards that they need.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::codec::{job, job_columns, number, shard_id, shard_ids};
use crate::error::damaged;
use ork_core::id::JobId;
use ork_core::job::Job;
use ork_core::ledger::{Counts, Head, Ledger, Shard, place};
use ork_core::tx::{Shards, Transaction};

/// The row numbers of jobs, by id. Other tables refer to jobs by these short numbers.
pub(crate) type Seqs = HashMap<JobId, i64>;

const JOB: &str = concat!("SELECT ", job_columns!(), " FROM job WHERE id = ?1");

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

/// Returns the counts of all shards of a job, by the number of the shard.
pub(crate) fn shard_counts(connection: &Connection, seq: i64) -> rusqlite::Result<Vec<(u64, Counts)>> {
    let mut statement = connection.prepare_cached(
        "SELECT id & 65535, succeeded, failed, skipped, cancelled, running FROM shard WHERE id BETWEEN ?1 AND ?2",
    )?;
    let counts = |row: &Row<'_>| {
        let (succeeded, failed, skipped) = (number(row, 1)?, number(row, 2)?, number(row, 3)?);
        Ok((
            number(row, 0)?,
            Counts { succeeded, failed, skipped, cancelled: number(row, 4)?, running: number(row, 5)? },
        ))
    };
    statement.query_map(shard_ids(seq), counts)?.collect()
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
