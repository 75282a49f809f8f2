//! The outbox: rows that are written within a transaction and sent after its commit, and the messages of each row.

use bytes::Bytes;

use super::permits::Limit;
use crate::clock::Timestamp;
use crate::event::{EventKind, PendingEvent};
use crate::id::JobId;
use crate::job::{Job, JobKind, Phase};
use crate::message::{Message, Outgoing, Reply, WorkKind};

/// The number of an outbox row. No number is used twice.
pub type OutboxId = u64;

/// The kind of an outbox row: what its messages do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutboxKind {
    /// Runs the job.
    Start,
    /// Runs the join of the job.
    Join,
    /// Runs parts of the job, with one message for each.
    Parts {
        /// The epoch: the run of the split that yielded the parts.
        epoch: u32,
        /// The index of the first part.
        first: u64,
        /// The number of parts.
        len: u64,
        /// Whether the row stands for a part that had to wait for a permit. It takes the place of the row before, which
        /// may still be delivered.
        waited: bool,
    },
    /// Sends the outcome of the job to its reply queues.
    Reply,
    /// Sends hooks of the job.
    Hooks {
        /// The hooks to send, as a bit mask over their indices.
        mask: u32,
    },
    /// Publishes events.
    Event(PendingEvent),
}

/// An [`OutboxKind`] as a store writes it.
#[derive(Debug, Clone, Copy)]
pub struct KindColumns<'a> {
    /// The name of the kind.
    pub kind: &'a str,
    /// The epoch of parts, the mask of hooks, or the code of an event; otherwise 0.
    pub detail: u32,
    /// The index of the first part; 0 without parts.
    pub first: u64,
    /// The number of parts; 1 without parts.
    pub len: u64,
}

impl OutboxKind {
    /// Returns the columns in which a store writes the kind.
    pub fn to_columns(self) -> KindColumns<'static> {
        let (kind, detail, first, len) = match self {
            Self::Start => ("start", 0, 0, 1),
            Self::Join => ("join", 0, 0, 1),
            Self::Reply => ("reply", 0, 0, 1),
            Self::Hooks { mask } => ("hooks", mask, 0, 1),
            Self::Event(PendingEvent::Job(kind)) => ("event", kind.code(), 0, 1),
            Self::Event(PendingEvent::Parts { first, len }) => ("part-events", 0, first, len),
            Self::Parts { epoch, first, len, waited: false } => ("parts", epoch, first, len),
            Self::Parts { epoch, first, len, waited: true } => ("waited-part", epoch, first, len),
        };
        KindColumns { kind, detail, first, len }
    }

    /// Reads the columns that [`OutboxKind::to_columns`] returned. Returns `None` if they are invalid.
    pub fn from_columns(KindColumns { kind, detail, first, len }: KindColumns<'_>) -> Option<Self> {
        Some(match kind {
            "start" => Self::Start,
            "join" => Self::Join,
            "reply" => Self::Reply,
            "hooks" => Self::Hooks { mask: detail },
            "event" => Self::Event(PendingEvent::Job(EventKind::from_code(detail)?)),
            "part-events" => Self::Event(PendingEvent::Parts { first, len }),
            "parts" | "waited-part" => Self::Parts { epoch: detail, first, len, waited: kind == "waited-part" },
            _ => return None,
        })
    }

    /// Returns the kind of row that runs this phase of a job.
    pub(super) const fn of_phase(phase: Phase) -> Self {
        match phase {
            Phase::Start => Self::Start,
            Phase::Join => Self::Join,
        }
    }
}

/// A row of the outbox. It is deleted once the broker has confirmed its messages, or, with the embedded broker, once
/// they are processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The number of the row.
    pub id: OutboxId,
    /// The job that the row belongs to.
    pub job: JobId,
    /// The task of that job, by which workers select rows.
    pub task: String,
    /// The kind of the row: the work that its messages request.
    pub kind: OutboxKind,
    /// The attempt that the messages carry. A message of an older attempt is stale.
    pub attempt: u32,
    /// The priority of the job, from 0 to 9. Rows with a higher priority are taken first.
    pub priority: u8,
    /// The earliest time at which the row may be taken. `None` if it is due at once.
    pub due: Option<Timestamp>,
    /// The boot id of the process that holds the row. `None` if no process holds it.
    pub holder: Option<[u8; 16]>,
    /// The number of processes that have died while they held the row.
    pub losses: u32,
    /// The limit for which the row waits. It is not taken before a permit of this limit releases it. `None` if the row
    /// does not wait.
    pub waits_for: Option<Limit>,
}

/// A row that this process holds, with its messages. Only this process sends them, and then deletes the row.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRow {
    /// The number of the row.
    pub id: OutboxId,
    /// The number of processes that have died while they held the row.
    pub losses: u32,
    /// The messages of the row: one, or one for each part or event.
    pub messages: Vec<Outgoing>,
    /// Whether the row is released instead of sent, once the events before it are published. Then any process may take
    /// it when it is due.
    pub release_after_events: bool,
}

/// An outbox row that is about to be added.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRow {
    pub(super) kind: OutboxKind,
    pub(super) attempt: u32,
    pub(super) due: Option<Timestamp>,
}

impl NewRow {
    /// Creates a row that is due at once.
    pub(super) const fn new(kind: OutboxKind, attempt: u32) -> Self {
        Self { kind, attempt, due: None }
    }

    /// Creates a row for one part.
    pub(super) const fn part(epoch: u32, index: u64, attempt: u32) -> Self {
        Self::new(OutboxKind::Parts { epoch, first: index, len: 1, waited: false }, attempt)
    }

    /// Creates a row for one part that has to wait for a permit.
    pub(super) const fn waiting_part(epoch: u32, index: u64, attempt: u32) -> Self {
        Self::new(OutboxKind::Parts { epoch, first: index, len: 1, waited: true }, attempt)
    }
}

/// Passed to `enqueue` instead of messages if the process does not hold the row and takes it from the store later.
pub(super) const NOT_HELD: Option<fn(&OutboxRow) -> Vec<Outgoing>> = None;

impl OutboxRow {
    /// Returns the number of messages of the row.
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

    /// Moves the first `at` parts into a new row with the number `id`, and returns that row. Returns `None` and changes
    /// nothing if these are all parts of the row, or if it is not a row of parts.
    #[must_use]
    pub fn split_off(&mut self, id: OutboxId, at: u64) -> Option<Self> {
        let OutboxKind::Parts { epoch, first, len, waited } = self.kind else {
            return None;
        };
        if at >= len {
            return None;
        }
        self.kind = OutboxKind::Parts { epoch, first: first + at, len: len - at, waited };
        Some(Self { id, kind: OutboxKind::Parts { epoch, first, len: at, waited }, ..self.clone() })
    }

    /// Returns the message that runs the job or its join.
    pub fn work(&self, job: &Job, input: Bytes) -> Outgoing {
        let (kind, body) = match (self.kind, job.kind) {
            (OutboxKind::Join, _) => (WorkKind::Join, Bytes::from_static(b"null")),
            (_, JobKind::Job) => (WorkKind::Job, input),
            (_, JobKind::Single) => (WorkKind::Single, input),
            (_, JobKind::Step) => (WorkKind::Step, Bytes::from_static(b"null")),
        };
        Outgoing::Work(self.message(job, kind, body))
    }

    /// Returns the message that runs one part.
    pub fn part(&self, job: &Job, epoch: u32, index: u64, input: Bytes) -> Outgoing {
        Outgoing::Work(Message { reply: None, ..self.message(job, WorkKind::Part { epoch, index }, input) })
    }

    /// Returns the messages with the outcome of the job, one for each reply queue.
    pub fn replies(job: &Job, output: Option<&Bytes>) -> Vec<Outgoing> {
        job.replies().map(|to| Outgoing::Reply(Reply::to(to.clone(), job, output))).collect()
    }

    /// Returns the request to send the hooks of a job that are set in `mask`.
    pub fn hooks(job: &Job, mask: u32) -> Outgoing {
        Outgoing::Hooks { job: job.id, task: job.task.clone(), mask }
    }

    /// Returns the placeholder for the events of a row, which is replaced when they are read from the store.
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
            waited: matches!(self.kind, OutboxKind::Parts { waited: true, .. }),
            body,
            reply: job.reply.clone(),
            schema,
            hooks: None,
        }
    }
}
