//! The objects port: where outputs are kept that are too large for a row.
//!
//! An object is written once, under a name that nothing else ever gets, and never changed. Who may read it is whoever
//! has its name from a row of the store; an object that no row names is removed with all of its job.

#[cfg(feature = "object-store")]
pub mod bucket;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::clock::Timestamp;

/// What could not be done with an object, and which kind of trouble that is.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ObjectError {
    kind: ObjectErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of trouble with objects; every adapter means the same by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObjectErrorKind {
    /// It cannot be reached, read or written just now. Trying later may help.
    Unavailable,
    /// There is no such object.
    Missing,
    /// It is not what was written.
    Damaged,
    /// The configuration cannot work: a malformed URL, a place that this program does not know.
    Config,
}

impl ObjectError {
    /// An error of this kind; `message` names the object or the place, and what to do.
    pub fn new(kind: ObjectErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Which kind of trouble it is.
    pub const fn kind(&self) -> ObjectErrorKind {
        self.kind
    }
}

/// An object, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// When it was written, by the clock of whoever keeps it.
    pub written: Timestamp,
}

/// Where large outputs are kept. Names are words of ASCII letters, digits and hyphens, with slashes between them.
///
/// Any future may be dropped: an object is there whole or not at all.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug {
    /// Where this is, without secrets.
    fn place(&self) -> &str;

    /// Writes an object; when this returns it outlives the loss of power, as far as the place does.
    async fn put(&self, name: &str, body: Bytes) -> Result<(), ObjectError>;

    /// Reads an object of this many bytes.
    async fn get(&self, name: &str, bytes: u64) -> Result<Bytes, ObjectError>;

    /// Every object whose name begins with this word, in any order, a page at a time.
    fn list(&self, word: &str) -> BoxStream<'static, Result<Object, ObjectError>>;

    /// Removes objects; one that is not there is done with.
    async fn remove(&self, names: Vec<String>) -> Result<(), ObjectError>;

    /// Asks whether objects can be written and removed, and says in words what was found.
    async fn check(&self) -> Result<String, ObjectError>;
}
