//! The outbox: what a transaction owes to the world, and the messages that pay it.

use bytes::Bytes;

use super::limits::Limit;
use crate::clock::Timestamp;
use crate::event::{EventKind, PendingEvent};
use crate::id::JobId;
use crate::job::{Job, JobKind, Phase};
use crate::message::{Message, Outgoing, Reply, WorkKind};

/// Names a row of the outbox; never used twice.
pub type OutboxId = u64;

/// What a row of the outbox stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutboxKind {
    /// Run the job.
    Start,
    /// Run its join.
    Join,
    /// Run these parts, one message each.
    Parts {
        /// The run of the split that made them.
        epoch: u32,
        /// The first one.
        first: u64,
        /// How many.
        len: u64,
    },
    /// Tell the outcome.
    Reply,
    /// Send what follows it: these hooks, a bit for each.
    Hooks {
        /// Which.
        which: u32,
    },
    /// Tell whoever listens.
    Event(PendingEvent),
}

impl OutboxKind {
    /// How stores write it: a word, and what goes with it; the epoch or a code, the first part, how many.
    pub fn to_columns(self) -> (&'static str, u32, u64, u64) {
        match self {
            Self::Start => ("start", 0, 0, 1),
            Self::Join => ("join", 0, 0, 1),
            Self::Reply => ("reply", 0, 0, 1),
            Self::Hooks { which } => ("hooks", which, 0, 1),
            Self::Event(PendingEvent::Job(kind)) => ("event", kind.code(), 0, 1),
            Self::Event(PendingEvent::Parts { first, len }) => ("part-events", 0, first, len),
            Self::Parts { epoch, first, len } => ("parts", epoch, first, len),
        }
    }

    /// What was written so; `None` if nothing was.
    pub fn from_columns((word, code, first, len): (&str, u32, u64, u64)) -> Option<Self> {
        Some(match word {
            "start" => Self::Start,
            "join" => Self::Join,
            "reply" => Self::Reply,
            "hooks" => Self::Hooks { which: code },
            "event" => Self::Event(PendingEvent::Job(EventKind::from_code(code)?)),
            "part-events" => Self::Event(PendingEvent::Parts { first, len }),
            "parts" => Self::Parts { epoch: code, first, len },
            _ => return None,
        })
    }
}

/// Messages that are not at hand: the row is taken from the store later.
pub(super) const NOT_HELD: Option<fn(&OutboxRow) -> Vec<Outgoing>> = None;

/// One row of the outbox. It stays until its messages are with the broker, or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Which row.
    pub id: OutboxId,
    /// Whose.
    pub job: JobId,
    /// The job's task.
    pub task: String,
    /// What for.
    pub kind: OutboxKind,
    /// The attempt its messages carry.
    pub attempt: u32,
    /// 0 to 9; higher goes first.
    pub priority: u8,
    /// Not before.
    pub due: Option<Timestamp>,
    /// The process that holds it.
    pub holder: Option<[u8; 16]>,
    /// How often a process that held it died.
    pub lost: u32,
    /// The limit of which a permit must come first.
    pub waits_for: Option<Limit>,
}

/// A row that this process holds, with its messages: it alone sends them, then forgets the row.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRow {
    /// Which row.
    pub id: OutboxId,
    /// How often a process that held it died.
    pub lost: u32,
    /// One message, or one a part.
    pub messages: Vec<Outgoing>,
    /// Whether it is given back, instead of sent, once those before it have been sent.
    pub release_after_events: bool,
}

impl OutboxRow {
    /// How many messages it stands for.
    pub const fn n_messages(&self) -> u64 {
        match self.kind {
            OutboxKind::Parts { len, .. } => len,
            OutboxKind::Start
            | OutboxKind::Join
            | OutboxKind::Reply
            | OutboxKind::Hooks { .. }
            | OutboxKind::Event(_) => 1,
        }
    }

    /// Cuts the first `len` parts off into a row of their own; `None` if that would be all of it.
    #[must_use]
    pub fn split_off(&mut self, id: OutboxId, at: u64) -> Option<Self> {
        let OutboxKind::Parts { epoch, first, len } = self.kind else {
            return None;
        };
        if at >= len {
            return None;
        }
        self.kind = OutboxKind::Parts { epoch, first: first + at, len: len - at };
        Some(Self { id, kind: OutboxKind::Parts { epoch, first, len: at }, ..self.clone() })
    }

    /// The message of a row that runs a job or its join.
    pub fn work(&self, job: &Job, input: Bytes) -> Outgoing {
        let (kind, body) = match (self.kind, job.kind) {
            (OutboxKind::Join, _) => (WorkKind::Join, Bytes::from_static(b"null")),
            (_, JobKind::Full) => (WorkKind::Job, input),
            (_, JobKind::Single) => (WorkKind::Single, input),
            (_, JobKind::Step) => (WorkKind::Step, Bytes::from_static(b"null")),
        };
        Outgoing::Work(self.message(job, kind, body))
    }

    /// The message of one part.
    pub fn part(&self, job: &Job, epoch: u32, index: u64, input: Bytes) -> Outgoing {
        Outgoing::Work(Message { reply: None, ..self.message(job, WorkKind::Part { epoch, index }, input) })
    }

    /// The messages that tell the outcome, one for each place where it was asked for.
    pub fn replies(job: &Job, output: Option<&Bytes>) -> Vec<Outgoing> {
        job.replies().map(|to| Outgoing::Reply(Reply::to(to.clone(), job, output))).collect()
    }

    /// The message that has the hooks of a job sent: these, a bit for each.
    pub fn hooks(job: &Job, which: u32) -> Outgoing {
        Outgoing::Hooks { job: job.id, task: job.task.clone(), mask: which }
    }

    /// What stands for the events of a row until they are read from the store.
    pub const fn notify(&self, job: &Job, what: PendingEvent) -> Outgoing {
        Outgoing::PendingEvent { job: job.id, row: self.id, what }
    }

    fn message(&self, job: &Job, kind: WorkKind, body: Bytes) -> Message {
        let schema = match kind {
            WorkKind::Job | WorkKind::Single => job.schemas.input,
            WorkKind::Part { .. } => job.schemas.part,
            WorkKind::Step | WorkKind::Join | WorkKind::Hooks(_) => None,
        };
        Message {
            job: job.id,
            root: job.root,
            parent: job.parent,
            task: job.task.clone(),
            kind,
            attempt: self.attempt,
            priority: self.priority,
            losses: self.lost,
            body,
            reply: job.reply.clone(),
            schema,
            hooks: None,
            data: None,
        }
    }
}

/// The row that pays this phase.
pub(super) const fn kind_of(phase: Phase) -> OutboxKind {
    match phase {
        Phase::Start => OutboxKind::Start,
        Phase::Join => OutboxKind::Join,
    }
}
