//! The connection of one process to the broker.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ork::Event;
use ork_core::message::Outgoing;
use ork_ports::broker::{
    Broker, BrokerError, BrokerErrorKind, PartQueues, PartRecord, Replies, Subscribe, Subscription,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::session::{self, Driver};
use super::{NotTaken, mailbox_of};
use crate::dice::Dice;
use crate::executor::Owner;
use crate::names::Reached;
use crate::world::World;

/// How long the broker may take for one response, in microseconds.
const DEADLINE: u64 = 10_000_000;

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
        let until = self.world.executor.now() + DEADLINE;
        let mut pause = 100_000;
        loop {
            let now = self.world.executor.now();
            if let Some(epoch) = self.world.server().connection(self.owner, now) {
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

    /// Returns whether this is still the current connection.
    pub(super) fn is_up(&self, epoch: u64) -> bool {
        self.world.server().connection(self.owner, self.world.executor.now()) == Some(epoch)
    }

    pub(super) async fn reach(&self) -> Result<u64, BrokerError> {
        let epoch = self.connected().await;
        let epoch = epoch.ok_or_else(|| error(BrokerErrorKind::Disconnected, "cannot be reached"))?;
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
        let Some(epoch) = self.connected().await else {
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
            let most = if is_up() { n_sent } else { arrives };
            let taken: Vec<_> = what.into_iter().take(most).map(|sent| sent.arrives(&world, owner)).collect();
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
        };
        taken.into_iter().map(result).collect()
    }
}

/// The messages and records that a process publishes.
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
        self.reach().await?;
        self.world.server().inner(|inner| {
            for queue in queues {
                inner.queues.entry(queue.queue.clone()).or_default();
                inner.routes.extend(queue.tasks.iter().map(|task| (task.clone(), queue.queue.clone())));
            }
        });
        Ok(())
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>> {
        if self.closing.is_cancelled() {
            return messages.iter().map(|_| Err(error(BrokerErrorKind::Closed, "was closed"))).collect();
        }
        self.send_all(messages.into_iter().map(|message| Sent::New(Box::new(message))).collect()).await
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        let epoch = self.reach().await?;
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
        self.reach().await?;
        let (sender, receiver) = mpsc::channel(1_024);
        let queue = mailbox_of(self.owner);
        // The queue exists again as soon as the process is connected again.
        if let Some(end) = self.world.broker_end(self.owner) {
            self.world.executor.spawn(self.owner, session::collect(end, sender));
        }
        Ok(Some(Replies { queue, replies: receiver }))
    }

    async fn events(&self) -> Result<Option<mpsc::Receiver<Event>>, BrokerError> {
        self.reach().await?;
        let (listener, events) = mpsc::channel(65_536);
        self.world.server().inner(|inner| inner.listeners.insert(self.owner, listener));
        Ok(Some(events))
    }

    fn parts(&self) -> Option<&dyn PartQueues> {
        Some(self)
    }

    async fn waiting(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        self.reach().await?;
        let ready = self.world.server().inner(|inner| inner.queues.get(queue).map_or(0, |queue| queue.ready.len()));
        Ok(Some(ready.try_into().unwrap()))
    }

    async fn check(&self) -> Result<String, BrokerError> {
        self.reach().await.map(|_epoch| "simulated".to_owned())
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
