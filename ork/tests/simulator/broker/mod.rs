//! The simulated broker: queues that behave like those of RabbitMQ. `end` is the connection of one process to it.
//!
//! It delivers at least once: a message that is not acknowledged is delivered again once its channel has ended. It has
//! the troubles that RabbitMQ has: connections are cut, channels closed and consumers cancelled, confirms are lost,
//! publishers are blocked or refused, and confirmed messages are lost all the same by purges, by policies, with nodes and
//! with deleted queues.

mod channels;
mod duplicates;
mod end;
mod losses;
mod other_programs;
mod parts;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use ork::{Event, JobId};
use ork_core::message::{HookMessage, Message, Outgoing};
use ork_ports::broker::{BrokerErrorKind, Delivery, Rejected, ReplyDelivery};
use tokio::sync::{Notify, mpsc};

use self::duplicates::work_key;
pub(crate) use channels::RECONNECTS;
pub(crate) use end::BrokerEnd;

use self::parts::Sets;
use self::session::SimulatedAcker;
use super::dice::Dice;
use super::executor::Owner;
use super::scenario::QueueKind;
use super::world::World;

/// A quorum queue dead-letters a message that it has delivered this often.
const DELIVERY_LIMIT: u32 = 100;

/// A message as it travels; its body may be unreadable.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) message: Result<Message, Rejected>,
    /// Whether it replaces a delivery.
    pub(crate) is_copy: bool,
    /// Whether its sender has set no message id.
    pub(crate) anonymous: bool,
    /// Whether another program has sent it.
    pub(crate) foreign: bool,
}

/// A letter in a queue.
#[derive(Debug, Clone)]
struct Stored {
    letter: Letter,
    /// How often it was delivered before: a classic queue only knows whether it was.
    count: u32,
    /// When it arrived, in virtual microseconds.
    since: u64,
    /// When it was last delivered.
    delivered: u64,
    /// Whether its consumer has published a copy of it, and will acknowledge it after that.
    is_copied: bool,
}

#[derive(Debug)]
struct Queue {
    /// Distinguishes it from earlier queues of the same name.
    number: u64,
    ready: VecDeque<Stored>,
}

/// A consumer, with its channel.
#[derive(Debug)]
struct Session {
    owner: Owner,
    queue: String,
    /// The number of the queue: what was delivered from a deleted one does not return to another of its name.
    of: u64,
    window: usize,
    /// Whether it receives no further deliveries.
    stops: bool,
    next_tag: u64,
    unacked: BTreeMap<u64, Stored>,
    /// The deliveries that are under way to the consumer, in order.
    wire: mpsc::UnboundedSender<(u64, Stored)>,
    /// Notified when its channel has ended.
    ended: Arc<Notify>,
    /// Notified when the broker has cancelled the consumer, whose channel stays open.
    cancelled: Arc<Notify>,
}

/// The connection of a process.
#[derive(Debug, Default)]
struct Link {
    /// Counts how often it was cut.
    epoch: u64,
    /// Until when the process cannot connect again.
    down_until: u64,
}

/// The current troubles of the broker as a whole.
#[derive(Debug, Default)]
struct Troubles {
    /// Until when it is slow, and by how many milliseconds at most.
    late: (u64, u64),
    /// Until when it accepts no connections.
    away_until: u64,
    /// Until when it reads nothing from publishers, as it is short of memory.
    blocked_until: u64,
    /// Until when its queues refuse messages.
    full_until: u64,
    /// Until when messages expire, and after how many microseconds in their queue.
    expires: (u64, u64),
    /// Until when queues drop the oldest messages beyond this number.
    longest: (u64, usize),
    /// Until when it answers no request to consume.
    moves_until: u64,
    /// How many readers of part queues it cancels soon after they begin.
    cancels_readers: usize,
    /// Until when a process, or any (`None`), can open no channel.
    no_channels: BTreeMap<Option<Owner>, u64>,
    /// Until when it closes the channels on which a process, or any (`None`), publishes.
    closes_publishers: BTreeMap<Option<Owner>, u64>,
    /// Until when it has another consumer timeout than the default, in microseconds.
    timeout: (u64, u64),
}

impl Troubles {
    /// Returns whether a trouble of single processes, or of all of them, concerns this one now.
    fn concerns(of: &BTreeMap<Option<Owner>, u64>, owner: Owner, now: u64) -> bool {
        [None, Some(owner)].iter().any(|owner| of.get(owner).is_some_and(|until| now < *until))
    }
}

/// The state of the broker.
#[derive(Debug)]
pub(crate) struct Server {
    kind: QueueKind,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    queues: BTreeMap<String, Queue>,
    next_queue: u64,
    sets: Sets,
    /// The queue of each task.
    routes: BTreeMap<String, String>,
    /// The tasks whose queues were deleted, and are not declared yet.
    deleted: BTreeSet<String>,
    /// The messages of hooks that were returned, because their queues were deleted, and of how many of these no process
    /// has reported that yet.
    returned_hooks: (BTreeSet<JobId>, usize),
    sessions: BTreeMap<u64, Session>,
    next_session: u64,
    links: BTreeMap<Owner, Link>,
    mailboxes: BTreeMap<String, mpsc::Sender<ReplyDelivery>>,
    listeners: BTreeMap<Owner, mpsc::Sender<Event>>,
    troubles: Troubles,
    dead: Vec<String>,
    /// The parts that have had a message.
    parts: BTreeSet<String>,
    dice: Dice,
    channel_dice: Dice,
}

impl Inner {
    /// Declares a work queue, and binds it for its tasks.
    fn declare(&mut self, name: &str, tasks: &[String]) {
        if !self.queues.contains_key(name) {
            self.next_queue += 1;
            self.queues.insert(name.to_owned(), Queue { number: self.next_queue, ready: VecDeque::new() });
        }
        self.routes.extend(tasks.iter().map(|task| (task.clone(), name.to_owned())));
        self.deleted.retain(|task| !tasks.contains(task));
    }
}

/// Why a publish was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// No queue is bound for it.
    NoQueue,
    /// Its queue refuses messages at the moment.
    Full,
    /// Its channel was closed; the error of the adapter has this kind.
    Closed(BrokerErrorKind),
}

/// How a message is published, which decides what happens if no queue is bound for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    /// The exchange of work. A message without a queue is confirmed, and goes to the dead letters, as this exchange has
    /// an alternate one.
    Work,
    /// The exchange of hooks. A message without a queue is returned.
    Hooks,
    /// The default exchange, for a copy that replaces a delivery. A message without a queue is returned.
    Default,
}

impl Server {
    pub(crate) fn new(kind: QueueKind, seed: u64) -> Self {
        let inner = Inner {
            queues: BTreeMap::new(),
            next_queue: 0,
            sets: Sets::default(),
            routes: BTreeMap::new(),
            deleted: BTreeSet::new(),
            returned_hooks: (BTreeSet::new(), 0),
            sessions: BTreeMap::new(),
            next_session: 0,
            links: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            listeners: BTreeMap::new(),
            troubles: Troubles::default(),
            dead: Vec::new(),
            parts: BTreeSet::new(),
            dice: Dice::new(seed, "broker", 0),
            channel_dice: Dice::new(seed, "channels", 0),
        };
        Self { kind, inner: Mutex::new(inner) }
    }

    fn inner<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.inner.lock().unwrap())
    }

    /// Draws by how many milliseconds a response is late.
    fn late(&self, now: u64) -> u64 {
        let (until, most) = self.inner(|inner| inner.troubles.late);
        if now < until { most } else { 0 }
    }

    /// The number of a process's connection, if it is connected or can connect.
    fn connection(&self, owner: Owner, now: u64) -> Option<u64> {
        self.inner(|inner| {
            let away = inner.troubles.away_until;
            let link = inner.links.entry(owner).or_default();
            (now >= link.down_until.max(away)).then_some(link.epoch)
        })
    }

    /// The process that has an unacknowledged delivery of this job.
    pub(crate) fn holder(&self, job: JobId) -> Option<Owner> {
        let is_of = |stored: &Stored| stored.letter.message.as_ref().is_ok_and(|message| message.job == job);
        self.inner(|inner| {
            let mut sessions = inner.sessions.values();
            sessions.find(|session| session.unacked.values().any(is_of)).map(|session| session.owner)
        })
    }

    /// The messages that are left in queues, or unacknowledged.
    pub(crate) fn left(&self) -> Vec<String> {
        self.inner(|inner| {
            let ready = inner.queues.values().flat_map(|queue| &queue.ready);
            let unacked = inner.sessions.values().flat_map(|session| session.unacked.values());
            ready.chain(unacked).map(|stored| named(&stored.letter)).collect()
        })
    }

    /// The part queues that exist.
    pub(crate) fn sets(&self) -> Vec<String> {
        self.inner(|inner| inner.sets.left())
    }

    /// Why messages from processes of ork were dead-lettered.
    pub(crate) fn dead(&self) -> Vec<String> {
        self.inner(|inner| inner.dead.clone())
    }

    /// Dead-letters a letter.
    fn dead_letter(&self, letter: &Letter, why: &str) {
        if !letter.foreign {
            self.inner(|inner| inner.dead.push(format!("{}: {why}", named(letter))));
        }
    }
}

/// Describes a message for the trace.
pub(crate) fn describe(message: &Message) -> String {
    format!("{} {} {:?} attempt {}", message.task, message.job, message.kind, message.attempt)
}

/// Describes a letter for the trace.
fn named(letter: &Letter) -> String {
    match &letter.message {
        Ok(message) => describe(message),
        Err(refused) => format!("no message: {}", refused.detail),
    }
}

impl World {
    /// The broker of a run that has one.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Routes what a process publishes to its queue.
    fn arrives(self: &Arc<Self>, from: Owner, outgoing: Outgoing) -> Result<(), NotTaken> {
        let (message, through) = match outgoing {
            Outgoing::Work(message) => (message, Through::Work),
            Outgoing::Hook(HookMessage { failed: Some(detail), id, .. }) => {
                self.dead_letters_hook(id, detail);
                return Ok(());
            }
            Outgoing::Hook(follow) => {
                let message = Message { body: follow.body, ..Message::about(follow.id, &follow.task) };
                (message, Through::Hooks)
            }
            Outgoing::Reply(reply) => {
                let delivery = ReplyDelivery { correlation: reply.to.correlation.clone(), body: reply.body() };
                let mailbox = self.server().inner(|inner| inner.mailboxes.get(&reply.to.queue).cloned());
                let taken = mailbox.and_then(|mailbox| mailbox.try_send(delivery).ok());
                if taken.is_none() {
                    self.oracle(|oracle| oracle.replies_lost += 1);
                }
                return taken.ok_or(NotTaken::NoQueue);
            }
            Outgoing::Event(event) => {
                self.deliver_event(from, &event);
                return Ok(());
            }
            Outgoing::Hooks { .. } | Outgoing::PendingEvent { .. } => return Err(NotTaken::NoQueue),
        };
        let letter = Letter { message: Ok(message), is_copy: false, anonymous: false, foreign: false };
        self.note_duplicate(&letter);
        self.takes_letter(from, letter, through)
    }

    /// Delivers an event to all listeners; a listener without a connection misses it.
    fn deliver_event(&self, from: Owner, event: &Event) {
        let now = self.executor.now();
        let missed = self.server().inner(|inner| {
            let Inner { listeners, links, troubles, .. } = inner;
            let is_away =
                |owner: &Owner| now < links.get(owner).map_or(0, |link| link.down_until).max(troubles.away_until);
            let is_reached = |(owner, listener): (&Owner, &mpsc::Sender<Event>)| {
                !is_away(owner) && listener.try_send(event.clone()).is_ok()
            };
            let n_reached = listeners.iter().filter(|listener| is_reached(*listener)).count();
            n_reached < listeners.len() || listeners.is_empty()
        });
        if missed {
            self.published_events(|published| published.missed.insert(event.job));
        } else {
            self.check_event(from, event);
        }
    }

    /// Puts a letter into the queue of its task. Nothing prevents the calls of two letters for the same work from
    /// running at once. A copy that replaces a delivery is not a second letter, until that delivery is delivered
    /// again.
    fn takes_letter(self: &Arc<Self>, from: Owner, letter: Letter, through: Through) -> Result<(), NotTaken> {
        let (now, detail) = (self.executor.now(), named(&letter));
        let (has_store, is_double) = (self.has_store(), from == Owner::WORLD && !letter.foreign);
        let part = work_key(&letter, has_store, is_double);
        let found = self.server().inner(|inner| {
            let route = letter.message.as_ref().ok().and_then(|message| inner.routes.get(&message.task));
            // A message without a known task comes from another program, which publishes into a queue directly.
            let name = match route {
                None if from == Owner::WORLD => inner.queues.keys().next(),
                route => route,
            };
            let Some(name) = name.cloned() else { return Ok(None) };
            if now < inner.troubles.full_until {
                return Err(NotTaken::Full);
            }
            let Some(queue) = inner.queues.get_mut(&name) else { return Ok(None) };
            let letter = letter.clone();
            queue.ready.push_back(Stored { letter, count: 0, since: now, delivered: 0, is_copied: false });
            Ok(Some(name))
        })?;
        let Some(queue) = found else { return self.finds_no_queue(from, &letter, through) };
        self.note(from, format_args!("queue  {queue} takes {detail}"));
        if let Some(part) = part
            && through != Through::Default
            && (!self.server().inner(|inner| inner.parts.insert(part.clone())) || (is_double && has_store))
        {
            self.oracle(|oracle| oracle.copied(part));
        }
        self.hand_out(&queue);
        Ok(())
    }

    /// Delivers waiting messages of a queue to consumers that have room.
    fn hand_out(&self, queue: &str) {
        let now = self.executor.now();
        let n_dropped = self.server().inner(|inner| {
            let Inner { queues, sessions, dice, troubles, .. } = inner;
            let Some(Queue { ready, number }) = queues.get_mut(queue) else { return 0 };
            let (until, longest) = troubles.expires;
            if now < until {
                ready.retain(|stored| stored.since + longest > now);
            }
            while !ready.is_empty() {
                let has_room = |session: &&mut Session| {
                    session.of == *number && !session.stops && session.unacked.len() < session.window
                };
                let mut free: Vec<_> = sessions.values_mut().filter(has_room).collect();
                let at = dice.index(free.len());
                let (Some(session), Some(mut stored)) = (free.get_mut(at), ready.front().cloned()) else { break };
                ready.pop_front();
                stored.delivered = now;
                session.next_tag += 1;
                session.unacked.insert(session.next_tag, stored.clone());
                drop(session.wire.send((session.next_tag, stored)));
            }
            losses::drop_oldest(ready, troubles, now)
        });
        self.note_dropped(queue, n_dropped);
    }

    /// Returns messages whose delivery has failed to their old place in the queue with this number. If it was deleted,
    /// they are lost.
    fn requeue(&self, queue: &str, of: u64, mut back: Vec<Stored>) {
        let (kind, has_store) = (self.server().kind, self.has_store());
        for stored in &mut back {
            if std::mem::take(&mut stored.is_copied)
                && let Some(part) = work_key(&stored.letter, has_store, true)
            {
                self.oracle(|oracle| oracle.copied(part));
            }
        }
        let n_lost = self.server().inner(|inner| {
            let found = inner.queues.get_mut(queue).filter(|queue| queue.number == of);
            let Some(Queue { ready, .. }) = found else { return back.len() };
            for mut stored in back.into_iter().rev() {
                stored.count = if kind == QueueKind::Quorum { stored.count + 1 } else { 1 };
                if stored.count > DELIVERY_LIMIT {
                    inner.dead.push(format!("{}: delivered too often", named(&stored.letter)));
                } else {
                    ready.push_front(stored);
                }
            }
            0
        });
        self.note_deleted(queue, n_lost);
        self.hand_out(queue);
    }

    /// Ends the channel of a consumer.
    fn end_session(&self, number: u64) {
        let Some(session) = self.server().inner(|inner| inner.sessions.remove(&number)) else { return };
        session.ended.notify_one();
        for message in session.unacked.values().filter_map(|stored| stored.letter.message.as_ref().ok()) {
            self.oracle(|oracle| oracle.loses_message(message));
        }
        self.requeue(&session.queue, session.of, session.unacked.into_values().collect());
    }

    /// Ends all channels of a process, or of all processes (`None`).
    fn end_sessions(&self, owner: Option<Owner>) {
        let concerns = |session: &Session| owner.is_none_or(|owner| session.owner == owner);
        let numbers: Vec<_> = self.server().inner(|inner| {
            inner.sessions.iter().filter(|(_, session)| concerns(session)).map(|(number, _)| *number).collect()
        });
        for number in numbers {
            self.end_session(number);
        }
        let now = self.executor.now();
        self.server().inner(|inner| inner.sets.disconnect(owner, now));
    }
}

/// The name of a process's reply queue.
fn mailbox_of(owner: Owner) -> String {
    format!("replies of p{}", owner.0)
}

fn delivery(letter: Letter, redelivered: u32, acker: SimulatedAcker) -> Delivery {
    let lost = letter.message.as_ref().map_or(0, |message| message.losses);
    Delivery {
        message: letter.message,
        redelivered: redelivered + lost,
        is_copy: letter.is_copy,
        anonymous: letter.anonymous,
        acker: Box::new(acker),
    }
}
