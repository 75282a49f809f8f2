//! The connection of one process to the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ork::Event;
use ork_core::message::Outgoing;
use ork_ports::broker::{
    Broker, BrokerError, BrokerErrorKind, PartQueues, PartRecord, Replies, Subscribe, Subscription,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::channels::{ClosedPublisher, DEADLINE};
use super::session::{self, Driver};
use super::{NotTaken, mailbox_of};
use crate::dice::Dice;
use crate::executor::Owner;
use crate::names::Reached;
use crate::world::World;

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: u64 = 3_000_000;

/// The connection of one process.
#[derive(Debug)]
pub(crate) struct BrokerEnd {
    pub(super) world: Arc<World>,
    pub(super) owner: Owner,
    dice: Mutex<Dice>,
    /// Fires when the process disconnects from the broker.
    pub(super) closing: CancellationToken,
    /// Fires when the connection is closed, and nothing waits for it any longer.
    closed: CancellationToken,
    /// The work queues that the process has declared, with their tasks. It declares them again on each new connection.
    declared: Mutex<BTreeMap<String, Vec<String>>>,
    /// The connection on which they are declared.
    prepared: Mutex<Option<u64>>,
    /// The connection on which the channel for publishing is open, if it is.
    publishing: Mutex<Option<u64>>,
    /// The connection on which the channel for counting records is open, if it is.
    counting: Mutex<Option<u64>>,
    /// The part queues that the process reads.
    pub(super) reads: Mutex<BTreeSet<String>>,
    /// Each session that has not ended holds a clone of this sender.
    sessions: Mutex<Option<mpsc::Sender<()>>>,
    all_ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

pub(super) fn error(kind: BrokerErrorKind, detail: &str) -> BrokerError {
    BrokerError::new(kind, format!("the simulated broker {detail}"))
}

impl BrokerEnd {
    pub(crate) fn open(world: &Arc<World>, owner: Owner) -> Arc<Self> {
        let dice = Dice::new(world.scenario.seed, "broker", owner.0.into());
        let (sessions, all_ended) = mpsc::channel(1);
        Arc::new(Self {
            world: Arc::clone(world),
            owner,
            dice: Mutex::new(dice),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            declared: Mutex::default(),
            prepared: Mutex::default(),
            publishing: Mutex::default(),
            counting: Mutex::default(),
            reads: Mutex::default(),
            sessions: Mutex::new(Some(sessions)),
            all_ended: tokio::sync::Mutex::new(all_ended),
        })
    }

    /// Draws how long a request or a response is under way, in microseconds.
    pub(super) fn delay(&self) -> u64 {
        let late = self.world.server().late(self.world.executor.now());
        let mut dice = self.dice.lock().unwrap();
        dice.between(100, 2_000) + dice.any_size(late * 1_000)
    }

    pub(super) async fn pause(&self, micros: u64) {
        self.world.executor.sleep(micros).await;
    }

    /// Waits for a connection and returns its number; `None` after the deadline.
    pub(super) async fn connected(&self) -> Option<u64> {
        self.connected_if(|_now| true).await
    }

    /// Waits for a connection on which this holds.
    async fn connected_if(&self, is_usable: impl Fn(u64) -> bool) -> Option<u64> {
        let until = self.world.executor.now() + DEADLINE;
        let mut pause = 100_000;
        loop {
            let now = self.world.executor.now();
            if let Some(epoch) = self.world.server().connection(self.owner, now).filter(|_| is_usable(now)) {
                return Some(epoch);
            }
            if now >= until {
                return None;
            }
            let jitter = self.dice.lock().unwrap().below(pause / 2 + 1);
            self.pause(pause - jitter).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Opens a channel, and returns the number of its connection. If the current connection has no free number, the
    /// adapter waits for another one until the deadline, and reports the last error of connecting.
    pub(super) async fn channel(&self) -> Result<u64, BrokerError> {
        let has_channels = |now| self.world.server().has_channels(self.owner, now);
        if !has_channels(self.world.executor.now()) {
            self.world.oracle(|oracle| oracle.reaches(Reached::NoChannels));
        }
        let opened = self.connected_if(has_channels).await;
        opened.ok_or_else(|| error(BrokerErrorKind::Disconnected, "cannot be reached"))
    }

    /// Opens the channel for publishing, unless it is open, and returns the number of its connection.
    async fn publishing_channel(&self) -> Result<u64, BrokerError> {
        let epoch = self.kept_channel(&self.publishing).await?;
        self.declare_again(epoch);
        Ok(epoch)
    }

    /// Opens the channel for counting records, unless it is open, and returns the number of its connection.
    pub(super) async fn counting_channel(&self) -> Result<u64, BrokerError> {
        self.kept_channel(&self.counting).await
    }

    pub(super) fn close_counting_channel(&self) {
        *self.counting.lock().unwrap() = None;
    }

    async fn kept_channel(&self, kept: &Mutex<Option<u64>>) -> Result<u64, BrokerError> {
        let epoch = self.connected().await;
        let epoch = epoch.ok_or_else(|| error(BrokerErrorKind::Disconnected, "cannot be reached"))?;
        if *kept.lock().unwrap() == Some(epoch) {
            return Ok(epoch);
        }
        let epoch = self.channel().await?;
        *kept.lock().unwrap() = Some(epoch);
        Ok(epoch)
    }

    /// Declares the work queues of this process once on each connection.
    pub(super) fn declare_again(&self, epoch: u64) {
        if self.prepared.lock().unwrap().replace(epoch) == Some(epoch) {
            return;
        }
        let declared = self.declared.lock().unwrap();
        self.world.server().inner(|inner| declared.iter().for_each(|(queue, tasks)| inner.declare(queue, tasks)));
    }

    /// Declares a work queue, and remembers it for later connections.
    pub(super) fn declare(&self, queue: &str, tasks: &[String]) {
        self.declared.lock().unwrap().insert(queue.to_owned(), tasks.to_vec());
        self.world.server().inner(|inner| inner.declare(queue, tasks));
    }

    /// Waits until the broker answers a request to consume on this connection.
    pub(super) async fn consumes(&self, epoch: u64) -> Result<(), BrokerError> {
        let (now, until) = (self.world.executor.now(), self.world.server().moves_until());
        let wait = until.saturating_sub(now);
        if wait > 0 {
            self.pause(wait.min(DEADLINE)).await;
        }
        if !self.is_up(epoch) {
            return Err(error(BrokerErrorKind::Disconnected, "was lost"));
        }
        if wait > DEADLINE { Err(error(BrokerErrorKind::TimedOut, "did not respond in time")) } else { Ok(()) }
    }

    /// Returns whether this is still the current connection.
    pub(super) fn is_up(&self, epoch: u64) -> bool {
        self.world.server().connection(self.owner, self.world.executor.now()) == Some(epoch)
    }

    /// Makes a request, for which a channel is open.
    pub(super) async fn reach(&self) -> Result<u64, BrokerError> {
        let epoch = self.connected().await;
        self.request(epoch.ok_or_else(|| error(BrokerErrorKind::Disconnected, "cannot be reached"))?).await
    }

    /// Makes a request on a separate channel.
    pub(super) async fn reach_by_channel(&self) -> Result<u64, BrokerError> {
        self.request(self.channel().await?).await
    }

    /// Makes a request on a connection, and returns the number of that.
    pub(super) async fn request(&self, epoch: u64) -> Result<u64, BrokerError> {
        self.pause(self.delay() + self.delay()).await;
        if self.is_up(epoch) { Ok(epoch) } else { Err(error(BrokerErrorKind::Disconnected, "was lost")) }
    }

    /// Publishes, and returns whether it was confirmed. A message that is under way arrives even if the process has
    /// died.
    pub(super) async fn send_copy(&self, letter: super::Letter, of: (u64, u64)) -> Result<(), BrokerError> {
        let results = self.send_all(vec![Sent::Copy(Box::new(letter), of)]).await;
        results.into_iter().collect()
    }

    pub(super) async fn send_all(&self, what: Vec<Sent>) -> Vec<Result<(), BrokerError>> {
        let n_sent = what.len();
        let all = |kind, detail: &str| (0..n_sent).map(|_| Err(error(kind, detail))).collect::<Vec<_>>();
        let Ok(epoch) = self.publishing_channel().await else {
            return all(BrokerErrorKind::Disconnected, "cannot be reached");
        };
        let (sender, receiver) = oneshot::channel();
        let (there, back, arrives) = {
            let late = self.world.server().late(self.world.executor.now());
            let mut dice = self.dice.lock().unwrap();
            let mut delay = || dice.between(100, 2_000) + dice.any_size(late * 1_000);
            let (there, back) = (delay(), delay());
            // If the connection is cut meanwhile, this many of them arrive.
            (there, back, dice.index(n_sent + 1))
        };
        let (world, owner) = (Arc::clone(&self.world), self.owner);
        self.world.executor.spawn(Owner::WORLD, async move {
            world.executor.sleep(there).await;
            let is_up = || world.server().connection(owner, world.executor.now()) == Some(epoch);
            while world.executor.now() < world.server().inner(|inner| inner.troubles.blocked_until) {
                let until = world.server().inner(|inner| inner.troubles.blocked_until);
                world.executor.sleep(until - world.executor.now()).await;
            }
            let closed = world.server().closes_publisher(owner, world.executor.now(), n_sent).filter(|_| is_up());
            let most = if is_up() { n_sent } else { arrives };
            let taken = match closed {
                Some(closed) => arrive_until_closed(&world, owner, what, closed, there + back).await,
                None => what.into_iter().take(most).map(|sent| sent.arrives(&world, owner)).collect(),
            };
            world.executor.sleep(back).await;
            if is_up() {
                drop(sender.send(taken));
            } else {
                world.oracle(|oracle| oracle.reaches(Reached::ConfirmsLost));
            }
        });
        let deadline = self.world.executor.sleep(DEADLINE);
        let taken = tokio::select! {
            biased;
            taken = receiver => taken.ok(),
            () = deadline => return all(BrokerErrorKind::TimedOut, "did not respond in time"),
        };
        let Some(taken) = taken else { return all(BrokerErrorKind::Disconnected, "was lost") };
        let result = |taken| match taken {
            Ok(()) => Ok(()),
            Err(NotTaken::NoQueue) => Err(error(BrokerErrorKind::Undeliverable, "has no queue for it")),
            Err(NotTaken::Full) => Err(error(BrokerErrorKind::Disconnected, "did not take the message")),
            Err(NotTaken::Closed(kind)) => Err(error(kind, "closed the channel")),
        };
        taken.into_iter().map(result).collect()
    }
}

/// Publishes on a channel that the broker closes meanwhile. The process opens another one for what it publishes next,
/// or for the rest of these messages, after `again` microseconds.
async fn arrive_until_closed(
    world: &Arc<World>,
    owner: Owner,
    what: Vec<Sent>,
    closed: ClosedPublisher,
    again: u64,
) -> Vec<Result<(), NotTaken>> {
    let ClosedPublisher { n_taken, n_confirmed, kind } = closed;
    world.oracle(|oracle| oracle.reaches(Reached::PublishersClosed));
    world.note(owner, format_args!("loses its channel for publishing, {n_taken} of {} messages arrive", what.len()));
    if let Some(end) = world.broker_end(owner) {
        *end.publishing.lock().unwrap() = None;
    }
    let (n_sent, rest) = (what.len(), what.get(n_confirmed..).unwrap_or_default().to_vec());
    let mut taken: Vec<_> = what.into_iter().take(n_taken).map(|sent| sent.arrives(world, owner)).collect();
    taken.truncate(n_confirmed);
    if let Some(kind) = kind {
        taken.resize(n_sent, Err(NotTaken::Closed(kind)));
        return taken;
    }
    if !rest.is_empty() {
        world.oracle(|oracle| oracle.reaches(Reached::PublishedOneByOne));
    }
    for sent in rest {
        world.executor.sleep(again).await;
        taken.push(sent.arrives(world, owner));
    }
    taken
}

/// The messages and records that a process publishes.
#[derive(Debug, Clone)]
pub(super) enum Sent {
    New(Box<Outgoing>),
    /// A copy of a delivery, with the session and the tag of that.
    Copy(Box<super::Letter>, (u64, u64)),
    /// A record for a part queue.
    Record(PartRecord),
}

impl Sent {
    fn arrives(self, world: &Arc<World>, from: Owner) -> Result<(), NotTaken> {
        match self {
            Self::New(outgoing) => world.arrives(from, *outgoing),
            Self::Copy(letter, of) => world.takes_copy(from, *letter, of),
            Self::Record(record) => world.takes_record(from, record),
        }
    }
}

#[async_trait]
impl Broker for BrokerEnd {
    fn needs_relay(&self) -> bool {
        true
    }

    async fn prepare(&self, queues: &[Subscribe]) -> Result<(), BrokerError> {
        let epoch = self.reach_by_channel().await?;
        self.declare_again(epoch);
        for queue in queues {
            self.declare(&queue.queue, &queue.tasks);
        }
        Ok(())
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>> {
        if self.closing.is_cancelled() {
            return messages.iter().map(|_| Err(error(BrokerErrorKind::Closed, "was closed"))).collect();
        }
        self.send_all(messages.into_iter().map(|message| Sent::New(Box::new(message))).collect()).await
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        let epoch = self.reach_by_channel().await?;
        self.consumes(epoch).await?;
        let Some(alive) = self.sessions.lock().unwrap().clone() else {
            return Err(error(BrokerErrorKind::Closed, "was closed"));
        };
        let end = self.world.broker_end(self.owner).ok_or_else(|| error(BrokerErrorKind::Closed, "was closed"))?;
        let (driver, stream) = Driver::new(end, subscribe);
        let first = driver.open(epoch);
        let closed = self.closed.clone();
        self.world.executor.spawn(self.owner, async move {
            closed.run_until_cancelled(driver.run(first)).await;
            drop(alive);
        });
        Ok(Box::new(stream))
    }

    async fn replies(&self) -> Result<Option<Replies>, BrokerError> {
        self.reach_by_channel().await?;
        let (sender, receiver) = mpsc::channel(1_024);
        let queue = mailbox_of(self.owner);
        // The queue exists again as soon as the process is connected again.
        if let Some(end) = self.world.broker_end(self.owner) {
            self.world.executor.spawn(self.owner, session::collect(end, sender));
        }
        Ok(Some(Replies { queue, replies: receiver }))
    }

    async fn events(&self) -> Result<Option<mpsc::Receiver<Event>>, BrokerError> {
        self.reach_by_channel().await?;
        let (listener, events) = mpsc::channel(65_536);
        self.world.server().inner(|inner| inner.listeners.insert(self.owner, listener));
        Ok(Some(events))
    }

    fn parts(&self) -> Option<&dyn PartQueues> {
        Some(self)
    }

    async fn waiting(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        self.reach_by_channel().await?;
        let ready = self.world.server().inner(|inner| inner.queues.get(queue).map_or(0, |queue| queue.ready.len()));
        Ok(Some(ready.try_into().unwrap()))
    }

    async fn check(&self) -> Result<String, BrokerError> {
        self.reach_by_channel().await.map(|_epoch| "simulated".to_owned())
    }

    async fn close(&self) {
        self.closing.cancel();
        let sessions = self.sessions.lock().unwrap().take();
        drop(sessions);
        let ended = async { self.all_ended.lock().await.recv().await };
        tokio::select! {
            biased;
            _none = ended => {}
            () = self.pause(2_000_000) => {}
        }
        self.closed.cancel();
        self.world.disconnect(self.owner);
    }
}
