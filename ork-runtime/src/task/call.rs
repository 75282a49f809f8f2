//! The arguments of a function of a task, and the return value of a split.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::Stream;

use super::error::CallError;
use super::fields::Fields;
use super::parts::RawParts;
use super::state::States;
use crate::context::Context;

/// A boxed future, as the functions of a row return it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Everything that is passed to one call.
#[derive(Debug)]
pub struct Call {
    /// The input as JSON: the body of the message, or what the message inherits.
    pub body: Bytes,
    /// The context of the call.
    pub context: Context,
    /// The states of the application.
    pub states: States,
    /// The outcomes of the parts, for a join.
    pub parts: Option<RawParts>,
}

impl Call {
    /// Finds the named inputs in the body.
    ///
    /// # Errors
    /// [`CallError::Input`] if the body is not JSON or not an object, or if it has an unknown or repeated name.
    pub fn fields<'a>(&'a self, names: &'a [&'static str]) -> Result<Fields<'a>, CallError> {
        Fields::find(&self.body, names)
    }
}

/// The messages of the parts, as a split yields them. An item is computed only when it is needed.
pub enum Items {
    /// Items from an iterator, which may block.
    Iterator(Box<dyn Iterator<Item = Result<Bytes, CallError>> + Send>),
    /// Items from an async stream.
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, CallError>> + Send>>),
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iterator(_) => "Items::Iterator",
            Self::Stream(_) => "Items::Stream",
        })
    }
}
