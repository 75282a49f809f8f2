//! The executor port: runs tasks that are not functions of this program. Its interface is plain data.
//!
//! The reports of a running call go to a [`CallObserver`], and its result is the return value. An executor knows
//! nothing about retries or about the store.

mod call_observer;
mod error;

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

pub use self::call_observer::CallObserver;
pub use self::error::{Crash, Ended, ExecutorError, Raised};
use ork_core::id::JobId;

/// One call of a task.
#[derive(Debug, Clone)]
pub struct Call {
    /// The file or program to run, and where to run it.
    pub code: Code,
    /// The input of the task, a JSON object.
    pub input: Bytes,
    /// The form in which the input is passed to a function with a single parameter: as a whole, or the field of the
    /// parameter's name.
    pub form: Form,
    /// The job, attempt and instance that this call belongs to.
    pub instance: Instance,
    /// The time that the call may take, counted from when it starts to run. `None` means without limit.
    pub timeout: Option<Duration>,
    /// Cancelled when the result of the call is no longer wanted. The executor then stops the call, and leaves it
    /// time to clean up.
    pub cancelled: CancellationToken,
}

/// The code that a call runs, and its surroundings.
#[derive(Debug, Clone)]
pub struct Code {
    /// The file or program.
    pub program: Program,
    /// The workflow's folder. Nothing outside of it is run, except programs that are looked up by name.
    pub folder: PathBuf,
    /// Environment variables of the call, added to those of this process.
    pub env: BTreeMap<String, String>,
}

/// A file or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// The task in a Python file.
    Python {
        /// The path of the file, relative to the workflow's folder.
        file: String,
    },
    /// Any program.
    Process {
        /// The program and its arguments. A program with a `/` is a path relative to the workflow's folder; any other
        /// is looked up by name.
        command: Vec<String>,
    },
}

/// The job and attempt of a call, as the code of the task sees them.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The id of the job.
    pub job: JobId,
    /// The id of the job that a client submitted and that this job descends from.
    pub root: JobId,
    /// The name of the task.
    pub task: String,
    /// The name of the workflow. `None` outside of workflows.
    pub workflow: Option<String>,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The index of this instance among the instances of the step, from 0.
    pub index: u64,
    /// The number of instances.
    pub count: u64,
    /// The idempotency key: the same for every attempt at this piece of work, and different for any other.
    pub key: String,
}

/// The input and output types of a task, as its code declares them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// The JSON Schema of the input: an object whose properties are the fields.
    pub input: Value,
    /// The JSON Schema of the input for the case that the only parameter takes the field of its own name instead of the
    /// whole input. `None` for a function without this choice.
    #[serde(default)]
    pub by_name: Option<Value>,
    /// The JSON Schema of the output; `{}` if the code declares none.
    pub output: Value,
    /// The name of the function.
    pub function: String,
    /// The line where the function begins, from 1.
    pub line: u32,
}

/// Runs tasks that are not functions of this program.
///
/// Dropping a future of this trait stops its call, together with the processes that the call has started.
#[async_trait]
pub trait Executor: Send + Sync + fmt::Debug {
    /// Runs a call to its end and returns its output as JSON.
    async fn run(&self, call: Call, listener: Arc<dyn CallObserver>) -> Result<Bytes, ExecutorError>;

    /// Reads the types of a task. A program other than a Python file declares none: it takes and returns anything.
    async fn describe(&self, code: Code) -> Result<Arc<Signature>, ExecutorError>;

    /// Stops all calls, ends all processes, and waits until they are gone. Later calls fail at once with
    /// [`ExecutorError::Interrupted`].
    async fn shutdown(&self);
}
