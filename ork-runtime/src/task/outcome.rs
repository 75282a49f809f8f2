//! Writes what a task returns: a value, a result, nothing, or the items of a split.

use std::marker::PhantomData;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::call::Items;
use super::error::{CallError, Error};
use super::form::{Form, Never};
use super::json::{self, Back, schema};
use super::message::TaskMessage;

/// A type that a task can return: it can be written as JSON and has a schema.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the output of a task",
    label = "not an output",
    note = "a task returns a type that derives `serde::Serialize`, `serde::Deserialize` and `schemars::JsonSchema`, a `Result` of such a type, or nothing",
    note = "the parts of a job are returned by `#[task(part)]`"
)]
pub trait TaskOutput<Form>: Serialize + JsonSchema + Send + 'static {}

impl<T: Serialize + JsonSchema + Send + 'static> TaskOutput<Form<0>> for T {}

// With two impls the compiler reports one error, as for an input.
impl<T: Never + Serialize + JsonSchema + Send + 'static> TaskOutput<Form<1>> for T {}

/// An error that a task can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a task",
    label = "its error does not convert into `ork::Error`",
    note = "every `std::error::Error + Send + Sync`, `anyhow::Error`, `ork::Error` and `String` does"
)]
pub trait TaskError<Form> {
    /// Converts the error to ork's error type.
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

/// A `Result`, under any alias.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is named `Result` but is not one",
    label = "expected `Result<T, E>`",
    note = "to return your own type `Result`, use an alias: `type Answer = Result;`"
)]
pub trait IsResult {
    /// The success type.
    type Output;

    /// The error type.
    type Error;

    /// Returns the value as a `Result`, so that its type is known.
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

/// The initial capacity for an output in bytes. Most outputs need no more.
const USUAL: usize = 128;

/// Writes an output as JSON and reads it back with `back`, if the type can be read.
///
/// # Errors
/// [`CallError::Output`] if it cannot be written as JSON.
fn output<T: Serialize>(value: &T, back: Option<Back>) -> Result<Bytes, CallError> {
    let mut json = Vec::with_capacity(USUAL);
    json::write(value, &mut json, back).map_err(CallError::Output)?;
    Ok(json.into())
}

/// Converts the error that a task returned.
fn fail<E: TaskError<F>, F>(error: E) -> CallError {
    CallError::Task(error.into_error())
}

/// The schema and the serializer of the return value of a task. Created by [`value`] or [`result`].
///
/// An expansion creates exactly one, and only there it requires the traits of the type, so that an unsuitable type
/// causes a single compile error.
#[derive(Debug, Clone, Copy)]
pub struct Returns<R> {
    /// The JSON Schema of the output.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Writes the output. The second argument reads it back.
    pub write: fn(R, Option<Back>) -> Result<Bytes, CallError>,
}

/// The return value of a task that cannot fail.
pub const fn value<T: TaskOutput<F>, F>() -> Returns<T> {
    Returns { schema: schema::<T>, write: |value, back| output(&value, back) }
}

/// The return value of a task that returns a `Result`.
pub const fn result<R: IsResult<Output: TaskOutput<F>, Error: TaskError<G>>, F, G>() -> Returns<R> {
    let write = |result: R, back: Option<Back>| match result.into_result() {
        Ok(value) => output(&value, back),
        Err(error) => Err(fail(error)),
    };
    Returns { schema: schema::<R::Output>, write }
}

/// Compile-time information on whether a concrete type is a `Result`, under any name.
///
/// If it is, the inherent constant takes precedence over the one of [`NotResult`].
#[derive(Debug)]
pub struct Probe<T>(PhantomData<T>);

impl<T, E> Probe<Result<T, E>> {
    /// The type is a `Result`.
    pub const IS_RESULT: bool = true;
}

/// The constant that [`Probe`] has for all other types.
pub trait NotResult {
    /// The type is not a `Result`.
    const IS_RESULT: bool = false;
}

impl<T> NotResult for Probe<T> {}

/// Fails the build if a return type is a `Result` under another name, because its errors would become outputs.
///
/// # Panics
/// At compile time, if the type is a `Result`.
#[track_caller]
pub const fn reject_result(is_result: bool) {
    assert!(!is_result, "this is a `Result` under another name: write `Result<T, E>`, so that its errors fail the job");
}

/// An item of a split: a message `M`, or a `Result` of one.
#[diagnostic::on_unimplemented(
    message = "a part must be `{M}`, found `{Self}`",
    label = "expected items of type `{M}`, the message of one part"
)]
pub trait IntoItem<M, Form> {
    /// Returns the message, or the error with which the split failed.
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

/// A type that a split may return: an iterator or a stream.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not yield parts of type `{M}`",
    label = "expected an iterator or a stream of `{M}`",
    note = "a split returns a `Vec`, any `IntoIterator` or any `Stream` that is `Send + 'static`, or a `Result` of one"
)]
pub trait IntoItems<M, ItemForm, Form> {
    /// Converts the value to items. None of them is computed yet.
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

/// The conversion of the return value of a split into its items. The parts are messages `M`.
#[derive(Debug)]
pub struct Splits<M>(PhantomData<M>);

impl<M> Splits<M> {
    /// The return value of a split that can fail only at an item.
    pub const fn plain<F, G, S: IntoItems<M, F, G>>() -> fn(S) -> Result<Items, CallError> {
        |split| Ok(split.into_items())
    }

    /// The return value of a split that returns a `Result`.
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
    fn output_without_json_form_is_an_error() {
        let map = std::collections::BTreeMap::from([(vec![1_u8], 1_u8)]);
        assert!(matches!(output(&map, None), Err(CallError::Output(_))));
    }
}
