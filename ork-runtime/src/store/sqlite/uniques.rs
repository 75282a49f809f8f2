//! Unique keys, and the jobs that took them last.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::accounting::{Books, Holder};
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::State;

/// Opens a key in the books, once.
pub(super) fn open(connection: &Connection, books: &mut Books, key: Option<&Arc<str>>) -> rusqlite::Result<()> {
    let Some(key) = key.filter(|key| !books.knows_unique(key)) else { return Ok(()) };
    let query =
        "SELECT unique_key.job, since, state FROM unique_key LEFT JOIN job ON job.id = unique_key.job WHERE key = ?1";
    let holder = |row: &Row<'_>| {
        let state = row.get::<_, Option<String>>(2)?.and_then(|word| State::from_word(&word));
        let (job, since) = (JobId::from_bytes(row.get(0)?), Timestamp::from_millis(row.get(1)?));
        Ok(Holder { job, since, open: state.is_some_and(|state| !state.is_final()) })
    };
    let holder = connection.prepare_cached(query)?.query_row([key], holder).optional()?;
    books.open_unique(Arc::clone(key), holder);
    Ok(())
}

/// Writes who has taken keys.
pub(super) fn write(connection: &Connection, taken: &BTreeMap<Arc<str>, (JobId, Timestamp)>) -> rusqlite::Result<()> {
    for (key, (job, since)) in taken {
        let take = "INSERT OR REPLACE INTO unique_key (key, job, since) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(take)?.execute(params![key, job.as_bytes(), since.as_millis()])?;
    }
    Ok(())
}

/// Forgets the keys of a job that is removed.
pub(super) fn forget(connection: &Connection, job: JobId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM unique_key WHERE job = ?1")?.execute([job.as_bytes()]).map(drop)
}
