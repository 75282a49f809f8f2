//! Jobs that follow several other jobs: which of those have not ended, and the rows of the outbox that wait for the
//! last of them.

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use crate::codec::{Uid, column};
use ork_core::id::JobId;
use ork_core::tx::ends_before;

/// Records what new jobs follow: pairs of a followed job and its follower.
pub(crate) async fn insert(connection: &mut PgConnection, followed: &[(JobId, JobId)]) -> sqlx::Result<()> {
    if followed.is_empty() {
        return Ok(());
    }
    let insert =
        "INSERT INTO ork.follow (job, follower) SELECT * FROM unnest($1::uuid[], $2::uuid[]) ON CONFLICT DO NOTHING";
    sqlx::query(insert)
        .bind(column(followed, |(job, _)| Uid::from(*job)))
        .bind(column(followed, |(_, follower)| Uid::from(*follower)))
        .execute(connection)
        .await
        .map(drop)
}

/// Frees the rows of jobs for which one of these jobs was the last to end. Returns whether there were any.
///
/// Two transactions may end two jobs that the same job follows. Therefore the row of the outbox is locked before
/// anything is read: the second transaction waits there, and its later statements see what the first one has removed.
pub(crate) async fn release(connection: &mut PgConnection, ended: &[JobId]) -> sqlx::Result<bool> {
    if ended.is_empty() {
        return Ok(false);
    }
    let ended = column(ended, |job| Uid::from(*job));
    let query = "SELECT DISTINCT follower FROM ork.follow WHERE job = ANY($1)";
    let followers = sqlx::query(query).bind(&ended).fetch_all(&mut *connection).await?;
    if followers.is_empty() {
        return Ok(false);
    }
    let name = |row| job(row).map(|follower| ends_before(follower).to_string());
    let names = followers.iter().map(name).collect::<sqlx::Result<Vec<_>>>()?;
    let lock = "SELECT id FROM ork.outbox WHERE waits_for = ANY($1) ORDER BY id FOR UPDATE";
    sqlx::query(lock).bind(&names).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM ork.follow WHERE job = ANY($1)").bind(&ended).execute(&mut *connection).await?;
    let wake = "UPDATE ork.outbox SET waits_for = NULL, permits = NULL WHERE waits_for = ANY($1) \
                    AND NOT EXISTS (SELECT FROM ork.follow WHERE follower = outbox.job)";
    Ok(sqlx::query(wake).bind(names).execute(connection).await?.rows_affected() > 0)
}

/// Returns the jobs that a job follows and that have not ended. Empty if it follows only one job.
pub(crate) async fn of(connection: &mut PgConnection, follower: JobId) -> sqlx::Result<Vec<JobId>> {
    let query = "SELECT job FROM ork.follow WHERE follower = $1 ORDER BY job";
    let rows = sqlx::query(query).bind(Uid::from(follower)).fetch_all(connection).await?;
    rows.iter().map(job).collect()
}

fn job(row: &PgRow) -> sqlx::Result<JobId> {
    Ok(JobId::from_bytes(row.try_get::<Uid, _>(0)?.0))
}
