//! The head of a part queue: the record with what the join must know of the job.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::hook::{Allowed, OnComplete};
use crate::id::JobId;
use crate::job::{Job, ReplyTo};
use crate::message::Message;

/// The first record of a part queue, which describes the job. The messages of its parts have neither its reply queue
/// nor its hooks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// The root of the tree of the job.
    root: JobId,
    /// The job that has submitted it, if one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<JobId>,
    /// The priority of its messages.
    priority: u8,
    /// The reply queue, and the correlation id of the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<(String, String)>,
    /// The hooks, as JSON text.
    on_complete: String,
    /// The input of the job, present if a hook does not set its own inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Box<RawValue>>,
}

impl Head {
    /// Returns the head for the parts of the job of this message.
    pub(super) fn of(message: &Message) -> Self {
        let hooks = message.hooks.as_deref().map(|hooks| &hooks.on_complete[..]).unwrap_or_default();
        let wanted = hooks.iter().any(|hook| hook.inputs.is_none());
        Self {
            root: message.root,
            parent: message.parent,
            priority: message.priority,
            reply: message.reply.as_ref().map(|reply| (reply.queue.clone(), reply.correlation.clone())),
            on_complete: OnComplete::write_all(hooks),
            input: serde_json::from_slice(&message.body).ok().filter(|_| wanted),
        }
    }

    /// Returns the job.
    pub(super) fn job(&self, id: JobId, task: &str, now: Timestamp) -> Job {
        let mut job = Job::new(id, task, now);
        (job.root, job.parent, job.priority) = (self.root, self.parent, self.priority);
        job.reply = self.reply.clone().map(|(queue, correlation)| ReplyTo { queue, correlation });
        job
    }

    /// Returns the hooks of the job. Every name is allowed here, as the names were checked when its message arrived.
    pub(super) fn hooks(&self) -> Vec<OnComplete> {
        let allowed = Allowed { part_queues: vec![String::new()], routes: vec![String::new()] };
        OnComplete::read_all(self.on_complete.as_bytes(), &allowed).unwrap_or_default()
    }

    /// Returns the input of the job as JSON; `null` if no hook needs it.
    pub(super) fn input(&self) -> &[u8] {
        self.input.as_deref().map_or("null", |input| input.get()).as_bytes()
    }
}
