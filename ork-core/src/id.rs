//! Identifiers, as distinct types with one text form each.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a job: a time-ordered UUID (version 7), written in lower-case hex with hyphens.
///
/// ```
/// let id = ork_core::id::JobId::new();
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

/// The UUID namespace of ids that other programs choose (RFC 9562, section 5.5).
const FOREIGN: Uuid = Uuid::from_u128(0x6f72_6b2d_776f_5264_8a6f_622d_6e61_6d65);

impl JobId {
    /// Creates a new id. Later ids sort after earlier ones.
    #[expect(clippy::new_without_default, reason = "every call gives another id")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the id of a job that its sender named `name`: the name itself if it is a UUID, otherwise a hash of it.
    ///
    /// Messages with the same name belong to the same job, so a message that is published twice runs once.
    pub fn from_foreign(name: &str) -> Self {
        Self(Uuid::parse_str(name).unwrap_or_else(|_| Uuid::new_v5(&FOREIGN, name.as_bytes())))
    }

    /// Returns the id of the job named `name` below this job. It has the time of this id, so both sort together.
    #[must_use]
    pub fn below(self, name: &[u8]) -> Self {
        let mut bytes = Uuid::new_v5(&self.0, name).into_bytes();
        for (byte, time) in bytes.iter_mut().zip(self.0.as_bytes().iter().take(6)) {
            *byte = *time;
        }
        // Version 8 leaves the meaning of the bits to the application (RFC 9562, section 5.8).
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Returns the id of the job that hook number `at` of this job submits. It is always the same.
    #[must_use]
    pub fn following(self, at: usize) -> Self {
        Self(Uuid::new_v5(&self.0, format!("on_complete.{at}").as_bytes()))
    }

    /// The sixteen bytes of the id, as stores keep it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Creates an id from its sixteen bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

/// A string with the format `uuid`, so that tasks can take and return ids.
impl schemars::JsonSchema for JobId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JobId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "uuid" })
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for a text that is not a job id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a job id: expected a UUID such as 0190a6a8-7d5f-7c3a-9b1e-3f1d2c4b5a69")]
pub struct ParseJobIdError {
    found: String,
}

impl FromStr for JobId {
    type Err = ParseJobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = || ParseJobIdError { found: text.chars().take(80).collect() };
        Uuid::try_parse(text).map(Self).map_err(|_not_a_uuid| found())
    }
}

/// The id of a running process: a configured name, and an id that is new at each start.
///
/// Two processes with the same name are still two workers, so neither can settle the work of the other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    name: Arc<str>,
    boot: Uuid,
}

impl WorkerId {
    /// Creates the id of a worker with this name that starts now.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into().into(), boot: Uuid::new_v4() }
    }

    /// Creates the id of a worker with this name. The bytes identify this start of the process.
    pub fn with_boot(name: impl Into<String>, boot: [u8; 16]) -> Self {
        Self { name: name.into().into(), boot: Uuid::from_bytes(boot) }
    }

    /// The configured name of the worker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sixteen bytes that identify this start of the process.
    pub fn boot(&self) -> [u8; 16] {
        self.boot.into_bytes()
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08x}", self.name, self.boot.as_fields().0)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The UUID namespace of fingerprints (RFC 9562, section 5.5).
const SCHEMAS: Uuid = Uuid::from_u128(0x6f72_6b2d_7363_5568_8d61_2d76_3100_0001);

/// A short id of what a JSON Schema requires. Schemas that differ only in annotations, such as descriptions, have the
/// same fingerprint.
///
/// ```
/// use ork_core::id::Fingerprint;
///
/// let text = "026efc0d-5269-5386-8c1e-8100806a251c";
/// assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
/// assert!("026efc0d".parse::<Fingerprint>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Uuid);

/// The error for a text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a fingerprint such as `026efc0d-5269-5386-8c1e-8100806a251c`")]
pub struct ParseFingerprintError;

impl Fingerprint {
    /// Computes the fingerprint of a schema in canonical form.
    pub fn of(canonical: &str) -> Self {
        Self(Uuid::new_v5(&SCHEMAS, canonical.as_bytes()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self).map_err(|_other_form| ParseFingerprintError)
    }
}

/// The fingerprints of the schemas that a job was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SchemaIds {
    /// The fingerprint of the input schema. `None` if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Fingerprint>,
    /// The fingerprint of the input schema of the parts. `None` if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Fingerprint>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let first = JobId::new();
        let second = JobId::new();
        assert!(first < second);
    }

    #[test]
    fn foreign_name_always_maps_to_the_same_id() {
        assert_eq!(JobId::from_foreign("order-42"), JobId::from_foreign("order-42"));
        assert_ne!(JobId::from_foreign("order-42"), JobId::from_foreign("order-43"));
        let id = JobId::new();
        assert_eq!(JobId::from_foreign(&id.to_string()), id);
    }

    #[test]
    fn long_invalid_id_is_truncated_in_the_error() {
        let error = "x".repeat(10_000).parse::<JobId>().unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }
}
