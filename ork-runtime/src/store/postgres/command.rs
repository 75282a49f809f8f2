//! What the writer is asked to do, and the answers on their way back.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::outbox::Held;
use super::permits::Moved;
use super::session::PATIENCE;
use crate::context::Progress;
use crate::id::JobId;
use crate::metric::Delta;
use crate::store::{Heartbeat, HeartbeatReply, OutboxPage, Prune, Pruned, StoreError, Take, Work};
use crate::tx::{Actor, Durability, OutboxId};

/// What the writer is asked to do.
pub(super) enum Command {
    /// Carry out an operation.
    Work(Box<dyn Work>),
    /// Take rows of the outbox.
    Take(Take, Answer<OutboxPage>),
    /// Remove rows.
    Forget(Vec<Held>, Answer<()>),
    /// Let go of rows.
    GiveBack(Vec<Held>, Answer<()>),
    /// Note that a process lives, which it has said at this moment.
    Heartbeat(Heartbeat, Instant, Answer<HeartbeatReply>),
    /// Note how far a job has come, or one part of it.
    Progress(JobId, Option<u64>, Progress, Answer<()>),
    /// Add to what jobs have recorded.
    Record(Vec<Delta>, Answer<Vec<JobId>>),
    /// Remove jobs that ended long ago.
    Prune(Prune, Answer<Pruned>),
    /// Note that a process ends.
    Leave(Actor, Answer<()>),
    /// Take back what became of permits in a transaction of which nobody knows.
    Undo(Vec<Moved>),
    /// Nothing, to see whether it can be done.
    Nothing(Answer<()>),
    /// End, after what is waiting.
    Close,
}

/// An answer, and who waits for it.
pub(super) struct Answer<T> {
    pub(super) value: Option<T>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T> Answer<T> {
    pub(super) const fn to(reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { value: None, reply: Some(reply) }
    }

    /// Nobody waits: the store itself wants it done.
    pub(super) const fn to_nobody() -> Self {
        Self { value: None, reply: None }
    }

    /// Tells it; an answer that nobody takes any more comes back.
    fn send(self, result: Result<(), StoreError>) -> Option<T> {
        let (value, reply) = (self.value, self.reply?);
        let result = match (result, value) {
            (Ok(()), Some(value)) => Ok(value),
            (Err(error), _) => Err(error),
            // Dropped, so that whoever waits is told that the store is closed.
            (Ok(()), None) => return None,
        };
        reply.send(result).err()?.ok()
    }
}

/// A command, and since when it waits.
pub(super) struct Waiting {
    pub(super) command: Command,
    pub(super) since: Instant,
}

impl Waiting {
    pub(super) fn now(command: Command) -> Self {
        Self { command, since: Instant::now() }
    }

    /// Whether it must be on disk before it is answered. What only says who holds or does something need not be: if it
    /// is forgotten, the work is handed out once more, and what was settled is not settled again. A release must be: if
    /// it were lost, the rows would stay held by a process that has already dropped them.
    pub(super) fn is_durable(&self) -> bool {
        match &self.command {
            Command::Work(work) => work.durability() == Durability::PowerLoss,
            Command::GiveBack(..) => true,
            _ => false,
        }
    }

    /// Whether anybody waits for it.
    pub(super) const fn is_awaited(&self) -> bool {
        !matches!(&self.command, Command::GiveBack(_, Answer { reply: None, .. }) | Command::Undo(_))
    }

    /// Whether it has waited for too long; when the store is closing, also what nobody waits for.
    pub(super) fn is_late(&self, now: Instant, closing: bool) -> bool {
        self.since + PATIENCE <= now && (self.is_awaited() || closing)
    }

    /// Tells whoever waits. Answers with the rows that were taken for somebody who is gone.
    pub(super) fn finish(self, result: Result<(), StoreError>) -> Vec<Held> {
        match self.command {
            Command::Work(work) => work.finish(result),
            Command::Take(take, answer) => {
                let taken = answer.send(result).unwrap_or_default();
                return held(taken.to_send.iter().map(|to_send| to_send.id), &take.actor);
            }
            Command::Forget(_, answer)
            | Command::GiveBack(_, answer)
            | Command::Progress(.., answer)
            | Command::Leave(_, answer)
            | Command::Nothing(answer) => drop(answer.send(result)),
            Command::Heartbeat(.., answer) => drop(answer.send(result)),
            Command::Record(_, answer) => drop(answer.send(result)),
            Command::Prune(_, answer) => drop(answer.send(result)),
            Command::Undo(_) | Command::Close => {}
        }
        Vec::new()
    }
}

/// Rows that this process holds.
pub(super) fn held(rows: impl IntoIterator<Item = OutboxId>, actor: &Actor) -> Vec<Held> {
    rows.into_iter().map(|id| (id, actor.worker.boot())).collect()
}
