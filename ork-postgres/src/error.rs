//! Conversion of errors of `PostgreSQL`, and of the connection to it, to store errors that say what to do.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::url::Address;
use ork_ports::store::{StoreError, StoreErrorKind};

/// The consequence of an error for the transaction that failed because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The transaction conflicted with another one: retry it immediately.
    Again,
    /// The connection is lost, or the server is temporarily unavailable: reconnect, then retry.
    Later,
    /// Retrying is useless: one of the commands is at fault, or the tables are.
    Never,
}

/// Returns the error as an error of the server, if it is one.
pub(crate) fn database(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()
}

/// Whether the server has closed the connection with this error.
pub(crate) fn is_fatal(error: &PgDatabaseError) -> bool {
    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
}

/// Returns what an error means for its transaction.
pub(crate) fn class(error: &sqlx::Error) -> Class {
    let Some(error) = database(error) else {
        return match error {
            sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::RowNotFound => Class::Never,
            _ => Class::Later,
        };
    };
    if is_fatal(error) { Class::Later } else { class_of(error.code()) }
}

/// Returns what an SQLSTATE code means. Its first two characters are the class of the error.
fn class_of(code: &str) -> Class {
    match code {
        // Deadlock, serialization failure, lock timeout; unique violation, for a job that another process has just
        // created.
        "40P01" | "40001" | "55P03" | "23505" => Class::Again,
        "25006" => Class::Later,
        code => match code.get(..2) {
            // Connection, resources, intervention of an administrator, system error; a transaction that the server has
            // ended.
            Some("08" | "53" | "57" | "58" | "25") => Class::Later,
            _ => Class::Never,
        },
    }
}

/// Whether an SQLSTATE code means that the values are at fault: invalid data, a violated constraint, or a limit such
/// as that of an index.
fn is_of_data(code: &str) -> bool {
    code != "23505" && matches!(code.get(..2), Some("22" | "23" | "54"))
}

/// Converts an error to a store error whose message names the database and says what to do.
pub(crate) fn store_error(address: &Address, error: sqlx::Error) -> StoreError {
    let (kind, message) = message(address, &error);
    // The text of this error could contain the password of the URL.
    if matches!(error, sqlx::Error::Configuration(_)) {
        return StoreError::new(kind, message);
    }
    StoreError::new(kind, message).with_source(error)
}

fn message(address: &Address, error: &sqlx::Error) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Config, Corrupt, Data, Unavailable};
    let (host, name, user) = (address.host(), address.database(), address.user());
    if let Some(error) = database(error) {
        return match error.code() {
            "28P01" | "28000" => (
                Config,
                format!(
                    "PostgreSQL at {host} rejected the login of user `{user}` for the database `{name}`: check user \
                     and password in ORK_STORE"
                ),
            ),
            "3D000" => (
                Config,
                format!(
                    "PostgreSQL at {host} has no database `{name}` (user `{user}`): create it with `createdb`, or use \
                     another one in ORK_STORE"
                ),
            ),
            "42501" => (
                Config,
                format!(
                    "PostgreSQL at {host} denied permission to user `{user}` in the database `{name}`: grant it CREATE \
                     on the database, or make it the owner of the schema `ork`"
                ),
            ),
            "25006" => read_only(address),
            "53100" => (
                Unavailable,
                format!("the database `{name}` of PostgreSQL at {host} cannot grow: the server's disk is full"),
            ),
            "53300" => (
                Unavailable,
                format!(
                    "PostgreSQL at {host} has too many connections (user `{user}`, database `{name}`): each process of \
                     ork needs up to five, raise max_connections"
                ),
            ),
            "57P01" | "57P02" | "57P03" => {
                (Unavailable, format!("PostgreSQL at {host} is starting up or shutting down (database `{name}`)"))
            }
            "42P01" | "42703" | "3F000" | "XX001" | "XX002" => (
                Corrupt,
                format!(
                    "the tables of ork in the database `{name}` of PostgreSQL at {host} are damaged: restore a backup"
                ),
            ),
            code if is_of_data(code) => (
                Data,
                format!("the database `{name}` of PostgreSQL at {host} cannot store this data: {}", error.message()),
            ),
            code if class_of(code) != Class::Never => {
                (Unavailable, format!("PostgreSQL at {host} could not execute a statement in the database `{name}`"))
            }
            _ => (Unavailable, format!("PostgreSQL at {host} rejected a statement in the database `{name}`")),
        };
    }
    match error {
        sqlx::Error::Configuration(_) => {
            (Config, format!("invalid connection settings for PostgreSQL at {host}: check ORK_STORE"))
        }
        sqlx::Error::Encode(_) => (
            Data,
            format!("cannot send this data to the database `{name}` of PostgreSQL at {host}: a string is too long"),
        ),
        sqlx::Error::Tls(_) => (
            Config,
            format!(
                "cannot establish an encrypted connection to PostgreSQL at {host}: check sslmode and sslrootcert in \
                 ORK_STORE, and the server's certificate"
            ),
        ),
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => (
            Corrupt,
            format!(
                "the database `{name}` of PostgreSQL at {host} contains data that ork did not write: restore a backup"
            ),
        ),
        // A certificate that is not trusted ends the connection with this error, too.
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => (
            Config,
            format!(
                "cannot establish an encrypted connection to PostgreSQL at {host}: check sslmode and sslrootcert in \
                 ORK_STORE, and the server's certificate"
            ),
        ),
        _ => (
            Unavailable,
            format!(
                "cannot reach PostgreSQL at {host} (database `{name}`, user `{user}`): check that it is running, or \
                 correct ORK_STORE"
            ),
        ),
    }
}

fn read_only(address: &Address) -> (StoreErrorKind, String) {
    let (host, name) = (address.host(), address.database());
    let message = format!(
        "the database `{name}` of PostgreSQL at {host} is read-only, possibly a standby: use the primary in ORK_STORE"
    );
    (StoreErrorKind::ReadOnly, message)
}

/// Creates the error for a server that is read-only.
pub(crate) fn is_read_only(address: &Address) -> StoreError {
    let (kind, message) = read_only(address);
    StoreError::new(kind, message)
}

/// Creates the error for a database whose encoding is not UTF-8.
pub(crate) fn wrong_encoding(address: &Address, encoding: &str) -> StoreError {
    let (host, name) = (address.host(), address.database());
    let message = format!(
        "the database `{name}` of PostgreSQL at {host} has the encoding {encoding}, but ork requires UTF8: create one \
         with `createdb --encoding=UTF8 --template=template0 NAME`, and use it in ORK_STORE"
    );
    StoreError::new(StoreErrorKind::Config, message)
}

/// Creates the error for a server that has not replied in time.
pub(crate) fn no_answer(address: &Address) -> StoreError {
    let message = format!(
        "PostgreSQL at {} does not respond (database `{}`, user `{}`)",
        address.host(),
        address.database(),
        address.user()
    );
    StoreError::new(StoreErrorKind::Unavailable, message)
}

/// Creates the error for work that waits for a lock of another process.
pub(crate) fn held_by_other(address: &Address, holding: &str) -> StoreError {
    let message = format!(
        "{holding}; waiting for it in the database `{}` of PostgreSQL at {}",
        address.database(),
        address.host()
    );
    StoreError::new(StoreErrorKind::Unavailable, message)
}

/// Whether a statement has waited for a lock longer than it may.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    database(error).is_some_and(|error| error.code() == "55P03")
}

/// Creates the error for stored data that ork did not write.
pub(crate) fn damaged(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

pub(crate) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the store is closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data errors were once treated as temporary, and retried without end.
    #[test]
    fn each_class_of_errors_has_a_kind() {
        let later = ["08006", "53200", "57014", "57P01", "58030", "25P03", "25006"];
        let again = ["40P01", "40001", "55P03", "23505"];
        // Characters that the database lacks, numbers and texts that do not fit, constraints of tables, rows of an
        // index.
        let data = ["22021", "22P05", "22003", "22001", "22P02", "23502", "23514", "54000"];
        let never = ["42P01", "42501", "42601", "0A000", "XX001"];
        for (codes, class, of_data) in [
            (&later[..], Class::Later, false),
            (&again[..], Class::Again, false),
            (&data[..], Class::Never, true),
            (&never[..], Class::Never, false),
        ] {
            for code in codes {
                assert_eq!((class_of(code), is_of_data(code)), (class, of_data), "{code}");
            }
        }
    }
}
