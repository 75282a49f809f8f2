//! What travels: one message a dispatch. The body is the input's JSON and nothing else; `docs/wire.md` has the rest.

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

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkKind {
    /// Run the task: its split if it has one, else its function.
    Job,
    /// Run the function on one item, even where the task has a split.
    Single,
    /// Run the function on one part of the job.
    Part {
        /// The run of the split that made the part.
        epoch: u32,
        /// Which part, from 0.
        index: u64,
    },
    /// Run the task as a step of a run: its input is made from what the steps before it returned.
    Step,
    /// Run the join.
    Join,
    /// Send what follows the job: these of its hooks, a bit for each. It never travels through a broker.
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

/// One dispatch of a job or of one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The job; for a part, the job it is a part of.
    pub job: JobId,
    /// The job a client submitted, from which this one comes.
    pub root: JobId,
    /// The job that created this one.
    pub parent: Option<JobId>,
    /// The task's name.
    pub task: String,
    /// What is asked for.
    pub kind: WorkKind,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// 0 to 9; higher goes first.
    pub priority: u8,
    /// How often a worker has died with this dispatch, apart from what the broker counts.
    pub losses: u32,
    /// The input's JSON.
    pub body: Bytes,
    /// Where the outcome goes.
    pub reply: Option<ReplyTo>,
    /// The schema that the input was made for, if its sender said so.
    pub schema: Option<Fingerprint>,
    /// What follows when it has ended, and the set of parts that it is one of.
    pub hooks: Option<Box<Hooks>>,
    /// For a part of a job that has split itself, what it is told of itself, once the body is the job's input. It never
    /// travels: on its way such a part has these for a body.
    pub data: Option<Bytes>,
}

impl Message {
    /// A message about a job that says nothing else.
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
            body: Bytes::new(),
            reply: None,
            schema: None,
            hooks: None,
            data: None,
        }
    }
}

/// The outcome of a job, for whoever asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Where it goes.
    pub to: ReplyTo,
    /// Which job ended.
    pub job: JobId,
    /// How.
    pub state: State,
    /// What it returned, as its row has it.
    pub output: Option<Bytes>,
    /// Why it failed.
    pub error: Option<Box<Failure>>,
}

/// How a job ended.
#[derive(Serialize, JsonSchema)]
struct ReplyJson<'a> {
    job: JobId,
    #[schemars(with = "String", extend("enum" = ["success", "failed", "cancelled"]))]
    state: State,
    /// What it returned, if it ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    output: Option<&'a serde_json::value::RawValue>,
    /// Where that is, if no message carries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_at: Option<OutputRef>,
    /// Why it failed.
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
    /// The outcome of a job that returned this; `None` if nobody asked for it.
    pub fn of(job: &Job, output: Option<&Bytes>) -> Option<Self> {
        Some(Self::to(job.reply.clone()?, job, output))
    }

    /// The same for whoever asked for it here.
    pub fn to(to: ReplyTo, job: &Job, output: Option<&Bytes>) -> Self {
        let error = job.failure.as_ref().filter(|_| job.state == State::Failed).cloned().map(Box::new);
        // Its own work may have returned well before its parts, or the jobs below it, failed it.
        let output = output.filter(|_| job.state == State::Succeeded).cloned();
        Self { to, job: job.id, state: job.state, output, error }
    }

    /// Its JSON: `{"job", "state"}`, and `"output"`, or `"output_at"` for one that is elsewhere, or `"error"`.
    pub fn body(&self) -> Bytes {
        let Self { to: _, job, state, output, error } = self;
        let output_at = output.as_deref().and_then(OutputRef::read).and_then(Result::ok);
        let output = output.as_deref().and_then(|json| serde_json::from_slice(json).ok());
        let json = ReplyJson { job: *job, state: *state, output, output_at, error: error.as_deref() };
        serde_json::to_vec(&json).unwrap_or_default().into()
    }

    /// The size of the output, if it is here.
    pub fn output_bytes(&self) -> Option<usize> {
        self.output.as_ref().filter(|output| !OutputRef::is_ref(output)).map(Bytes::len)
    }

    /// Leaves out what is large and can be: the output, which its row has, or what the task adds to its failure. Says
    /// whether anything was left out.
    pub fn leave_out(&mut self) -> bool {
        let Some(bytes) = self.output_bytes() else {
            return self.error.as_mut().is_some_and(|error| error.details.take().is_some());
        };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.output = Some(OutputRef { bytes, object: None }.to_row());
        true
    }
}

/// What follows a job that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookMessage {
    /// Its id, the same however often it is sent.
    pub id: JobId,
    /// The routing key.
    pub route: String,
    /// The task.
    pub task: String,
    /// The input's JSON.
    pub body: Bytes,
    /// Why it goes to the dead letters instead.
    pub failed: Option<String>,
}

/// What leaves a process through the outbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Outgoing {
    /// Work for a worker.
    Work(Message),
    /// An outcome for a client.
    Reply(Reply),
    /// A message of a hook.
    Hook(HookMessage),
    /// Word to whoever listens.
    Event(Box<Event>),
    /// The same, to be made from what the store knows.
    PendingEvent {
        /// The job.
        job: JobId,
        /// The row that owes it.
        row: u64,
        /// What.
        what: PendingEvent,
    },
    /// The hooks of a job in the store that are to be sent: a bit for each.
    Hooks {
        /// The job.
        job: JobId,
        /// Its task.
        task: String,
        /// Which.
        mask: u32,
    },
}

/// How large a body may be before anything looks into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub bytes: usize,
    /// Arrays and objects inside one another.
    pub depth: usize,
}

impl Default for Limits {
    /// 16 MiB, 64 levels.
    fn default() -> Self {
        Self { bytes: 16 * 1024 * 1024, depth: 64 }
    }
}

/// Says why a body is refused before its task sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Larger than `max_message_bytes`.
    #[error("the body has {found} bytes, at most {most} are accepted (`max_message_bytes`)")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// Nested deeper than accepted.
    #[error("the body is nested deeper than {most} levels")]
    TooDeep {
        /// The limit.
        most: usize,
    },
}

impl Limits {
    /// Checks a body without parsing it.
    ///
    /// # Errors
    /// `TooLarge` or `TooDeep`.
    pub fn check(&self, body: &[u8]) -> Result<(), BodyError> {
        if body.len() > self.bytes {
            return Err(BodyError::TooLarge { found: body.len(), most: self.bytes });
        }
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        for byte in body {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'[' | b'{' if !in_string => {
                    depth += 1;
                    if depth > self.depth {
                        return Err(BodyError::TooDeep { most: self.depth });
                    }
                }
                b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        let limits = Limits { bytes: 1_000, depth: 2 };
        assert_eq!(limits.check(br#"{"a": ["[[[[\"[["]}"#), Ok(()));
        assert_eq!(limits.check(b"[[[]]]"), Err(BodyError::TooDeep { most: 2 }));
        assert_eq!(limits.check(&[b' '; 1_001]), Err(BodyError::TooLarge { found: 1_001, most: 1_000 }));
    }
}
