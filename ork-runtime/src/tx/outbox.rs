//! The outbox: rows that are written with a transaction and sent after it, and the messages that they stand for.

use bytes::Bytes;

use super::limits::Limit;
use crate::clock::Timestamp;
use crate::event::{EventKind, PendingEvent};
use crate::id::JobId;
use crate::job::{Job, JobKind, Phase};
use crate::message::{Message, Outgoing, Reply, WorkKind};

/// The number of an outbox row; no number is used twice.
pub type OutboxId = u64;

/// What an outbox row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutboxKind {
    /// Run the job.
    Start,
    /// Run the join of the job.
    Join,
    /// Run these parts, one message each.
    Parts {
        /// The run of the split that made them.
        epoch: u32,
        /// The index of the first part.
        first: u64,
        /// The number of parts.
        len: u64,
    },
    /// Send the outcome of the job to its reply queues.
    Reply,
    /// Send hooks of the job.
    Hooks {
        /// A bit for each hook.
        mask: u32,
    },
    /// Publish events.
    Event(PendingEvent),
}

impl OutboxKind {
    /// The columns in which stores write it: a word, the epoch or a code, the first part, the number of parts.
    pub fn to_columns(self) -> (&'static str, u32, u64, u64) {
        match self {
            Self::Start => ("start", 0, 0, 1),
            Self::Join => ("join", 0, 0, 1),
            Self::Reply => ("reply", 0, 0, 1),
            Self::Hooks { mask } => ("hooks", mask, 0, 1),
            Self::Event(PendingEvent::Job(kind)) => ("event", kind.code(), 0, 1),
            Self::Event(PendingEvent::Parts { first, len }) => ("part-events", 0, first, len),
            Self::Parts { epoch, first, len } => ("parts", epoch, first, len),
        }
    }

    /// Reads what [`OutboxKind::to_columns`] wrote; `None` if the columns hold something else.
    pub fn from_columns((word, code, first, len): (&str, u32, u64, u64)) -> Option<Self> {
        Some(match word {
            "start" => Self::Start,
            "join" => Self::Join,
            "reply" => Self::Reply,
            "hooks" => Self::Hooks { mask: code },
            "event" => Self::Event(PendingEvent::Job(EventKind::from_code(code)?)),
            "part-events" => Self::Event(PendingEvent::Parts { first, len }),
            "parts" => Self::Parts { epoch: code, first, len },
            _ => return None,
        })
    }

    /// The kind of row that runs this phase of a job.
    pub(super) const fn of_phase(phase: Phase) -> Self {
        match phase {
            Phase::Start => Self::Start,
            Phase::Join => Self::Join,
        }
    }
}

/// One row of the outbox. It stays until the broker has confirmed its messages, or they are processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The number of the row.
    pub id: OutboxId,
    /// The job that it belongs to.
    pub job: JobId,
    /// The task of that job.
    pub task: String,
    /// What the row stands for.
    pub kind: OutboxKind,
    /// The attempt that its messages carry.
    pub attempt: u32,
    /// The priority of the job, 0 to 9; rows of a higher priority are taken first.
    pub priority: u8,
    /// The earliest time at which it may be taken; `None` for a row that is due at once.
    pub due: Option<Timestamp>,
    /// The process that holds the row, by its boot id; `None` if no process does.
    pub holder: Option<[u8; 16]>,
    /// How many processes have died while they held the row.
    pub losses: u32,
    /// The limit whose permit the row waits for; such a row is not taken.
    pub waits_for: Option<Limit>,
}

/// A row that this process holds, with its messages. Only this process sends them; it deletes the row afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRow {
    /// The number of the row.
    pub id: OutboxId,
    /// How many processes have died while they held the row.
    pub losses: u32,
    /// One message, or one for each part.
    pub messages: Vec<Outgoing>,
    /// Whether the row is released instead of sent, once the events before it are published. Then any process may take
    /// it when it is due.
    pub release_after_events: bool,
}

/// An outbox row about to be added: what it stands for, and when it is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRow {
    pub(super) kind: OutboxKind,
    pub(super) attempt: u32,
    pub(super) due: Option<Timestamp>,
}

impl NewRow {
    /// A row that is due at once.
    pub(super) const fn new(kind: OutboxKind, attempt: u32) -> Self {
        Self { kind, attempt, due: None }
    }

    /// The row for one part.
    pub(super) const fn part(epoch: u32, index: u64, attempt: u32) -> Self {
        Self::new(OutboxKind::Parts { epoch, first: index, len: 1 }, attempt)
    }
}

/// Messages that the process does not build now: it takes the row from the store later.
pub(super) const NOT_HELD: Option<fn(&OutboxRow) -> Vec<Outgoing>> = None;

impl OutboxRow {
    /// How many messages the row stands for.
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

    /// Moves the first `at` parts into a row with the number `id`; `None` if that would be the whole row.
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

    /// The message that runs the job or its join.
    pub fn work(&self, job: &Job, input: Bytes) -> Outgoing {
        let (kind, body) = match (self.kind, job.kind) {
            (OutboxKind::Join, _) => (WorkKind::Join, Bytes::from_static(b"null")),
            (_, JobKind::Full) => (WorkKind::Job, input),
            (_, JobKind::Single) => (WorkKind::Single, input),
            (_, JobKind::Step) => (WorkKind::Step, Bytes::from_static(b"null")),
        };
        Outgoing::Work(self.message(job, kind, body))
    }

    /// The message that runs one part.
    pub fn part(&self, job: &Job, epoch: u32, index: u64, input: Bytes) -> Outgoing {
        Outgoing::Work(Message { reply: None, ..self.message(job, WorkKind::Part { epoch, index }, input) })
    }

    /// The messages with the outcome of the job, one for each reply queue.
    pub fn replies(job: &Job, output: Option<&Bytes>) -> Vec<Outgoing> {
        job.replies().map(|to| Outgoing::Reply(Reply::to(to.clone(), job, output))).collect()
    }

    /// The request to send these hooks of a job.
    pub fn hooks(job: &Job, mask: u32) -> Outgoing {
        Outgoing::Hooks { job: job.id, task: job.task.clone(), mask }
    }

    /// The placeholder for the events of a row, until they are read from the store.
    pub const fn pending_event(&self, job: &Job, what: PendingEvent) -> Outgoing {
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
            losses: self.losses,
            body,
            reply: job.reply.clone(),
            schema,
            hooks: None,
            data: None,
        }
    }
}
