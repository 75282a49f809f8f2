//! Connections and channels that the broker closes, and consumers that it cancels.

use std::sync::Arc;

use ork_core::message::Message;
use ork_ports::broker::BrokerErrorKind;
use tokio::sync::Notify;

use super::{Inner, Server, Troubles, mailbox_of};
use crate::executor::Owner;
use crate::names::Reached;
use crate::world::World;

/// The consumer timeout of RabbitMQ, unless it is configured: half an hour. It closes the channel of a delivery that
/// was not acknowledged for so long, and returns all deliveries of that channel to their queue.
const CONSUMER_TIMEOUT: u64 = 1_800_000_000;

/// How long the broker may take for one response, in microseconds.
pub(super) const DEADLINE: u64 = 10_000_000;

/// A process opens another channel within this time.
pub(crate) const RECONNECTS: u64 = 5_000_000;

/// How many readers of part queues are cancelled soon after they begin, and after how many microseconds at most.
const READERS: usize = 3;
const LONGEST_READING: u64 = 50_000;

/// How the broker closes a channel during a publish. It does so for an error in one of the messages, such as a missing
/// permission. What it has not confirmed by then is never confirmed, although part of it may be in the queues.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClosedPublisher {
    /// How many messages were taken before.
    pub(super) n_taken: usize,
    /// How many of these were confirmed.
    pub(super) n_confirmed: usize,
    /// What the adapter reports for the others. `None` if it publishes them again, one by one: it does that if the
    /// message of another caller, on the same channel, was too large.
    pub(super) kind: Option<BrokerErrorKind>,
}

impl Server {
    /// Draws whether, and how, the broker closes the channel of a publish.
    pub(super) fn closes_publisher(&self, owner: Owner, now: u64, n_messages: usize) -> Option<ClosedPublisher> {
        self.inner(|inner| {
            let dice = &mut inner.channel_dice;
            if !Troubles::concerns(&inner.troubles.closes_publishers, owner, now) || dice.percent(50) {
                return None;
            }
            let n_taken = dice.index(n_messages + 1);
            let n_confirmed = dice.index(n_taken + 1);
            let kind = match dice.below(4) {
                0 => None,
                // The other messages were not sent any more.
                1 => Some(BrokerErrorKind::Disconnected),
                2 => Some(BrokerErrorKind::Refused),
                _ => Some(BrokerErrorKind::Protocol),
            };
            Some(ClosedPublisher { n_taken, n_confirmed, kind })
        })
    }

    /// Returns whether a process can open channels: its connection has free numbers, or it can connect once more.
    pub(super) fn has_channels(&self, owner: Owner, now: u64) -> bool {
        let has_none = self.inner(|inner| Troubles::concerns(&inner.troubles.no_channels, owner, now));
        !has_none
    }

    /// The messages that were delivered to a process before this moment, and are not acknowledged, with the time of
    /// their deliveries.
    pub(crate) fn unacknowledged(&self, owner: Owner, before: u64) -> Vec<(Message, u64)> {
        self.inner(|inner| {
            let sessions = inner.sessions.values().filter(|session| session.owner == owner);
            let old = sessions.flat_map(|session| session.unacked.values()).filter(|stored| stored.delivered < before);
            old.filter_map(|stored| Some((stored.letter.message.clone().ok()?, stored.delivered))).collect()
        })
    }

    /// Until when no request to consume is answered.
    pub(super) fn moves_until(&self) -> u64 {
        self.inner(|inner| inner.troubles.moves_until)
    }
}

impl World {
    /// Cuts the connection of a process, which cannot connect again for a while.
    pub(crate) fn cut(&self, owner: Owner, lasts: u64) {
        let until = self.executor.now() + lasts * 1_000;
        self.server().inner(|inner| {
            let link = inner.links.entry(owner).or_default();
            (link.epoch, link.down_until) = (link.epoch + 1, link.down_until.max(until));
            inner.mailboxes.remove(&mailbox_of(owner));
        });
        self.note(owner, format_args!("loses its connection to the broker"));
        self.end_sessions(Some(owner));
    }

    /// Cuts all connections; no process can connect again for a while.
    pub(crate) fn cut_all(&self, lasts: u64) {
        let until = self.executor.now() + lasts * 1_000;
        self.server().inner(|inner| inner.troubles.away_until = inner.troubles.away_until.max(until));
        for owner in self.live_processes() {
            self.cut(owner, lasts);
        }
    }

    /// Closes the channels of a process, whose connection stays open.
    pub(crate) fn close_channels(&self, owner: Owner) {
        self.end_sessions(Some(owner));
    }

    /// Removes the connection of a process that has ended.
    pub(crate) fn disconnect(&self, owner: Owner) {
        let Some(server) = &self.server else { return };
        server.inner(|inner| {
            inner.links.entry(owner).or_default().epoch += 1;
            inner.mailboxes.remove(&mailbox_of(owner));
        });
        self.end_sessions(Some(owner));
    }

    /// Makes the broker slow until then, by up to this many milliseconds.
    pub(crate) fn slow_broker(&self, until: u64, most: u64) {
        self.server().inner(|inner| inner.troubles.late = (until, most));
    }

    pub(crate) fn block_publishers(&self, until: u64) {
        self.server().inner(|inner| inner.troubles.blocked_until = until);
    }

    pub(crate) fn fill_queues(&self, until: u64) {
        self.server().inner(|inner| inner.troubles.full_until = until);
    }

    /// Lets a process, or all of them (`None`), open no channel until then. A process opens another connection if the
    /// numbers of the current one are used up (`channel_max`), and waits for that if the broker accepts none.
    pub(crate) fn use_up_channels(&self, owner: Option<Owner>, until: u64) {
        self.server().inner(|inner| inner.troubles.no_channels.insert(owner, until));
    }

    /// Closes the channels on which a process, or any (`None`), publishes, until then.
    pub(crate) fn close_publishers(&self, owner: Option<Owner>, until: u64) {
        self.server().inner(|inner| inner.troubles.closes_publishers.insert(owner, until));
    }

    /// Sets the consumer timeout until then.
    pub(crate) fn set_consumer_timeout(&self, until: u64, longest: u64) {
        self.server().inner(|inner| inner.troubles.timeout = (until, longest));
    }

    /// Cancels all consumers, and answers no request to consume until then. Their channels stay open, and what was
    /// delivered on these can still be settled, until the adapter notices, closes the channel and opens another one.
    /// The reader of a part queue notices only when it reads: what it has read stays with it as long as it wants, and
    /// another process may become the reader in the meantime. As part queues are read for milliseconds only, the next
    /// readers are cancelled, too: their queues move later.
    pub(crate) fn cancel_consumers(self: &Arc<Self>, until: u64) {
        let cancelled = self.server().inner(|inner| {
            inner.troubles.moves_until = inner.troubles.moves_until.max(until);
            inner.troubles.cancels_readers = READERS;
            inner.cancel_sessions()
        });
        for _ in &cancelled {
            self.oracle(|oracle| oracle.reaches(Reached::ConsumersCancelled));
        }
        self.cancel_readers(|_queue, _number| true);
        self.notify_cancelled(cancelled);
    }

    /// Cancels the consumers of part queues that are selected by the names of their queues and their numbers.
    fn cancel_readers(&self, is_selected: impl Fn(&str, u64) -> bool) {
        let cancelled = self.server().inner(|inner| inner.sets.cancel_readers(is_selected));
        for queue in cancelled {
            self.note(Owner::WORLD, format_args!("{queue} loses its reader"));
            self.oracle(|oracle| oracle.reaches(Reached::ReadersCancelled));
        }
    }

    /// Cancels this new reader soon, if a trouble requires that.
    pub(super) fn cancel_reader_soon(self: &Arc<Self>, queue: &str, number: u64) {
        let delay = self.server().inner(|inner| {
            let left = inner.troubles.cancels_readers.checked_sub(1)?;
            inner.troubles.cancels_readers = left;
            Some(inner.channel_dice.any_size(LONGEST_READING))
        });
        let Some(delay) = delay else { return };
        let (world, queue) = (Arc::clone(self), queue.to_owned());
        self.executor.spawn(Owner::WORLD, async move {
            world.executor.sleep(delay).await;
            world.cancel_readers(|of, reader| of == queue && reader == number);
        });
    }

    /// Notifies the consumers that were cancelled, each after a while.
    pub(super) fn notify_cancelled(self: &Arc<Self>, cancelled: Vec<Arc<Notify>>) {
        let late = self.server().late(self.executor.now());
        for notify in cancelled {
            let dice =
                |inner: &mut Inner| inner.channel_dice.between(100, 2_000) + inner.channel_dice.any_size(late * 1_000);
            let (world, delay) = (Arc::clone(self), self.server().inner(dice));
            self.executor.spawn(Owner::WORLD, async move {
                world.executor.sleep(delay).await;
                notify.notify_one();
            });
        }
    }

    /// Closes the channels with a delivery that was not acknowledged for longer than the consumer timeout. RabbitMQ
    /// looks once a minute, this broker each second, so that short timeouts can be used.
    pub(crate) fn close_overdue_channels(&self) {
        let Some(server) = &self.server else { return };
        let now = self.executor.now();
        let (sessions, readers) = server.inner(|inner| {
            let (until, longest) = inner.troubles.timeout;
            let longest = if now < until { longest } else { CONSUMER_TIMEOUT };
            let is_overdue = |delivered: u64| delivered + longest < now;
            let sessions = inner
                .sessions
                .iter()
                .filter(|(_, session)| session.unacked.values().any(|stored| is_overdue(stored.delivered)));
            let sessions: Vec<_> = sessions.map(|(number, session)| (*number, session.owner)).collect();
            (sessions, inner.sets.overdue(is_overdue))
        });
        for (number, owner) in sessions {
            self.times_out(owner);
            self.end_session(number);
        }
        for (queue, number, owner) in readers {
            self.times_out(owner);
            self.end_reading(&queue, number);
        }
    }

    /// Records that the consumer timeout closes a channel of a process.
    fn times_out(&self, owner: Owner) {
        let now = self.executor.now();
        let process = format!("p{}", owner.0);
        self.note(Owner::WORLD, format_args!("{process} loses a channel by the consumer timeout"));
        self.oracle(|oracle| {
            oracle.reaches(Reached::ConsumersTimedOut);
            oracle.disturbs(Some(owner), now, now + RECONNECTS);
        });
    }
}

impl Inner {
    /// Cancels the consumers of work queues, and returns what notifies them. A consumer that its process has cancelled
    /// is none any more.
    pub(super) fn cancel_sessions(&mut self) -> Vec<Arc<Notify>> {
        let consumes = self.sessions.values_mut().filter(|session| !session.stops);
        let cancel = |session: &mut super::Session| {
            session.stops = true;
            Arc::clone(&session.cancelled)
        };
        consumes.map(cancel).collect()
    }
}
