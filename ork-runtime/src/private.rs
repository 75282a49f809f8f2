//! What expansions of `#[task]` call. Outside semver: `ork-macros` is pinned to this very version.

pub use crate::job::Kind;
pub use crate::policy::{OnError, Tolerate};
pub use crate::task::arg::{Call, IsContext, IsParts, IsState, TaskInput, optional, schema};
pub use crate::task::def::{BoxFuture, Location, Options, Param, Role, Run, TaskDef, module_name};
pub use crate::task::error::CallError;
pub use crate::task::message::{
    Answer, JoinOf, Joined, Returned, TaskMessage, Writer, debug, whole,
};
pub use crate::task::outcome::{
    IntoItem, IntoItems, IsResult, Items, TaskOutput, fallible, items, output,
};
pub use inventory::submit;
