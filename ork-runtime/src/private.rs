//! The items that expansions of `#[task]` use. Semver does not apply, because `ork-macros` is pinned to this exact
//! version.

use bytes::Bytes;

pub use core::fmt::{Debug, Formatter, Result as Formatted};
pub use core::option::Option::{None, Some};
pub use core::result::Result::Ok;
pub use core::time::Duration;
pub use core::{concat, module_path};
pub use inventory::submit;

pub use crate::job::JobKind;
pub use crate::policy::{Concurrency, OnError, Tolerate};
pub use crate::task::arg::{Body, Input, IsContext, PartsOf, TaskInput, body, input};
pub use crate::task::binding::{Binding, HasSplit, JoinOutput, NoSplit, reject_option};
pub use crate::task::call::{BoxFuture, Call, Items};
pub use crate::task::def::{Location, Options, Param, Role, Run, TaskDef, module_name, run_async, run_blocking};
pub use crate::task::error::{CallError, InputError};
pub use crate::task::fields::Fields;
pub use crate::task::form::{Form, Never};
pub use crate::task::json::{NotRead, Reads, ReadsOk, schema};
pub use crate::task::message::{Answer, JoinOf, Joined, Returned, ReturnedBy, TaskMessage, debug};
pub use crate::task::outcome::{
    IntoItem, IntoItems, IsResult, NotResult, Probe, Returns, Splits, TaskError, TaskOutput, reject_result, result,
    value,
};
pub use crate::task::rules::Rules;
pub use crate::task::state::IsState;
pub use crate::task::writer::Writer;

// Items for tests that call a task without an engine.
pub use crate::ledger::{Counts, PartResult};
pub use crate::task::parts::{PartSource, RawParts, SettledPart};
pub use crate::task::state::States;

/// A string in an expansion. A task may be named `str`, so the name of the primitive type is not safe there.
pub type Str = &'static str;

/// The result of writing a message as JSON.
pub type Json = Result<Bytes, serde_json::Error>;

/// The source location of the attribute.
#[doc(hidden)]
#[macro_export]
macro_rules! __ork_here {
    () => {
        $crate::__private::Location { file: ::core::file!(), line: ::core::line!() }
    };
}

pub use crate::__ork_here as here;

/// Writes the return value of a function, and reads it back if its type can be read.
#[doc(hidden)]
#[macro_export]
macro_rules! __ork_write {
    ($returns:ident, $reads:ident<$type:ty>) => {{
        use $crate::__private::NotRead as _;
        |value| ($returns.write)(value, $crate::__private::$reads::<$type>::BACK)
    }};
    ($returns:ident) => {
        |value| ($returns.write)(value, $crate::__private::None)
    };
}

pub use crate::__ork_write as write;

/// The constraints of one function.
#[doc(hidden)]
#[macro_export]
macro_rules! __ork_rules {
    () => {{
        static RULES: $crate::__private::Rules = $crate::__private::Rules::new();
        &RULES
    }};
}

pub use crate::__ork_rules as rules;
