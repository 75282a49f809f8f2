//! The objects port: where outputs that are too large for a row are stored.
//!
//! An object is written once, under a name that is never used again, and never changed. Its name in a row of the
//! store is all that is needed to read it. An object that no row names is removed together with everything else of
//! its job.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use ork_core::clock::Timestamp;

/// An error of an object store, with its kind.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ObjectError {
    kind: ObjectErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of object errors; all adapters use them with the same meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectErrorKind {
    /// The object store cannot be reached, read or written at the moment. A later retry may succeed.
    Unavailable,
    /// There is no such object.
    Missing,
    /// The content differs from what was written.
    Damaged,
    /// The configuration cannot work: a malformed URL, or a location that this program does not support.
    Config,
}

impl ObjectError {
    /// Creates an error of this kind. `message` names the object or the location, and what to do.
    pub fn new(kind: ObjectErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Attaches the cause of the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    pub const fn kind(&self) -> ObjectErrorKind {
        self.kind
    }
}

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The name of the object.
    pub name: String,
    /// The time at which the object was written, by the clock of the system that stores it.
    pub written: Timestamp,
}

/// A store for large outputs. Names consist of ASCII letters, digits and hyphens, separated by slashes.
///
/// All futures may be dropped: an object is either stored completely or not at all.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug {
    /// Returns the location of this store, without secrets.
    fn place(&self) -> &str;

    /// Writes an object. Once this returns, the object survives a power failure, as far as the location provides for
    /// it.
    async fn put(&self, name: &str, body: Bytes) -> Result<(), ObjectError>;

    /// Reads an object of this many bytes.
    async fn get(&self, name: &str, bytes: u64) -> Result<Bytes, ObjectError>;

    /// Lists every object whose name begins with `word`, in any order, a page at a time.
    fn list(&self, word: &str) -> BoxStream<'static, Result<Object, ObjectError>>;

    /// Removes objects; an object that does not exist counts as removed.
    async fn remove(&self, names: Vec<String>) -> Result<(), ObjectError>;

    /// Checks that objects can be written, read and removed, and describes what was found.
    async fn check(&self) -> Result<String, ObjectError>;
}
