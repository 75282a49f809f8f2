//! Compile-time checks of how the functions of a task fit together, in particular whether the task has a split.

use std::fmt;
use std::marker::PhantomData;

use super::message::{ReturnedBy, TaskMessage};

/// A task with a split. `#[task(part)]` implements it.
pub trait HasSplit {}

/// Compile-time information about the task of the message `X`.
///
/// If `X` has a split, the inherent items of this type take precedence over the items of the same name in
/// [`NoSplit`].
pub struct Binding<X>(PhantomData<X>);

impl<X> fmt::Debug for Binding<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding")
    }
}

impl<X: HasSplit> Binding<X> {
    /// The task has a split.
    pub const HAS_SPLIT: bool = true;

    /// The join of a task with a split may return any type, because every job of the task is joined.
    pub const fn joined<O>() {}
}

/// The items that [`Binding`] has for a task without a split.
pub trait NoSplit {
    /// The task has no split.
    const HAS_SPLIT: bool = false;

    /// The message of the task.
    type Task: TaskMessage;

    /// The join must return the type that the task returns.
    fn joined<O: JoinOutput<ReturnedBy<Self::Task>>>()
    where
        <Self::Task as TaskMessage>::Answer: super::message::Answer,
    {
    }
}

impl<X: TaskMessage> NoSplit for Binding<X> {
    type Task = X;
}

/// The types that the join of a task without a split may return: only the type that the task returns.
#[diagnostic::on_unimplemented(
    message = "the join of a task without a split must return `{T}`, as the task does, found `{Self}`",
    label = "expected `{T}`",
    note = "a job that does not split itself is not joined: the return value of its task is its output",
    note = "a task with a split, `#[task(part)]`, may have a join that returns another type"
)]
pub trait JoinOutput<T> {}

impl<T> JoinOutput<T> for T {}

/// Fails the build if an option that concerns the parts is on the task although the task has a split. The option
/// would be ignored there, since the split has its own options.
///
/// # Panics
/// At compile time, if the task has a split.
#[track_caller]
pub const fn reject_option(has_split: bool) {
    assert!(!has_split, "this option applies to the parts of the split: move it to `#[task(part)]`");
}
