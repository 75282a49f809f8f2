//! The executor port: runs tasks that are not functions of this program, one call at a time, in plain data.
//!
//! What a call may say while it runs goes to a [`Listener`]; how it ends is the answer. Whether another attempt is made
//! and what is stored of it is not known here.

mod error;
mod listener;
#[cfg(feature = "workflow")]
pub mod local;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ork_workflow::Form;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::error::{Crash, Ended, ExecutorError, Raised};
pub use self::listener::Listener;
use crate::id::JobId;

/// One call of a task.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called.
    pub code: Code,
    /// Its input: a JSON object.
    pub input: Bytes,
    /// Which form of the input the only parameter of a function gets.
    pub form: Form,
    /// Which instance of which job it is.
    pub instance: Instance,
    /// How long it may take, from when it begins to run.
    pub timeout: Option<Duration>,
    /// Fires when nobody wants its result any more.
    pub cancelled: CancellationToken,
}

/// What is called, and where.
#[derive(Debug, Clone)]
pub struct Code {
    /// The file or the program.
    pub program: Program,
    /// The workflow's folder. Nothing outside of it is run, except programs that are found by their name.
    pub folder: PathBuf,
    /// Variables of its environment, besides those of this process.
    pub env: BTreeMap<String, String>,
}

/// A file or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// The task in a Python file.
    Python {
        /// The file, from the workflow's folder.
        file: String,
    },
    /// Any program.
    Process {
        /// The program, from the workflow's folder if it has a `/`, and its arguments.
        command: Vec<String>,
    },
}

/// What a call knows about its job.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The job.
    pub job: JobId,
    /// The job a client submitted, from which this one comes.
    pub root: JobId,
    /// The task's name.
    pub task: String,
    /// The workflow's name.
    pub workflow: Option<String>,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// Which instance it is, from 0.
    pub index: u64,
    /// How many instances there are.
    pub count: u64,
    /// The same text for every attempt at this piece of work and for no other.
    pub key: String,
}

/// What a task takes and returns, as its own types say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// The JSON Schema of its input: an object, whose properties are the fields.
    pub input: Value,
    /// The same if its only parameter, which takes the whole input, takes the field of its own name instead; `None` for
    /// any other function.
    #[serde(default)]
    pub by_name: Option<Value>,
    /// The JSON Schema of its output; `{}` if it says nothing.
    pub output: Value,
    /// The function's name.
    pub function: String,
    /// The line where it begins, from 1.
    pub line: u32,
}

/// Runs tasks that are not functions of this program.
///
/// Dropping a future of this port cancels the call, which is then stopped as one whose token has fired.
#[async_trait]
pub trait Executor: Send + Sync + fmt::Debug {
    /// Runs a call to its end and answers its output as JSON.
    async fn run(&self, call: Call, listener: Arc<dyn Listener>) -> Result<Bytes, ExecutorError>;

    /// Reads the types of a task. A program that is no Python file has none: it takes and returns anything.
    async fn describe(&self, code: Code) -> Result<Arc<Signature>, ExecutorError>;

    /// Stops every call, ends every process and waits for that. Calls that come later are interrupted at once.
    async fn shutdown(&self);
}
