//! Encodes ids, numbers and whole columns for `PostgreSQL`, and decodes the columns of a row.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row as _, Type};
use uuid::Uuid;

use crate::error::damaged;
use ork_core::clock::Timestamp;
use ork_core::document;
use ork_core::id::JobId;
use ork_core::job::Job;
use ork_core::ledger::Head;

/// Sixteen bytes, as `uuid`. The `uuid` feature of the library is not used, as it would pull in a second `SQLite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Uid(pub(crate) [u8; 16]);

impl Type<Postgres> for Uid {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(2950))
    }

    fn compatible(_other: &PgTypeInfo) -> bool {
        true
    }
}

impl PgHasArrayType for Uid {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(2951))
    }
}

impl Encode<'_, Postgres> for Uid {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Uid {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(value.as_bytes()?.try_into()?))
    }
}

impl From<Uuid> for Uid {
    fn from(id: Uuid) -> Self {
        Self(id.into_bytes())
    }
}

impl From<JobId> for Uid {
    fn from(id: JobId) -> Self {
        Self(*id.as_bytes())
    }
}

/// Reads the columns of a row in order.
pub(crate) struct Columns<'row> {
    row: &'row PgRow,
    next: usize,
}

impl<'row> Columns<'row> {
    pub(crate) const fn new(row: &'row PgRow) -> Self {
        Self { row, next: 0 }
    }

    pub(crate) fn get<T: Decode<'row, Postgres> + Type<Postgres>>(&mut self) -> sqlx::Result<T> {
        self.next += 1;
        self.row.try_get(self.next - 1)
    }

    pub(crate) fn id(&mut self) -> sqlx::Result<JobId> {
        self.get::<Uid>().map(|id| JobId::from_bytes(id.0))
    }

    pub(crate) fn time(&mut self) -> sqlx::Result<Option<Timestamp>> {
        Ok(self.get::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    /// Reads a job and the head of its ledger from the column `document`.
    pub(crate) fn job(&mut self) -> sqlx::Result<(Job, Head)> {
        document::read(self.get::<&str>()?.as_bytes()).map_err(damaged)
    }

    /// Reads a number that is never negative.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self) -> sqlx::Result<T> {
        self.number_or_none()?.ok_or_else(|| damaged("a number is missing or too large"))
    }

    pub(crate) fn number_or_none<T: TryFrom<i64>>(&mut self) -> sqlx::Result<Option<T>> {
        Ok(self.get::<Option<i64>>()?.and_then(|n| T::try_from(n).ok()))
    }
}

/// Converts a number to the type of a column.
pub(crate) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Returns a text that `PostgreSQL` accepts: it has no zero byte.
pub(crate) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Returns one column of many rows.
pub(crate) fn column<T, R>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
