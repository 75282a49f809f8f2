//! `TaskDef`: the row that `#[task]` writes for each function; data and pointers to generic functions.

use std::any::{TypeId, type_name};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use schemars::{Schema, SchemaGenerator};

use super::arg::{Call, Fields, IsState};
use super::error::CallError;
use super::outcome::Items;
use super::rules::Rules;
use crate::policy::{Concurrency, OnError, Tolerate};

/// A boxed future, as the row's functions return it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a function is to its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It does the work of one job or part.
    Work,
    /// It makes the parts.
    Split,
    /// It folds the outputs of the parts.
    Join,
}

/// Where a function stands in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The file, as the compiler knows it.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Reads a named input and forgets it.
pub type Check = fn(&Fields<'_>, &'static str) -> Result<(), CallError>;

/// One parameter of a task.
#[derive(Debug, Clone, Copy)]
pub enum Param {
    /// An input of this name: a property of the body.
    Field {
        /// Its name.
        name: &'static str,
        /// Its documentation; empty if it has none.
        docs: &'static str,
        /// Its JSON Schema.
        schema: fn(&mut SchemaGenerator) -> Schema,
        /// Whether it may be left out.
        optional: fn() -> bool,
        /// Reads it and forgets it.
        check: Check,
    },
    /// The whole body.
    Body {
        /// Its JSON Schema.
        schema: fn(&mut SchemaGenerator) -> Schema,
        /// Reads it and forgets it.
        check: fn(&[u8]) -> Result<(), CallError>,
    },
    /// A state of the application.
    State {
        /// Its type.
        type_id: fn() -> TypeId,
        /// The type's name.
        type_name: fn() -> &'static str,
    },
    /// The context.
    Context,
    /// The outcomes of the parts.
    Parts,
}

impl Param {
    /// A state of this type.
    pub const fn state<S: IsState>() -> Self {
        Self::State { type_id: TypeId::of::<S::Value>, type_name: type_name::<S::Value> }
    }
}

/// The options of `#[task(...)]`; `None` where the configuration decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Attempts after the first.
    pub retries: u32,
    /// The pause before the first retry.
    pub backoff: Option<Duration>,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// The queue, if it is not the task's own.
    pub queue: Option<&'static str>,
    /// 0 to 9; higher goes first.
    pub priority: u8,
    /// How many parts travel in one page from the split to the store.
    pub chunk: Option<u32>,
    /// What happens to the other parts after a failure.
    pub on_error: OnError,
    /// How many failed parts are borne.
    pub tolerate: Option<Tolerate>,
    /// How many calls may run at once.
    pub concurrency: Option<Concurrency>,
    /// The key of which one job at a time has not ended.
    pub unique: Option<&'static str>,
}

impl Options {
    /// What holds where `#[task]` says nothing.
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

/// How a function is called.
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
/// Those of the two.
pub fn run_blocking<R, O>(
    call: &Call,
    start: fn(&Call) -> Result<R, CallError>,
    finish: fn(R) -> Result<O, CallError>,
) -> Result<O, CallError> {
    finish(start(call)?)
}

/// Calls an `async fn`, whose future holds its arguments but not the message they came from.
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

/// One annotated function.
///
/// A macro writes it; a program reads it through [`crate::Registry`].
#[derive(Debug, Clone, Copy)]
pub struct TaskDef {
    /// The task's name, which is wire API.
    pub name: &'static str,
    /// What the function is to the task.
    pub role: Role,
    /// The function's path.
    pub function: &'static str,
    /// Where it stands.
    pub location: Location,
    /// Its documentation; empty if it has none.
    pub docs: &'static str,
    /// Its options.
    pub options: Options,
    /// Its parameters, in order.
    pub params: &'static [Param],
    /// The JSON Schema of what it returns.
    pub output: fn(&mut SchemaGenerator) -> Schema,
    /// How it is called.
    pub run: Run,
    /// What its schema demands of its inputs beyond their types.
    pub rules: &'static Rules,
}

impl TaskDef {
    /// Checks that a body is an input of this function, without running it.
    ///
    /// # Errors
    /// `Input`: what is wrong where, and what was expected.
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

    /// The names of its inputs, in order.
    pub fn fields(&self) -> Vec<&'static str> {
        let name = |param: &Param| match param {
            Param::Field { name, .. } => Some(*name),
            Param::Body { .. } | Param::State { .. } | Param::Context | Param::Parts => None,
        };
        self.params.iter().filter_map(name).collect()
    }
}

/// The last segment of a module path: the name of a task whose function is `main`.
///
/// The mark of a raw identifier is no part of the name.
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
    fn a_main_is_named_after_its_module() {
        assert_eq!(module_name("app::tasks::discover"), "discover");
        assert_eq!(module_name("app"), "app");
        assert_eq!(module_name("app::r#type"), "type");
    }
}
