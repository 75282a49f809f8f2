//! Messages that RabbitMQ loses although it has confirmed them: by purges, policies, failovers and deleted queues.

use std::collections::VecDeque;
use std::sync::Arc;

use ork::JobId;

use super::{Letter, NotTaken, Queue, Stored, Through, Troubles, named};
use crate::executor::Owner;
use crate::names::Reached;
use crate::world::World;

/// Drops the oldest messages beyond the length that a policy permits (`max-length` with `drop-head`), and returns how
/// many. Messages that are delivered do not count.
pub(super) fn drop_oldest(ready: &mut VecDeque<Stored>, troubles: &Troubles, now: u64) -> usize {
    let (until, most) = troubles.longest;
    if now < until { ready.drain(..ready.len().saturating_sub(most)).count() } else { 0 }
}

impl World {
    /// Makes messages expire, as a policy does.
    pub(crate) fn expire(&self, until: u64, longest: u64) {
        self.server().inner(|inner| inner.troubles.expires = (until, longest));
        self.apply_policies();
    }

    /// Makes queues drop the oldest messages beyond this number, as a policy does.
    pub(crate) fn limit_queues(&self, until: u64, most: usize) {
        self.server().inner(|inner| inner.troubles.longest = (until, most));
        self.apply_policies();
    }

    fn apply_policies(&self) {
        let queues: Vec<_> = self.server().inner(|inner| inner.queues.keys().cloned().collect());
        for queue in queues {
            self.hand_out(&queue);
        }
    }

    /// Removes up to `most` of the newest messages of each queue, and returns how many were lost.
    pub(crate) fn forget_newest(&self, most: usize) -> usize {
        self.server().inner(|inner| {
            let queues = inner.queues.values_mut();
            queues.map(|Queue { ready, .. }| ready.drain(ready.len() - ready.len().min(most)..).count()).sum()
        })
    }

    /// Deletes all work queues with their bindings, as an administrator may. RabbitMQ cancels their consumers, whose
    /// channels stay open: it accepts acknowledgements of what they have received, which have no effect, and nothing of
    /// it is delivered again. A process declares the queues when it consumes them again, or has a new connection.
    pub(crate) fn delete_queues(self: &Arc<Self>) {
        let (n_lost, cancelled) = self.server().inner(|inner| {
            let n_lost = inner.queues.values().map(|queue| queue.ready.len()).sum();
            inner.queues.clear();
            inner.deleted.extend(std::mem::take(&mut inner.routes).into_keys());
            (n_lost, inner.cancel_sessions())
        });
        self.note_deleted("the queues", n_lost);
        self.notify_cancelled(cancelled);
    }

    /// Records that this many messages were lost with their queue.
    pub(super) fn note_deleted(&self, queue: &str, n_lost: usize) {
        if n_lost > 0 {
            self.note(Owner::WORLD, format_args!("{n_lost} messages are lost with {queue}"));
            self.oracle(|oracle| oracle.reaches(Reached::DeletedWithQueue));
        }
    }

    /// Records that a queue has dropped this many messages.
    pub(super) fn note_dropped(&self, queue: &str, n_dropped: usize) {
        if n_dropped > 0 {
            self.note(Owner::WORLD, format_args!("{queue} drops its {n_dropped} oldest messages"));
            self.oracle(|oracle| oracle.reaches(Reached::OldestDropped));
        }
    }

    /// Handles a message for which no queue is bound.
    pub(super) fn finds_no_queue(&self, from: Owner, letter: &Letter, through: Through) -> Result<(), NotTaken> {
        let message = letter.message.as_ref().ok();
        let is_deleted = self.server().inner(|inner| {
            let is_deleted = message.is_some_and(|message| inner.deleted.contains(&message.task));
            if let Some(message) = message.filter(|_| is_deleted && through == Through::Hooks) {
                inner.returned_hooks.0.insert(message.job);
                inner.returned_hooks.1 += 1;
            }
            is_deleted
        });
        if is_deleted {
            self.oracle(|oracle| oracle.reaches(Reached::Unrouted));
        }
        if through != Through::Work || from == Owner::WORLD {
            return Err(NotTaken::NoQueue);
        }
        self.note(from, format_args!("misses a queue for {}, which is dead-lettered", named(letter)));
        if !is_deleted {
            self.server().dead_letter(letter, "no queue is bound for its task");
        }
        Ok(())
    }

    /// Dead-letters a message of a hook that no queue takes.
    pub(super) fn dead_letters_hook(&self, id: JobId, detail: String) {
        let is_returned = self.server().inner(|inner| inner.returned_hooks.0.contains(&id));
        if is_returned {
            self.oracle(|oracle| oracle.excuses("a hook whose queue was deleted"));
        } else {
            self.server().inner(|inner| inner.dead.push(detail));
        }
    }

    /// Returns whether the message of a hook was returned because its queue was deleted, which no process has reported
    /// yet; one is reported now.
    pub(crate) fn reports_returned_hook(&self) -> bool {
        let Some(server) = &self.server else { return false };
        let is_returned = server.inner(|inner| {
            let n_unreported = &mut inner.returned_hooks.1;
            let is_returned = *n_unreported > 0;
            *n_unreported = n_unreported.saturating_sub(1);
            is_returned
        });
        if is_returned {
            self.oracle(|oracle| oracle.excuses("a hook whose queue was deleted"));
        }
        is_returned
    }
}
