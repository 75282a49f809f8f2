//! The output of a job as stored: its JSON, or a reference to a large output that is stored elsewhere.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The first byte of a reference. JSON is UTF-8, in which this byte never occurs, so no output looks like a
/// reference.
const MARK: u8 = 0xff;

/// The location of an output that is stored outside of its row.
///
/// ```
/// use ork_core::output::OutputRef;
///
/// let reference = OutputRef { bytes: 3_000_000, object: Some("a/b".into()) };
/// assert_eq!(OutputRef::read(&reference.to_row()), Some(Ok(reference)));
/// assert_eq!(OutputRef::read(br#"{"bytes": 3000000, "object": "a/b"}"#), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrkOutputAt", description = "The location of an output that is stored outside of its row.")]
pub struct OutputRef {
    /// The size in bytes.
    pub bytes: u64,
    /// The object that contains it, relative to `large_outputs`. Without it, the output is in the row of its job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

/// The error for a reference that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the reference to a large output cannot be read: a newer version of ork may have written it")]
pub struct UnreadableOutputRef;

impl OutputRef {
    /// Returns the bytes that are stored in place of the output.
    pub fn to_row(&self) -> Bytes {
        let mut row = vec![MARK];
        // Serializing numbers and strings cannot fail.
        row.extend(serde_json::to_vec(self).unwrap_or_default());
        row.into()
    }

    /// Whether a row holds a reference instead of the output.
    pub fn is_ref(row: &[u8]) -> bool {
        row.first() == Some(&MARK)
    }

    /// Reads the reference in a row. Returns `None` if the row holds the output.
    pub fn read(row: &[u8]) -> Option<Result<Self, UnreadableOutputRef>> {
        let json = row.strip_prefix(&[MARK])?;
        Some(serde_json::from_slice(json).map_err(|_unknown| UnreadableOutputRef))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_never_taken_for_a_reference() {
        for value in ["", "a", "ÿ", "\u{ff}", "\u{10ffff}"] {
            assert!(!OutputRef::is_ref(&serde_json::to_vec(value).unwrap()));
        }
        assert!(!OutputRef::is_ref(b""));
        assert_eq!(OutputRef::read(&[MARK, b'{']), Some(Err(UnreadableOutputRef)));
    }

    #[test]
    fn reference_of_a_later_version_is_read_without_unknown_fields() {
        let row = [&[MARK], &br#"{"bytes": 7, "object": "a", "sum": "x"}"#[..]].concat();
        assert_eq!(OutputRef::read(&row), Some(Ok(OutputRef { bytes: 7, object: Some("a".into()) })));
    }
}
