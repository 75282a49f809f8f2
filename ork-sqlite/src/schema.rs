//! Opens the file: sets the pragmas, and migrates the tables to the version of this program.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::error::store_error;
use ork_ports::store::{StoreError, StoreErrorKind};

/// All migrations, oldest first. A released migration never changes; changes are added as new ones.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_schema.sql")];

/// Marks the file as a file of ork, in the header field that `SQLite` reserves for this: `ork` and one byte.
const APPLICATION_ID: i64 = 0x6f72_6b02;

/// The mark of files that development versions before 0.1.0 created, with other tables.
const DEVELOPMENT_ID: i64 = 0x6f72_6b01;

/// The time that a process waits for the transaction of another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// The interval at which it checks whether that transaction has ended.
const TURN: Duration = Duration::from_millis(2);

/// The interval between attempts where `SQLite` does not wait by itself.
const PAUSE: Duration = Duration::from_millis(10);

/// The durability of commits: whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Completed work survives a loss of power: its result is returned once the commit is on disk.
    #[default]
    Full,
    /// Completed work survives the death of the process, but not a loss of power.
    Normal,
}

/// Opens the file for writing.
pub(crate) fn open(path: &Path, synchronous: Synchronous) -> Result<Connection, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| {
            let message = format!("the folder {} of the store cannot be created", folder.display());
            StoreError::new(StoreErrorKind::Config, message).with_source(error)
        })?;
    }
    let wrong = |error| store_error(path, error);
    let mut connection = Connection::open(path).map_err(wrong)?;
    connection.busy_handler(Some(wait)).map_err(wrong)?;
    check_owner(&mut connection, path)?;
    let synchronous = match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    use_wal(&connection).map_err(wrong)?;
    connection.pragma_update(None, "synchronous", synchronous).map_err(wrong)?;
    // 32 MiB of pages bound the memory whatever the number of parts. Checkpoints are cheaper in larger steps.
    connection.pragma_update(None, "cache_size", -32_768).map_err(wrong)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_096).map_err(wrong)?;
    connection.set_prepared_statement_cache_capacity(128);
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens the file for reading.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let wrong = |error| store_error(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(wrong)?;
    connection.busy_timeout(PATIENCE).map_err(wrong)?;
    Ok(connection)
}

/// Waits until another process may have ended its transaction. Returns `false` once this has taken too long.
///
/// The busy handler of `SQLite` waits longer and longer, up to a tenth of a second. A process that writes all the time
/// leaves the file free only for a moment between two transactions, so beside it other processes would find the file
/// locked for seconds.
fn wait(tries: i32) -> bool {
    std::thread::sleep(TURN);
    TURN.saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX)) < PATIENCE
}

/// Rejects a file of another program, or of a development version, before anything is written to it.
fn check_owner(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let wrong = |error| store_error(path, error);
    // One snapshot, as another process may be creating the tables at this moment.
    let snapshot = connection.transaction().map_err(wrong)?;
    let owner: i64 = snapshot.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(wrong)?;
    let count = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = snapshot.query_row(count, [], |row| row.get(0)).map_err(wrong)?;
    snapshot.commit().map_err(wrong)?;
    let file = path.display();
    let message = match owner {
        APPLICATION_ID => return Ok(()),
        0 if tables == 0 => return Ok(()),
        DEVELOPMENT_ID => format!(
            "the store {file} was made by a development version of ork before 0.1.0 and cannot be read: move it away, \
             and start again"
        ),
        _ => format!("{file} is the database of another program: use another file in ORK_STORE"),
    };
    Err(StoreError::new(StoreErrorKind::Config, message))
}

/// Switches to the write-ahead log. `SQLite` does not wait for other processes here, which may be doing the same.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let mut left = PATIENCE;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && !left.is_zero() => {
                std::thread::sleep(PAUSE);
                left = left.saturating_sub(PAUSE);
            }
            done => return done,
        }
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let wrong = |error| store_error(path, error);
    // Immediate, so that of two processes that start at the same time the second one finds the migrations done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(wrong)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let done = usize::try_from(version).ok().filter(|done| *done <= MIGRATIONS.len()).ok_or_else(|| {
        let message = format!(
            "the store {} has schema version {version}, but this program supports only {known}: use the newer version \
             of ork that created it",
            path.display()
        );
        StoreError::new(StoreErrorKind::TooNew, message)
    })?;
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration).map_err(wrong)?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(wrong)?;
        transaction.pragma_update(None, "user_version", known).map_err(wrong)?;
    }
    transaction.commit().map_err(wrong)
}
