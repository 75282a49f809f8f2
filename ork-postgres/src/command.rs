//! The commands for the writer, and the replies to them.

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::outbox::Held;
use crate::permits::Moved;
use crate::session::PATIENCE;
use ork_core::id::JobId;
use ork_core::metric::Delta;
use ork_core::progress::Progress;
use ork_core::tx::{Actor, Durability, OutboxId};
use ork_ports::store::{Heartbeat, HeartbeatReply, OutboxPage, Prune, Pruned, StoreError, Take, Work};

/// A command for the writer.
pub(crate) enum Command {
    /// Apply operations.
    Work(Box<dyn Work>),
    /// Take rows of the outbox.
    Take(Take, Answer<OutboxPage>),
    /// Remove rows of the outbox.
    DeleteOutbox(Vec<Held>, Answer<()>),
    /// Release rows of the outbox.
    Release(Vec<Held>, Answer<()>),
    /// Record a heartbeat, which was requested at this moment.
    Heartbeat(Heartbeat, Instant, Answer<HeartbeatReply>),
    /// Record the progress of a job, or of one of its parts.
    Progress(JobId, Option<u64>, Progress, Answer<()>),
    /// Add measurements to the metrics of jobs.
    Record(Vec<Delta>, Answer<Vec<JobId>>),
    /// Remove jobs that ended long ago.
    Prune(Prune, Answer<Pruned>),
    /// Record that a process ends.
    Leave(Actor, Answer<()>),
    /// Revert the changes of permits by a committed transaction whose outcome was reported to the callers as unknown.
    Undo(Vec<Moved>),
    /// Do nothing, to check that the database can be written.
    Nothing(Answer<()>),
    /// End, after the commands that wait.
    Close,
}

/// A result, and the channel to the caller that waits for it.
pub(crate) struct Answer<T> {
    pub(crate) value: Option<T>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T> Answer<T> {
    pub(crate) const fn to(reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { value: None, reply: Some(reply) }
    }

    /// Creates the answer for a command of the store itself. No caller waits for its result.
    pub(crate) const fn unawaited() -> Self {
        Self { value: None, reply: None }
    }

    /// Sends the result. Returns the value if the caller no longer waits for it.
    fn send(self, result: Result<(), StoreError>) -> Option<T> {
        let (value, reply) = (self.value, self.reply?);
        let result = match (result, value) {
            (Ok(()), Some(value)) => Ok(value),
            (Err(error), _) => Err(error),
            // The channel is dropped, so that the caller gets the error that the store is closed.
            (Ok(()), None) => return None,
        };
        reply.send(result).err()?.ok()
    }
}

/// A command, and the time since which it has been waiting.
pub(crate) struct Waiting {
    pub(crate) command: Command,
    pub(crate) since: Instant,
}

impl Waiting {
    pub(crate) fn now(command: Command) -> Self {
        Self { command, since: Instant::now() }
    }

    /// Whether the command must be on disk before its result is returned. A change that only records which process
    /// holds or runs something need not be: if it is lost, the work is delivered again, and settled work is not
    /// settled again. A release must be: if it were lost, the rows would stay held by a process that has already
    /// dropped them.
    pub(crate) fn records_jobs(&self) -> bool {
        match &self.command {
            Command::Work(work) => work.durability() == Durability::PowerLoss,
            Command::Release(..) => true,
            _ => false,
        }
    }

    /// Whether a caller waits for the result.
    pub(crate) const fn is_awaited(&self) -> bool {
        !matches!(&self.command, Command::Release(_, Answer { reply: None, .. }) | Command::Undo(_))
    }

    /// Whether the command has waited for too long. While the store is being closed, this includes commands for which
    /// no caller waits.
    pub(crate) fn is_late(&self, now: Instant, closing: bool) -> bool {
        self.since + PATIENCE <= now && (self.is_awaited() || closing)
    }

    /// Sends the result to the caller. Returns the rows that were taken for a caller that no longer waits.
    pub(crate) fn finish(self, result: Result<(), StoreError>) -> Vec<Held> {
        match self.command {
            Command::Work(work) => work.finish(result),
            Command::Take(take, answer) => {
                let taken = answer.send(result).unwrap_or_default();
                return held(taken.rows.iter().map(|rows| rows.id), &take.actor);
            }
            Command::DeleteOutbox(_, answer)
            | Command::Release(_, answer)
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

/// Pairs these rows with the process that holds them.
pub(crate) fn held(rows: impl IntoIterator<Item = OutboxId>, actor: &Actor) -> Vec<Held> {
    rows.into_iter().map(|id| (id, actor.worker.boot())).collect()
}
