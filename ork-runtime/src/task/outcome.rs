//! Writing what a task returns: a value, a result, nothing, or the items of a split.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::arg::schema;
use super::error::{CallError, Error};
use super::json::{self, Back};
use super::message::TaskMessage;

/// A type that a task can return: it becomes JSON and has a schema.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the output of a task",
    label = "not an output",
    note = "a task returns a type that derives `serde::Serialize`, `serde::Deserialize` and `schemars::JsonSchema`, a `Result` of one, or nothing",
    note = "the parts of a job are what `#[task(part)]` returns"
)]
pub trait TaskOutput<Form>: Serialize + JsonSchema + Send + 'static {}

impl<T: Serialize + JsonSchema + Send + 'static> TaskOutput<Form<0>> for T {}

// As for an input: two impls make one error.
impl<T: Never + Serialize + JsonSchema + Send + 'static> TaskOutput<Form<1>> for T {}

/// Nothing implements it.
pub trait Never {}

/// An error that a task can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a task",
    label = "its error does not convert into `ork::Error`",
    note = "every `std::error::Error + Send + Sync`, `anyhow::Error`, `ork::Error` and `String` does"
)]
pub trait TaskError<Form> {
    /// The same as ork's error.
    fn into_error(self) -> Error;
}

impl<E: Into<Error>> TaskError<Form<0>> for E {
    fn into_error(self) -> Error {
        self.into()
    }
}

impl<E: Never + Into<Error>> TaskError<Form<1>> for E {
    fn into_error(self) -> Error {
        self.into()
    }
}

/// A `Result`, by whatever alias.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is called a `Result` and is none",
    label = "expected `Result<T, E>`",
    note = "a type of your own that is called `Result` needs an alias to be returned: `type Answer = Result;`"
)]
pub trait IsResult {
    /// What it holds when it is well.
    type Output;

    /// What it holds when it is not.
    type Error;

    /// The same with the type it has.
    ///
    /// # Errors
    /// The task's own error.
    fn into_result(self) -> Result<Self::Output, Self::Error>;
}

impl<T, E> IsResult for Result<T, E> {
    type Output = T;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }
}

/// As many bytes are there at once; most outputs take no more.
const USUAL: usize = 128;

/// Writes an output, and reads it, if anything does.
///
/// # Errors
/// `Output` when it cannot be written as JSON.
fn output<T: Serialize>(value: &T, back: Option<Back>) -> Result<Bytes, CallError> {
    let mut json = Vec::with_capacity(USUAL);
    json::write(value, &mut json, back).map_err(CallError::Output)?;
    Ok(json.into())
}

/// Takes a task's own error in.
fn fail<E: TaskError<F>, F>(error: E) -> CallError {
    CallError::Task(error.into_error())
}

/// How what a task returns is described and written; made by [`value`] or [`result`].
///
/// An expansion makes one, and this is the only place where it asks what the type can do.
#[derive(Debug, Clone, Copy)]
pub struct Returns<R> {
    /// The JSON Schema of the output.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Writes the output; the second argument reads what was written.
    pub write: fn(R, Option<Back>) -> Result<Bytes, CallError>,
}

/// The form of a task that cannot fail.
pub const fn value<T: TaskOutput<F>, F>() -> Returns<T> {
    Returns { schema: schema::<T>, write: |value, back| output(&value, back) }
}

/// The form of a task that returns a `Result`.
pub const fn result<R: IsResult<Output: TaskOutput<F>, Error: TaskError<G>>, F, G>() -> Returns<R> {
    let write = |result: R, back: Option<Back>| match result.into_result() {
        Ok(value) => output(&value, back),
        Err(error) => Err(fail(error)),
    };
    Returns { schema: schema::<R::Output>, write }
}

/// Asks whether a concrete type is a `Result`, whatever its name.
///
/// The inherent constant wins over the one of [`NotResult`] wherever it exists.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T, E> Probe<Result<T, E>> {
    /// It is one.
    pub const IS_RESULT: bool = true;
}

/// What [`Probe`] answers for every other type.
pub trait NotResult {
    /// It is none.
    const IS_RESULT: bool = false;
}

impl<T> NotResult for Probe<T> {}

/// Stops the build where a `Result` hides behind another name, since its errors would become outputs.
///
/// # Panics
/// While compiling, if it is one.
#[track_caller]
pub const fn refuse_result(is_result: bool) {
    assert!(!is_result, "this is a `Result` under another name: write `Result<T, E>`, so that its errors are failures");
}

/// The messages of the parts, as a split yields them; nothing is pulled before it is asked for.
pub enum Items {
    /// From an iterator, which may block.
    Iterator(Box<dyn Iterator<Item = Result<Bytes, CallError>> + Send>),
    /// From an async stream.
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

/// Marks a form that the compiler tells from others by inference.
#[derive(Debug)]
pub struct Form<const N: u8>;

/// One item of a split: a message `M`, or a `Result` of one.
#[diagnostic::on_unimplemented(
    message = "a part must be `{M}`, found `{Self}`",
    label = "expected items of type `{M}`, the message of one part"
)]
pub trait IntoItem<M, Form> {
    /// The item, or why the split failed there.
    ///
    /// # Errors
    /// The split's own error.
    fn into_item(self) -> Result<M, CallError>;
}

impl<M: TaskMessage> IntoItem<M, Form<0>> for M {
    fn into_item(self) -> Result<M, CallError> {
        Ok(self)
    }
}

impl<M: TaskMessage, E: Into<Error>> IntoItem<M, Form<1>> for Result<M, E> {
    fn into_item(self) -> Result<M, CallError> {
        self.map_err(|error| CallError::Task(error.into()))
    }
}

/// What a split may return: an iterator or a stream.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not yield parts of type `{M}`",
    label = "expected an iterator or a stream of `{M}`",
    note = "a split returns a `Vec`, any `IntoIterator` or any `Stream` that is `Send + 'static`, or a `Result` of one"
)]
pub trait IntoItems<M, ItemForm, Form> {
    /// The items, not yet pulled.
    fn into_items(self) -> Items;
}

fn encode<M: TaskMessage, F>(item: impl IntoItem<M, F>) -> Result<Bytes, CallError> {
    item.into_item().and_then(|message| message.to_json().map_err(CallError::Output))
}

impl<M, F, I> IntoItems<M, F, Form<0>> for I
where
    M: TaskMessage,
    F: 'static,
    I: IntoIterator<IntoIter: Send + 'static, Item: IntoItem<M, F> + 'static>,
{
    fn into_items(self) -> Items {
        Items::Iterator(Box::new(self.into_iter().map(encode)))
    }
}

impl<M, F, S> IntoItems<M, F, Form<1>> for S
where
    M: TaskMessage,
    F: 'static,
    S: Stream<Item: IntoItem<M, F> + 'static> + Send + 'static,
{
    fn into_items(self) -> Items {
        Items::Stream(Box::pin(self.map(encode)))
    }
}

/// How the items of a split are taken, whose parts are messages `M`.
#[derive(Debug)]
pub struct Splits<M>(PhantomData<M>);

impl<M> Splits<M> {
    /// The form of a split that cannot fail before its first item.
    pub const fn plain<F, G, S: IntoItems<M, F, G>>() -> fn(S) -> Result<Items, CallError> {
        |split| Ok(split.into_items())
    }

    /// The form of a split that returns a `Result`.
    pub const fn fallible<F, G, R, H>() -> fn(R) -> Result<Items, CallError>
    where
        R: IsResult<Output: IntoItems<M, F, G>, Error: TaskError<H>>,
    {
        |result| result.into_result().map(IntoItems::into_items).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_json_cannot_hold_is_an_error() {
        let map = std::collections::BTreeMap::from([(vec![1_u8], 1_u8)]);
        assert!(matches!(output(&map, None), Err(CallError::Output(_))));
    }
}
