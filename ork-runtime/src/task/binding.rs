//! How the functions of a task belong together: whether it has a split, asked while the program is compiled.

use std::fmt;
use std::marker::PhantomData;

use super::message::{ReturnedBy, TaskMessage};

/// A task whose parts are made by a split; `#[task(part)]` implements it.
pub trait HasSplit {}

/// Asks about the task of the message `X`.
///
/// What is inherent here wins over what [`NoSplit`] has of the same name wherever it exists: where there is a split.
pub struct Binding<X>(PhantomData<X>);

impl<X> fmt::Debug for Binding<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding")
    }
}

impl<X: HasSplit> Binding<X> {
    /// There is one.
    pub const HAS_SPLIT: bool = true;

    /// The join of a task with a split returns what it likes: every job of it is joined.
    pub const fn joined<O>() {}
}

/// What [`Binding`] answers for a task without a split.
pub trait NoSplit {
    /// There is none.
    const HAS_SPLIT: bool = false;

    /// The message of the task.
    type Task: TaskMessage;

    /// Its join returns what the task returns.
    fn joined<O: JoinOutput<ReturnedBy<Self::Task>>>()
    where
        <Self::Task as TaskMessage>::Answer: super::message::Answer,
    {
    }
}

impl<X: TaskMessage> NoSplit for Binding<X> {
    type Task = X;
}

/// What the join of a task without a split may return: just what the task returns.
#[diagnostic::on_unimplemented(
    message = "the join of a task without a split returns `{T}`, as the task does, found `{Self}`",
    label = "expected `{T}`",
    note = "a job that does not split itself is not joined, and what its task returns is the output",
    note = "a task whose parts are made by `#[task(part)]` may have a join that returns another type"
)]
pub trait JoinOutput<T> {}

impl<T> JoinOutput<T> for T {}

/// Stops the build where an option about the parts would be ignored, since the split of the task has its own.
///
/// # Panics
/// While compiling, if there is a split.
#[track_caller]
pub const fn refuse_option(has_split: bool) {
    assert!(!has_split, "this is about the parts, which the task's split makes: it belongs on `#[task(part)]`");
}
