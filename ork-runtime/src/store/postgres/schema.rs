//! Creates the tables, and migrates them to the version of this program. Only one process does so at a time.

use sqlx::postgres::PgConnection;
use sqlx::{Row as _, raw_sql};

use super::error::store_error;
use super::url::Address;
use crate::store::{StoreError, StoreErrorKind};

/// All migrations, oldest first. A released migration never changes; changes are added as new ones.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_core.sql"),
    include_str!("../../../migrations/postgres/0002_limits.sql"),
    include_str!("../../../migrations/postgres/0003_identity.sql"),
    include_str!("../../../migrations/postgres/0004_trees.sql"),
    include_str!("../../../migrations/postgres/0005_hooks.sql"),
    include_str!("../../../migrations/postgres/0006_parts.sql"),
    include_str!("../../../migrations/postgres/0007_roles.sql"),
    include_str!("../../../migrations/postgres/0008_metrics.sql"),
    include_str!("../../../migrations/postgres/0009_schemas.sql"),
    include_str!("../../../migrations/postgres/0010_losses.sql"),
    include_str!("../../../migrations/postgres/0011_alive.sql"),
    include_str!("../../../migrations/postgres/0012_follow.sql"),
];

/// The advisory lock for migrations: `ork` and one byte, as in the files of `SQLite`.
const LOCK: &str = "SELECT pg_advisory_lock(1869769473)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(1869769473)";

/// Migrates the tables. All of it is one transaction, so that a partial migration is never visible.
pub(super) async fn migrate(connection: &mut PgConnection, address: &Address) -> Result<(), StoreError> {
    let wrong = |error| store_error(address, error);
    // Usually there is nothing to do, and then no process waits for another.
    if let Some(version) = version(connection).await.map_err(wrong)?
        && todo(address, version)?.is_empty()
    {
        return Ok(());
    }
    // The lock is taken first: a transaction that waited for it would not see tables that were created in the
    // meantime.
    raw_sql(LOCK).execute(&mut *connection).await.map_err(wrong)?;
    raw_sql("BEGIN").execute(&mut *connection).await.map_err(wrong)?;
    let version = if let Some(version) = version(connection).await.map_err(wrong)? {
        version
    } else {
        check_owner(connection, address).await?;
        // If the schema exists, the right to create one is not needed.
        if !has_schema(connection).await.map_err(wrong)? {
            raw_sql("CREATE SCHEMA ork").execute(&mut *connection).await.map_err(wrong)?;
        }
        let table = "CREATE TABLE ork.ork_schema (version bigint NOT NULL); INSERT INTO ork.ork_schema VALUES (0)";
        raw_sql(table).execute(&mut *connection).await.map_err(wrong)?;
        0
    };
    for migration in todo(address, version)? {
        raw_sql(*migration).execute(&mut *connection).await.map_err(wrong)?;
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let update = "UPDATE ork.ork_schema SET version = $1";
    sqlx::query(update).bind(known).execute(&mut *connection).await.map_err(wrong)?;
    raw_sql("COMMIT").execute(&mut *connection).await.map_err(wrong)?;
    raw_sql(UNLOCK).execute(&mut *connection).await.map_err(wrong)?;
    Ok(())
}

/// Returns the migrations that are still to be applied.
fn todo(address: &Address, version: i64) -> Result<&'static [&'static str], StoreError> {
    usize::try_from(version).ok().and_then(|done| MIGRATIONS.get(done..)).ok_or_else(|| {
        let message = format!(
            "the database `{}` of PostgreSQL at {} has schema version {version}, but this program supports only {}: \
             use the newer version of ork that created it",
            address.database(),
            address.host(),
            MIGRATIONS.len()
        );
        StoreError::new(StoreErrorKind::TooNew, message)
    })
}

/// Returns the version of the tables; `None` if ork has not created any.
async fn version(connection: &mut PgConnection) -> sqlx::Result<Option<i64>> {
    let there = "SELECT to_regclass('ork.ork_schema') IS NOT NULL";
    if !sqlx::query(there).fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
        return Ok(None);
    }
    sqlx::query("SELECT version FROM ork.ork_schema").fetch_one(&mut *connection).await?.try_get(0).map(Some)
}

async fn has_schema(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let there = "SELECT to_regnamespace('ork') IS NOT NULL";
    sqlx::query(there).fetch_one(&mut *connection).await?.try_get(0)
}

/// Rejects a schema of another program before anything is written to it.
async fn check_owner(connection: &mut PgConnection, address: &Address) -> Result<(), StoreError> {
    let count = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('ork')";
    let found = async { sqlx::query(count).fetch_one(&mut *connection).await?.try_get::<i64, _>(0) };
    if found.await.map_err(|error| store_error(address, error))? == 0 {
        return Ok(());
    }
    let message = format!(
        "the schema `ork` in the database `{}` of PostgreSQL at {} belongs to another program: use another database in \
         ORK_STORE",
        address.database(),
        address.host()
    );
    Err(StoreError::new(StoreErrorKind::Config, message))
}
