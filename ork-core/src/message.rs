//! The messages that travel through the broker, one for each dispatch.
//!
//! The body of a message is the input as JSON and nothing else. A message that inherits its input (a part of a dynamic
//! split, a step of a workflow run) has only its own data as its body. `docs/wire.md` describes the headers.

use std::borrow::Cow;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::event::{Event, PendingEvent};
use crate::failure::Failure;
use crate::hook::Hooks;
use crate::id::{Fingerprint, JobId};
use crate::job::{Job, Phase, ReplyTo, State};
use crate::output::OutputRef;

pub use crate::body::{BodyError, Limits};

/// The work that a message requests from a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkKind {
    /// Run the task: its split if it has one, otherwise its function.
    Job,
    /// Run the task's function on a single item, even if the task has a split.
    Single,
    /// Run the task's function on one part of the job.
    Part {
        /// The epoch, i.e. the run of the split, that made the part.
        epoch: u32,
        /// The index of the part, starting at 0.
        index: u64,
    },
    /// Run the task as a step of a workflow run: its input is built from the outputs of earlier steps.
    Step,
    /// Run the join.
    Join,
    /// Send the hooks of the job that this bit mask selects. Such a message never travels through a broker.
    Hooks(u32),
}

impl WorkKind {
    /// The phase of a job that this kind of work runs.
    pub const fn phase(self) -> Phase {
        match self {
            Self::Join => Phase::Join,
            Self::Job | Self::Single | Self::Part { .. } | Self::Step | Self::Hooks(_) => Phase::Start,
        }
    }
}

/// One dispatch of a job, or of one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id of the job; for a part, the job that it belongs to.
    pub job: JobId,
    /// The id of the job at the top of the tree, which a client submitted.
    pub root: JobId,
    /// The id of the job that submitted this one. `None` for the root of a tree.
    pub parent: Option<JobId>,
    /// The name of the task.
    pub task: String,
    /// The work that the message requests.
    pub kind: WorkKind,
    /// The number of the attempt, starting at 1.
    pub attempt: u32,
    /// The priority, from 0 to 9. Messages with a higher priority go first.
    pub priority: u8,
    /// The number of times that a worker died while it ran this dispatch, without the redeliveries that the broker
    /// counts itself.
    pub losses: u32,
    /// Whether its part had to wait for a permit: the message takes the place of the one before, which may still be
    /// delivered.
    pub waited: bool,
    /// The input as JSON, or the message's own data if it inherits its input.
    pub body: Bytes,
    /// The address to which the outcome is sent. `None` if no client waits for it.
    pub reply: Option<ReplyTo>,
    /// The fingerprint of the schema that the input was made for. `None` if the sender gave none.
    pub schema: Option<Fingerprint>,
    /// The hooks to run when the job has ended, and the set of parts to which it belongs.
    pub hooks: Option<Box<Hooks>>,
}

impl Message {
    /// Whether the message is a part of a set, whose parts the broker counts.
    pub fn has_part_hook(&self) -> bool {
        self.hooks.as_deref().is_some_and(|hooks| hooks.part.is_some())
    }

    /// Creates a message that runs the task of this job, with an empty body and default values.
    pub fn about(job: JobId, task: &str) -> Self {
        Self {
            job,
            root: job,
            parent: None,
            task: task.to_owned(),
            kind: WorkKind::Job,
            attempt: 1,
            priority: 0,
            losses: 0,
            waited: false,
            body: Bytes::new(),
            reply: None,
            schema: None,
            hooks: None,
        }
    }
}

/// The outcome of a job, for a client that requested it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The address to which the reply is sent.
    pub to: ReplyTo,
    /// The id of the job that ended.
    pub job: JobId,
    /// The final state of the job.
    pub state: State,
    /// The output as stored in the job's row: JSON, or a reference to a large output. `None` unless the job
    /// succeeded.
    pub output: Option<Bytes>,
    /// The failure of the job. `None` unless the job failed.
    pub error: Option<Box<Failure>>,
}

/// The outcome of a job.
#[derive(Serialize, JsonSchema)]
struct ReplyJson<'a> {
    job: JobId,
    #[schemars(with = "String", extend("enum" = ["succeeded", "failed", "cancelled"]))]
    state: State,
    /// The output, if the job succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    output: Option<&'a serde_json::value::RawValue>,
    /// The location of the output, if it is not in the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_at: Option<OutputRef>,
    /// The failure, if the job failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
}

impl JsonSchema for Reply {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("OrkOutcome")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ReplyJson::json_schema(generator)
    }
}

impl Reply {
    /// Returns the outcome of a job with this output, for its first reply address. `None` if no client requested it.
    pub fn of(job: &Job, output: Option<&Bytes>) -> Option<Self> {
        Some(Self::to(job.reply.clone()?, job, output))
    }

    /// Returns the outcome of a job with this output, for this reply address.
    pub fn to(to: ReplyTo, job: &Job, output: Option<&Bytes>) -> Self {
        let error = job.failure.as_ref().filter(|_| job.state == State::Failed).cloned().map(Box::new);
        // A job's own work may have returned an output before its parts, or the jobs below it, made the job fail.
        let output = output.filter(|_| job.state == State::Succeeded).cloned();
        Self { to, job: job.id, state: job.state, output, error }
    }

    /// The body of the reply as JSON: `{"job", "state"}`, and `"output"`, `"output_at"` for a large output stored
    /// elsewhere, or `"error"`.
    pub fn body(&self) -> Bytes {
        let Self { to: _, job, state, output, error } = self;
        let output_at = output.as_deref().and_then(OutputRef::read).and_then(Result::ok);
        let output = output.as_deref().and_then(|json| serde_json::from_slice(json).ok());
        let json = ReplyJson { job: *job, state: *state, output, output_at, error: error.as_deref() };
        serde_json::to_vec(&json).unwrap_or_default().into()
    }

    /// The size of the output in bytes, or `None` if the reply does not carry it.
    pub fn output_bytes(&self) -> Option<usize> {
        self.output.as_ref().filter(|output| !OutputRef::is_ref(output)).map(Bytes::len)
    }

    /// Drops what may be large and can be left out: the output, which the job's row has, or else the details of the
    /// failure. Returns whether anything was dropped.
    pub fn leave_out(&mut self) -> bool {
        let Some(bytes) = self.output_bytes() else {
            return self.error.as_mut().is_some_and(|error| error.details.take().is_some());
        };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.output = Some(OutputRef { bytes, object: None }.to_row());
        true
    }
}

/// A message that a hook sends when a job has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookMessage {
    /// The id of the message. It is the same each time the message is sent.
    pub id: JobId,
    /// The routing key.
    pub route: String,
    /// The name of the task.
    pub task: String,
    /// The input as JSON.
    pub body: Bytes,
    /// If the hook failed, the reason. The message then goes to the dead letters.
    pub failed: Option<String>,
}

/// A message that leaves the process through the outbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Outgoing {
    /// A task to run, for a worker.
    Work(Message),
    /// The outcome of a job, for a client.
    Reply(Reply),
    /// The message of a hook.
    Hook(HookMessage),
    /// An event, for its listeners.
    Event(Box<Event>),
    /// An event that is still to be built from what the store knows.
    PendingEvent {
        /// The id of the job.
        job: JobId,
        /// The id of the outbox row.
        row: u64,
        /// The event to build.
        what: PendingEvent,
    },
    /// Hooks of a job in the store that are due.
    Hooks {
        /// The id of the job.
        job: JobId,
        /// The name of its task.
        task: String,
        /// The bit mask of the hooks to run.
        mask: u32,
    },
}
