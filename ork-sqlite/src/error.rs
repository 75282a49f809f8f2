//! Conversion of `SQLite` errors to store errors.

use std::path::Path;

use rusqlite::ErrorCode;

use ork_ports::store::{StoreError, StoreErrorKind};

/// Converts an error to a store error whose message names the file and says what to do.
pub(crate) fn store_error(path: &Path, error: rusqlite::Error) -> StoreError {
    let file = path.display();
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            StoreErrorKind::Unavailable,
            format!("the store {file} is locked: another program has kept a transaction open for too long"),
        ),
        Some(ErrorCode::ReadOnly) => (
            StoreErrorKind::ReadOnly,
            format!("the store {file} cannot be written: the file or its folder is read-only"),
        ),
        Some(ErrorCode::DiskFull) => {
            (StoreErrorKind::Unavailable, format!("the store {file} cannot grow: the disk is full"))
        }
        Some(ErrorCode::NotADatabase) => (
            StoreErrorKind::Corrupt,
            format!("{file} is not an SQLite file: use another one in ORK_STORE, or move it away"),
        ),
        Some(ErrorCode::DatabaseCorrupt) => {
            (StoreErrorKind::Corrupt, format!("the store {file} is damaged: restore a backup, or move it away"))
        }
        Some(ErrorCode::CannotOpen) => (StoreErrorKind::Config, format!("the store {file} cannot be opened")),
        Some(ErrorCode::SystemIoFailure) => {
            (StoreErrorKind::Unavailable, format!("the store {file} cannot be read or written"))
        }
        Some(ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation) => {
            (StoreErrorKind::Data, format!("the store {file} cannot store this data: {error}"))
        }
        _ => (StoreErrorKind::Corrupt, format!("unexpected error of the store {file}")),
    };
    StoreError::new(kind, message).with_source(error)
}

/// Creates the error for stored data that ork did not write.
pub(crate) fn damaged(what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, what.into())
}

pub(crate) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the store is closed")
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    /// A value that is too long for a row once counted as a damaged file, and stopped the process.
    #[test]
    fn each_class_of_errors_has_a_kind() {
        use StoreErrorKind::{Config, Corrupt, Data, ReadOnly, Unavailable};
        for (code, kind) in [
            (ffi::SQLITE_BUSY, Unavailable),
            (ffi::SQLITE_FULL, Unavailable),
            (ffi::SQLITE_IOERR, Unavailable),
            (ffi::SQLITE_READONLY, ReadOnly),
            (ffi::SQLITE_CANTOPEN, Config),
            (ffi::SQLITE_TOOBIG, Data),
            (ffi::SQLITE_MISMATCH, Data),
            (ffi::SQLITE_CONSTRAINT, Data),
            (ffi::SQLITE_CORRUPT, Corrupt),
            (ffi::SQLITE_NOTADB, Corrupt),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(store_error(Path::new("a.db"), error).kind(), kind, "{code}");
        }
    }
}
