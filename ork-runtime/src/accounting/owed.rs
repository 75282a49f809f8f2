//! The outbox: what a transaction owes to the world, and the messages that pay it.

use bytes::Bytes;

use super::limits::Limit;
use crate::clock::Timestamp;
use crate::event::{EventKind, ToTell};
use crate::id::JobId;
use crate::job::{Job, Kind, Phase};
use crate::message::{Ask, Message, Outgoing, Reply};

/// Names a row of the outbox; never used twice.
pub type OwedId = u64;

/// What a row of the outbox stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwedAsk {
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
    Tell(ToTell),
}

impl OwedAsk {
    /// How stores write it: a word, and what goes with it; the epoch or a code, the first part, how many.
    pub fn to_columns(self) -> (&'static str, u32, u64, u64) {
        match self {
            Self::Start => ("start", 0, 0, 1),
            Self::Join => ("join", 0, 0, 1),
            Self::Reply => ("reply", 0, 0, 1),
            Self::Hooks { which } => ("hooks", which, 0, 1),
            Self::Tell(ToTell::Job(kind)) => ("tell", kind.code(), 0, 1),
            Self::Tell(ToTell::Parts { first, len }) => ("tell-parts", 0, first, len),
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
            "tell" => Self::Tell(ToTell::Job(EventKind::from_code(code)?)),
            "tell-parts" => Self::Tell(ToTell::Parts { first, len }),
            "parts" => Self::Parts { epoch: code, first, len },
            _ => return None,
        })
    }
}

/// Messages that are not at hand: the row is taken from the store later.
pub(super) const NOT_HELD: Option<fn(&OwedRow) -> Vec<Outgoing>> = None;

/// One row of the outbox. It stays until its messages are with the broker, or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedRow {
    /// Which row.
    pub id: OwedId,
    /// Whose.
    pub job: JobId,
    /// The job's task.
    pub task: String,
    /// What for.
    pub ask: OwedAsk,
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
    pub waits: Option<Limit>,
}

/// A row that this process holds, with its messages: it alone sends them, then forgets the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Owed {
    /// Which row.
    pub id: OwedId,
    /// How often a process that held it died.
    pub lost: u32,
    /// One message, or one a part.
    pub messages: Vec<Outgoing>,
    /// Whether it is given back, instead of sent, once those before it have been sent.
    pub goes_back: bool,
}

impl OwedRow {
    /// How many messages it stands for.
    pub const fn n_messages(&self) -> u64 {
        match self.ask {
            OwedAsk::Parts { len, .. } => len,
            OwedAsk::Start | OwedAsk::Join | OwedAsk::Reply | OwedAsk::Hooks { .. } | OwedAsk::Tell(_) => 1,
        }
    }

    /// Cuts the first `len` parts off into a row of their own; `None` if that would be all of it.
    #[must_use]
    pub fn split_off(&mut self, id: OwedId, at: u64) -> Option<Self> {
        let OwedAsk::Parts { epoch, first, len } = self.ask else {
            return None;
        };
        if at >= len {
            return None;
        }
        self.ask = OwedAsk::Parts { epoch, first: first + at, len: len - at };
        Some(Self { id, ask: OwedAsk::Parts { epoch, first, len: at }, ..self.clone() })
    }

    /// The message of a row that runs a job or its join.
    pub fn work(&self, job: &Job, input: Bytes) -> Outgoing {
        let (ask, body) = match (self.ask, job.kind) {
            (OwedAsk::Join, _) => (Ask::Join, Bytes::from_static(b"null")),
            (_, Kind::Whole) => (Ask::Whole, input),
            (_, Kind::Item) => (Ask::Item, input),
            (_, Kind::Step) => (Ask::Step, Bytes::from_static(b"null")),
        };
        Outgoing::Work(self.message(job, ask, body))
    }

    /// The message of one part.
    pub fn part(&self, job: &Job, epoch: u32, index: u64, input: Bytes) -> Outgoing {
        Outgoing::Work(Message { reply: None, ..self.message(job, Ask::Part { epoch, index }, input) })
    }

    /// The messages that tell the outcome, one for each place where it was asked for.
    pub fn replies(job: &Job, output: Option<&Bytes>) -> Vec<Outgoing> {
        job.replies().map(|to| Outgoing::Reply(Reply::to(to.clone(), job, output))).collect()
    }

    /// The message that has the hooks of a job sent: these, a bit for each.
    pub fn hooks(job: &Job, which: u32) -> Outgoing {
        Outgoing::Hooks { job: job.id, task: job.task.clone(), which }
    }

    /// What stands for the events of a row until they are read from the store.
    pub const fn tell(&self, job: &Job, what: ToTell) -> Outgoing {
        Outgoing::Tell { job: job.id, row: self.id, what }
    }

    fn message(&self, job: &Job, ask: Ask, body: Bytes) -> Message {
        let schema = match ask {
            Ask::Whole | Ask::Item => job.made_for.input,
            Ask::Part { .. } => job.made_for.part,
            Ask::Step | Ask::Join | Ask::Hooks(_) => None,
        };
        Message {
            job: job.id,
            root: job.root,
            parent: job.parent,
            task: job.task.clone(),
            ask,
            attempt: self.attempt,
            priority: self.priority,
            lost: self.lost,
            body,
            reply: job.reply.clone(),
            schema,
            hooks: None,
            data: None,
        }
    }
}

/// The row that pays this phase.
pub(super) const fn ask_of(phase: Phase) -> OwedAsk {
    match phase {
        Phase::Start => OwedAsk::Start,
        Phase::Join => OwedAsk::Join,
    }
}
