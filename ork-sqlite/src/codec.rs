//! Encodes row numbers, numbers and jobs for the columns of the tables, and decodes them.

use rusqlite::Row;

use crate::error::damaged;
use ork_core::document;
use ork_core::job::Job;
use ork_core::ledger::Head;

/// Returns the row number of a part.
pub(crate) fn part_id(seq: i64, index: u64) -> rusqlite::Result<i64> {
    let index = u32::try_from(index).map_err(|_too_large| damaged("the index of a part exceeds 32 bits"))?;
    Ok((seq << 32) | i64::from(index))
}

/// Returns the last row number that a part of this job can have.
pub(crate) const fn last_part_id(seq: i64) -> i64 {
    (seq << 32) | 0xffff_ffff
}

/// Returns the row number of a shard.
pub(crate) fn shard_id(seq: i64, number: u64) -> rusqlite::Result<i64> {
    let number = u16::try_from(number).map_err(|_too_large| damaged("the number of a shard exceeds 16 bits"))?;
    Ok((seq << 16) | i64::from(number))
}

/// Returns the first and the last row number that a shard of this job can have.
pub(crate) const fn shard_ids(seq: i64) -> [i64; 2] {
    [seq << 16, (seq << 16) | 0xffff]
}

/// The columns of a job, as [`job`] reads them.
macro_rules! job_columns {
    () => {
        "seq, document"
    };
}
pub(crate) use job_columns;

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

/// Reads a column that is never negative.
pub(crate) fn number(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(place).map(|n| u64::try_from(n).unwrap_or(0))
}

/// Converts a number to the type of a column.
pub(crate) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
