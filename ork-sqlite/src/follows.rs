//! Jobs that follow several other jobs: which of those have not ended, and the rows of the outbox that wait for the
//! last of them.

use rusqlite::Connection;

use crate::permits;
use ork_core::id::JobId;
use ork_core::tx::{StoreNotice, ends_before};

/// Records what new jobs follow: pairs of a followed job and its follower.
pub(crate) fn insert(connection: &Connection, followed: &[(JobId, JobId)]) -> rusqlite::Result<()> {
    for (job, follower) in followed {
        let insert = "INSERT OR IGNORE INTO follow (job, follower) VALUES (?1, ?2)";
        connection.prepare_cached(insert)?.execute([job.as_bytes(), follower.as_bytes()])?;
    }
    Ok(())
}

/// Frees the rows of jobs for which one of these jobs was the last to end.
pub(crate) fn release(
    connection: &Connection,
    ended: &[JobId],
    notices: &mut Vec<StoreNotice>,
) -> rusqlite::Result<()> {
    for job in ended {
        let mut remove = connection.prepare_cached("DELETE FROM follow WHERE job = ?1 RETURNING follower")?;
        let followers = remove.query_map([job.as_bytes()], |row| row.get(0).map(JobId::from_bytes))?;
        for follower in followers.collect::<rusqlite::Result<Vec<_>>>()? {
            if of(connection, follower)?.is_empty() {
                permits::wake(connection, &ends_before(follower), u32::MAX, notices)?;
            }
        }
    }
    Ok(())
}

/// Returns the jobs that a job follows and that have not ended. Empty if it follows only one job.
pub(crate) fn of(connection: &Connection, follower: JobId) -> rusqlite::Result<Vec<JobId>> {
    let mut jobs = connection.prepare_cached("SELECT job FROM follow WHERE follower = ?1 ORDER BY job")?;
    let jobs = jobs.query_map([follower.as_bytes()], |row| row.get(0).map(JobId::from_bytes))?;
    jobs.collect()
}
