//! [`TaskDef`]: the row that `#[task]` generates for each function, with data and pointers to generic functions.

use std::any::{TypeId, type_name};
use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use schemars::{Schema, SchemaGenerator};

use super::call::{BoxFuture, Call, Items};
use super::error::CallError;
use super::fields::Fields;
use super::rules::Rules;
use super::state::IsState;
use crate::policy::{Concurrency, OnError, Tolerate};

/// The role of a function in its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The function does the work of a job or part.
    Work,
    /// The function makes the parts.
    Split,
    /// The function combines the outputs of the parts.
    Join,
}

/// The position of a function in the source code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The path of the file, as the compiler sees it.
    pub file: &'static str,
    /// The line, starting at 1.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Reads a named input to check it, and discards the value.
pub type Check = fn(&Fields<'_>, &'static str) -> Result<(), CallError>;

/// A parameter of a task.
#[derive(Debug, Clone, Copy)]
pub enum Param {
    /// An input: the property of the body with this name.
    Field {
        /// The name of the input.
        name: &'static str,
        /// The documentation of the input; empty if it has none.
        docs: &'static str,
        /// The JSON Schema of the input.
        schema: fn(&mut SchemaGenerator) -> Schema,
        /// Returns whether the input may be omitted.
        optional: fn() -> bool,
        /// Reads the input to check it, and discards the value.
        check: Check,
    },
    /// The whole body as one input.
    Body {
        /// The JSON Schema of the body.
        schema: fn(&mut SchemaGenerator) -> Schema,
        /// Reads the body to check it, and discards the value.
        check: fn(&[u8]) -> Result<(), CallError>,
    },
    /// A state of the application.
    State {
        /// The type of the state.
        type_id: fn() -> TypeId,
        /// The name of the type.
        type_name: fn() -> &'static str,
    },
    /// The context of the call.
    Context,
    /// The outcomes of the parts.
    Parts,
}

impl Param {
    /// Returns a parameter for a state of this type.
    pub const fn state<S: IsState>() -> Self {
        Self::State { type_id: TypeId::of::<S::Value>, type_name: type_name::<S::Value> }
    }
}

/// The options of `#[task(...)]`. An option is `None` if the configuration decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The number of retries, i.e. attempts after the first one.
    pub retries: u32,
    /// The delay before the first retry.
    pub backoff: Option<Duration>,
    /// The time limit of an attempt.
    pub timeout: Option<Duration>,
    /// The name of the queue. `None`: the task's own queue.
    pub queue: Option<&'static str>,
    /// The priority, from 0 to 9. Jobs with a higher priority run first.
    pub priority: u8,
    /// The maximum number of parts in a page that the split sends to the store.
    pub chunk: Option<u32>,
    /// Whether the other parts still run after a part has failed.
    pub on_error: OnError,
    /// The number of failed parts that the job tolerates.
    pub tolerate: Option<Tolerate>,
    /// The number of calls that may run at once, over all processes that share a store.
    pub concurrency: Option<Concurrency>,
    /// The unique key of the task's jobs, which one active job at a time can hold.
    pub unique: Option<&'static str>,
}

impl Options {
    /// The options of a `#[task]` without arguments.
    pub const DEFAULT: Self = Self {
        retries: 0,
        backoff: None,
        timeout: None,
        queue: None,
        priority: 0,
        chunk: None,
        on_error: OnError::Finish,
        tolerate: None,
        concurrency: None,
        unique: None,
    };
}

/// The way in which a function is called.
#[derive(Clone, Copy)]
pub enum Run {
    /// An `async fn`.
    Async(fn(Call) -> BoxFuture<Result<Bytes, CallError>>),
    /// A `fn`, which may block.
    Blocking(fn(Call) -> Result<Bytes, CallError>),
    /// An `async fn` that makes parts.
    AsyncSplit(fn(Call) -> BoxFuture<Result<Items, CallError>>),
    /// A `fn` that makes parts, which may block.
    BlockingSplit(fn(Call) -> Result<Items, CallError>),
}

/// Calls a `fn`: `start` reads its arguments and calls it, `finish` writes what it returns.
///
/// # Errors
/// The errors of `start` and `finish`.
pub fn run_blocking<R, O>(
    call: &Call,
    start: fn(&Call) -> Result<R, CallError>,
    finish: fn(R) -> Result<O, CallError>,
) -> Result<O, CallError> {
    finish(start(call)?)
}

/// Calls an `async fn`. Its future holds the arguments, but not the message from which they were read.
pub fn run_async<F, O>(
    call: Call,
    start: fn(&Call) -> Result<F, CallError>,
    finish: fn(F::Output) -> Result<O, CallError>,
) -> BoxFuture<Result<O, CallError>>
where
    F: Future + Send + 'static,
    F::Output: 'static,
    O: 'static,
{
    Box::pin(async move {
        let future = start(&call)?;
        drop(call);
        finish(future.await)
    })
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async(_) => "async",
            Self::Blocking(_) => "blocking",
            Self::AsyncSplit(_) => "async split",
            Self::BlockingSplit(_) => "blocking split",
        })
    }
}

/// A function with `#[task]`.
///
/// The macro generates it. Programs read it through [`crate::registry::Registry`].
#[derive(Debug, Clone, Copy)]
pub struct TaskDef {
    /// The name of the task. It is part of the wire format.
    pub name: &'static str,
    /// The role of the function in the task.
    pub role: Role,
    /// The path of the function.
    pub function: &'static str,
    /// The position of the function in the source code.
    pub location: Location,
    /// The documentation of the function; empty if it has none.
    pub docs: &'static str,
    /// The options of the task.
    pub options: Options,
    /// The parameters, in order.
    pub params: &'static [Param],
    /// The JSON Schema of the return value.
    pub output: fn(&mut SchemaGenerator) -> Schema,
    /// The way in which the function is called.
    pub run: Run,
    /// The constraints of the input schema.
    pub rules: &'static Rules,
}

impl TaskDef {
    /// Checks that a body is a valid input of this function, without running it.
    ///
    /// # Errors
    /// [`CallError::Input`] with the position of the mistake and what was expected there.
    pub fn check(&self, body: &[u8]) -> Result<(), CallError> {
        self.check_types(body)?;
        self.check_rules(body).map_err(CallError::Input)
    }

    fn check_types(&self, body: &[u8]) -> Result<(), CallError> {
        let names = self.fields();
        let mut fields = None;
        for param in self.params {
            match param {
                Param::Body { check, .. } => return check(body),
                Param::Field { name, check, .. } => {
                    let found = match fields.take() {
                        Some(found) => found,
                        None => Fields::find(body, &names)?,
                    };
                    check(&found, name)?;
                    fields = Some(found);
                }
                Param::State { .. } | Param::Context | Param::Parts => {}
            }
        }
        if fields.is_none() { Fields::find(body, &names).map(drop) } else { Ok(()) }
    }

    /// The names of the function's named inputs, in order.
    pub fn fields(&self) -> Vec<&'static str> {
        let name = |param: &Param| match param {
            Param::Field { name, .. } => Some(*name),
            Param::Body { .. } | Param::State { .. } | Param::Context | Param::Parts => None,
        };
        self.params.iter().filter_map(name).collect()
    }
}

/// A task: its function and, if it has them, its split and its join.
#[derive(Debug, Clone)]
pub struct Task {
    /// The function that does the work.
    pub work: TaskDef,
    /// The function that makes the parts.
    pub split: Option<TaskDef>,
    /// The function that combines the outputs of the parts.
    pub join: Option<TaskDef>,
}

impl Task {
    /// The name of the task.
    pub const fn name(&self) -> &'static str {
        self.work.name
    }

    /// The function that takes the input of a whole job: the split if there is one, otherwise the task's function.
    pub fn entry(&self) -> &TaskDef {
        self.split.as_ref().unwrap_or(&self.work)
    }

    /// The name of the queue for the messages of the task.
    pub fn queue(&self) -> &'static str {
        self.work.options.queue.unwrap_or(self.work.name)
    }
}

/// Returns the last segment of a module path, which is the name of a task with the function name `main`.
///
/// The `r#` of a raw identifier is not part of the name.
pub const fn module_name(path: &'static str) -> &'static str {
    let bytes = path.as_bytes();
    let mut start = bytes.len();
    while start > 0 {
        if let [.., b':' | b'#'] = bytes.split_at(start).0 {
            break;
        }
        start -= 1;
    }
    path.split_at(start).1
}

inventory::collect!(TaskDef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_of_main_is_named_after_its_module() {
        assert_eq!(module_name("app::tasks::discover"), "discover");
        assert_eq!(module_name("app"), "app");
        assert_eq!(module_name("app::r#type"), "type");
    }
}
