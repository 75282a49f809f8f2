//! `TaskMessage`: the struct that `#[task]` puts beside a function, and what a job of it answers.

use std::marker::PhantomData;

use super::arg::Input;
use crate::job::JobKind;
use bytes::Bytes;

/// The message of a task: a struct of the function's name whose fields are its inputs.
///
/// `#[task]` implements it; a program names it only in bounds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the message of a task",
    label = "expected the struct that `#[task]` makes beside a function",
    note = "`x_part` and `x_join` belong to a function `x` with `#[task]`"
)]
pub trait TaskMessage: Send + 'static {
    /// The name of the task it runs.
    const TASK: &'static str;

    /// Whether it asks for the whole task or for its function alone.
    const KIND: JobKind;

    /// What a job of it answers: [`Returned`] or [`JoinOf`].
    type Answer;

    /// Writes its inputs as JSON.
    ///
    /// # Errors
    /// When an input cannot be written as JSON, such as a map whose keys are no strings.
    fn to_json(&self) -> Result<Bytes, serde_json::Error>;
}

/// The answer of a function: what it returns.
#[derive(Debug)]
pub struct Returned<T>(PhantomData<T>);

/// The answer of a multi-part job: what the join of `X` returns.
#[derive(Debug)]
pub struct JoinOf<X>(PhantomData<X>);

/// A task with a join; `#[task(join)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no join, so a job of it has no single result",
    label = "no function `{Self}_join` with `#[task(join)]`",
    note = "add a join, or ask for `.outcome()`, which says how the parts ended"
)]
pub trait Joined {
    /// What the join returns.
    type Output;
}

/// What a job answers, as a type.
pub trait Answer {
    /// The type of its result.
    type Output;
}

impl<T> Answer for Returned<T> {
    type Output = T;
}

impl<X: Joined> Answer for JoinOf<X> {
    type Output = X::Output;
}

/// Writes named inputs as one JSON object.
#[derive(Debug)]
pub struct Writer(Result<Vec<u8>, serde_json::Error>);

impl Writer {
    /// An object without properties so far.
    #[expect(clippy::new_without_default, reason = "only expanded code makes one")]
    pub fn new() -> Self {
        Self(Ok(vec![b'{']))
    }

    /// Adds a property; its name is an identifier, so it needs no escapes. An error is kept for the end.
    #[must_use]
    pub fn input<T>(self, input: &Input<T>, value: &T) -> Self {
        Self(self.0.and_then(|mut json| {
            if json.len() > 1 {
                json.push(b',');
            }
            json.push(b'"');
            json.extend_from_slice(input.name().as_bytes());
            json.extend_from_slice(b"\":");
            (input.write)(value, &mut json).map_err(|error| of_input(input.name(), &error))?;
            Ok(json)
        }))
    }

    /// Closes the object.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn finish(self) -> Result<Bytes, serde_json::Error> {
        self.0.map(|mut json| {
            json.push(b'}');
            json.into()
        })
    }
}

/// The error of one of several inputs.
#[cold]
fn of_input(name: &str, error: &serde_json::Error) -> serde_json::Error {
    serde::ser::Error::custom(format!("the input `{name}`: {error}"))
}

/// Shows a message as `name {json}`.
///
/// # Errors
/// When the formatter fails.
pub fn debug<M: TaskMessage>(name: &str, message: &M, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    match message.to_json() {
        Ok(json) => write!(f, "{name} {}", String::from_utf8_lossy(&json)),
        Err(error) => write!(f, "{name} {{ {error} }}"),
    }
}

/// What the task of the message `X` returns, one part of it or the whole.
pub type ReturnedBy<X> = <<X as TaskMessage>::Answer as Answer>::Output;
