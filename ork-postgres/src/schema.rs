//! Creates the tables, and migrates them to the version of this program. Only one process does so at a time.

use sqlx::postgres::PgConnection;
use sqlx::{Row as _, raw_sql};

use crate::error::store_error;
use crate::url::Address;
use ork_ports::store::{StoreError, StoreErrorKind};

/// All migrations, oldest first. A released migration never changes; changes are added as new ones.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_schema.sql")];

/// The advisory lock for migrations: `ork` and one byte, as in the files of `SQLite`.
const LOCK: &str = "SELECT pg_advisory_lock(1869769473)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(1869769473)";

/// Migrates the tables. All of it is one transaction, so that a partial migration is never visible.
pub(crate) async fn migrate(connection: &mut PgConnection, address: &Address) -> Result<(), StoreError> {
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
        0
    };
    for migration in todo(address, version)? {
        raw_sql(*migration).execute(&mut *connection).await.map_err(wrong)?;
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let update = "UPDATE ork.store SET schema_version = $1";
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
    // Another program may have a table of this name.
    let there = "SELECT EXISTS (SELECT FROM pg_attribute \
                     WHERE attrelid = to_regclass('ork.store') AND attname = 'schema_version')";
    if !sqlx::query(there).fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
        return Ok(None);
    }
    sqlx::query("SELECT schema_version FROM ork.store").fetch_one(&mut *connection).await?.try_get(0).map(Some)
}

async fn has_schema(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let there = "SELECT to_regnamespace('ork') IS NOT NULL";
    sqlx::query(there).fetch_one(&mut *connection).await?.try_get(0)
}

/// Rejects a schema of another program, or of a development version, before anything is written to it.
async fn check_owner(connection: &mut PgConnection, address: &Address) -> Result<(), StoreError> {
    // The table `ork_schema` had the version of the tables of development versions.
    let query = "SELECT count(*), to_regclass('ork.ork_schema') IS NOT NULL FROM pg_class \
                 WHERE relnamespace = to_regnamespace('ork')";
    let found = async {
        let row = sqlx::query(query).fetch_one(&mut *connection).await?;
        Ok::<_, sqlx::Error>((row.try_get::<i64, _>(0)?, row.try_get::<bool, _>(1)?))
    };
    let (tables, is_of_development) = found.await.map_err(|error| store_error(address, error))?;
    if tables == 0 {
        return Ok(());
    }
    let advice = if is_of_development {
        "was made by a development version of ork before 0.1.0 and cannot be read: drop it with `DROP SCHEMA ork \
         CASCADE`, or use another database in ORK_STORE, and start again"
    } else {
        "belongs to another program: use another database in ORK_STORE"
    };
    let (database, host) = (address.database(), address.host());
    let message = format!("the schema `ork` in the database `{database}` of PostgreSQL at {host} {advice}");
    Err(StoreError::new(StoreErrorKind::Config, message))
}
