//! [`TaskMessage`]: the struct that `#[task]` generates for a function, and the type of its result.

use std::marker::PhantomData;

use bytes::Bytes;

use crate::job::JobKind;

/// The message of a task: a struct with the function's name and a field for each input.
///
/// `#[task]` implements it. Programs use it only in trait bounds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the message of a task",
    label = "expected the struct that `#[task]` generates for a function",
    note = "`x_part` and `x_join` belong to a function `x` with `#[task]`"
)]
pub trait TaskMessage: Send + 'static {
    /// The name of the task that the message runs.
    const TASK: &'static str;

    /// Whether the message runs the whole task or its function alone.
    const KIND: JobKind;

    /// The result of a job with this message: [`Returned`] or [`JoinOf`].
    type Answer;

    /// Writes the inputs as JSON.
    ///
    /// # Errors
    /// If an input cannot be written as JSON, such as a map with keys that are not strings.
    fn to_json(&self) -> Result<Bytes, serde_json::Error>;
}

/// The answer of a job that returns what its function returns.
#[derive(Debug)]
pub struct Returned<T>(PhantomData<T>);

/// The answer of a job with parts, which returns what the join of `X` returns.
#[derive(Debug)]
pub struct JoinOf<X>(PhantomData<X>);

/// A task with a join. `#[task(join)]` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no join, so its jobs have no single result",
    label = "no function `{Self}_join` with `#[task(join)]`",
    note = "add a join, or use `.wait()`, which reports how the parts ended"
)]
pub trait Joined {
    /// The type that the join returns.
    type Output;
}

/// The result of a job, as a type.
pub trait Answer {
    /// The type of the result.
    type Output;
}

impl<T> Answer for Returned<T> {
    type Output = T;
}

impl<X: Joined> Answer for JoinOf<X> {
    type Output = X::Output;
}

/// Formats a message as `name {json}`.
///
/// # Errors
/// If the formatter fails.
pub fn debug<M: TaskMessage>(name: &str, message: &M, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    match message.to_json() {
        Ok(json) => write!(f, "{name} {}", String::from_utf8_lossy(&json)),
        Err(error) => write!(f, "{name} {{ {error} }}"),
    }
}

/// The type of the result of a job with the message `X`.
pub type ReturnedBy<X> = <<X as TaskMessage>::Answer as Answer>::Output;
