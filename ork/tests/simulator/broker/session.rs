//! A consumer of one queue. It outlives its channels; a receipt of an older channel settles nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ork_ports::broker::{Acker, Delivery, Disposition, ReplyDelivery, Subscribe, Subscription};
use tokio::sync::{Notify, mpsc, oneshot};

use super::channels::DEADLINE;
use super::{BrokerEnd, Letter, Session, Stored, delivery, mailbox_of};
use crate::executor::Owner;
use crate::scenario::QueueKind;

/// A message that was delivered this often is dead-lettered instead of requeued elsewhere.
const DECLINES: u32 = 10;

enum Command {
    Resize(u16),
    Stop(oneshot::Sender<()>),
}

/// How a delivery was settled.
struct Settled {
    session: u64,
    tag: u64,
    outcome: Outcome,
}

enum Outcome {
    Disposed(Box<(Letter, u32)>, Disposition),
    /// Whether the copy that replaces the delivery was confirmed.
    Copied(bool),
}

/// The right to settle one delivery.
pub(super) struct SimulatedAcker {
    session: u64,
    tag: u64,
    /// The number of the current session.
    current: Arc<AtomicU64>,
    left: Option<(Letter, u32, mpsc::UnboundedSender<Settled>)>,
}

impl SimulatedAcker {
    fn give(&mut self, settlement: Disposition) {
        let Some((letter, count, settle)) = self.left.take() else { return };
        let outcome = Outcome::Disposed(Box::new((letter, count)), settlement);
        drop(settle.send(Settled { session: self.session, tag: self.tag, outcome }));
    }
}

impl Acker for SimulatedAcker {
    fn settle(mut self: Box<Self>, settlement: Disposition) {
        self.give(settlement);
    }

    fn is_channel_closed(&self) -> bool {
        self.session != self.current.load(Ordering::Relaxed)
    }
}

impl Drop for SimulatedAcker {
    fn drop(&mut self) {
        self.give(Disposition::Requeue);
    }
}

impl std::fmt::Debug for SimulatedAcker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ticket {} of session {}", self.tag, self.session)
    }
}

/// The worker's side of the consumer.
pub(super) struct Stream {
    deliveries: mpsc::UnboundedReceiver<(u64, Delivery)>,
    commands: mpsc::UnboundedSender<Command>,
    current: Arc<AtomicU64>,
    end: Arc<BrokerEnd>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stream of session {}", self.current.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Subscription for Stream {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let (session, delivery) = self.deliveries.recv().await?;
            if session == self.current.load(Ordering::Relaxed) {
                return Some(delivery);
            }
        }
    }

    fn ready(&mut self) -> Option<Delivery> {
        loop {
            let (session, delivery) = self.deliveries.try_recv().ok()?;
            if session == self.current.load(Ordering::Relaxed) {
                return Some(delivery);
            }
        }
    }

    fn resize(&mut self, window: u16) {
        drop(self.commands.send(Command::Resize(window.max(1))));
    }

    async fn stop(&mut self) {
        let (stop, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(stop)).is_ok() {
            tokio::select! {
                biased;
                _stopped = stopped => {}
                () = self.end.pause(DEADLINE) => {}
            }
        }
        self.deliveries.close();
        // Dropping their receipts requeues them.
        while self.deliveries.recv().await.is_some() {}
    }
}

/// Consumes one queue for one process.
pub(super) struct Driver {
    end: Arc<BrokerEnd>,
    queue: String,
    /// The tasks for which the queue is bound.
    tasks: Vec<String>,
    window: u16,
    /// Whether a requeued message is delivered again as if this delivery had not been.
    is_exact: bool,
    stopping: bool,
    n_copying: usize,
    commands: mpsc::UnboundedReceiver<Command>,
    settle: mpsc::UnboundedSender<Settled>,
    settled: mpsc::UnboundedReceiver<Settled>,
    deliver: mpsc::UnboundedSender<(u64, Delivery)>,
    current: Arc<AtomicU64>,
}

/// A channel with a consumer.
pub(super) struct Open {
    number: u64,
    epoch: u64,
    /// The number of the queue.
    of: u64,
    ended: Arc<Notify>,
    cancelled: Arc<Notify>,
}

impl Driver {
    pub(super) fn new(end: Arc<BrokerEnd>, subscribe: Subscribe) -> (Self, Stream) {
        let (deliver, deliveries) = mpsc::unbounded_channel();
        let (command, commands) = mpsc::unbounded_channel();
        let (settle, settled) = mpsc::unbounded_channel();
        let current = Arc::new(AtomicU64::new(0));
        let stream = Stream { deliveries, commands: command, current: Arc::clone(&current), end: Arc::clone(&end) };
        let driver = Self {
            end,
            queue: subscribe.queue,
            tasks: subscribe.tasks,
            window: subscribe.window.max(1),
            is_exact: subscribe.is_exact,
            stopping: false,
            n_copying: 0,
            commands,
            settle,
            settled,
            deliver,
            current,
        };
        (driver, stream)
    }

    /// Declares the queue and starts a consumer, on a channel of this connection.
    pub(super) fn open(&self, epoch: u64) -> Open {
        let (wire, mut arriving) = mpsc::unbounded_channel::<(u64, Stored)>();
        let (world, ended, cancelled) = (&self.end.world, Arc::new(Notify::new()), Arc::new(Notify::new()));
        self.end.declare_again(epoch);
        self.end.declare(&self.queue, &self.tasks);
        let (number, of) = world.server().inner(|inner| {
            inner.next_session += 1;
            let of = inner.queues.get(&self.queue).map_or(0, |queue| queue.number);
            let session = Session {
                owner: self.end.owner,
                queue: self.queue.clone(),
                of,
                window: self.window.into(),
                stops: false,
                next_tag: 0,
                unacked: std::collections::BTreeMap::new(),
                wire,
                ended: Arc::clone(&ended),
                cancelled: Arc::clone(&cancelled),
            };
            inner.sessions.insert(inner.next_session, session);
            (inner.next_session, of)
        });
        self.current.store(number, Ordering::Relaxed);
        let (end, current) = (Arc::clone(&self.end), Arc::clone(&self.current));
        let (deliver, settle) = (self.deliver.clone(), self.settle.clone());
        world.executor.spawn(Owner::WORLD, async move {
            while let Some((tag, stored)) = arriving.recv().await {
                end.pause(end.delay()).await;
                if !end.world.lives(end.owner) {
                    return;
                }
                let Stored { letter, count, .. } = stored;
                if let Ok(message) = &letter.message {
                    let (world, detail) = (&end.world, super::named(&letter));
                    world.note(end.owner, format_args!("receives {detail}, delivered {count} times before"));
                    if count > 0 {
                        world.oracle(|oracle| oracle.note_redelivery(message, world.executor.now()));
                    }
                    let losses = count + message.losses;
                    let is_suspect = losses > 0 && losses >= world.scenario.most_losses();
                    world.oracle(|oracle| oracle.receives(end.owner, message, is_suspect, world.executor.now()));
                    if losses > world.scenario.most_losses() {
                        world.oracle(|oracle| oracle.note_excess_delivery(message, world.scenario.most_losses()));
                    }
                }
                let left = Some((letter.clone(), count, settle.clone()));
                let ticket = SimulatedAcker { session: number, tag, current: Arc::clone(&current), left };
                drop(deliver.send((number, delivery(letter, count, ticket))));
            }
        });
        world.hand_out(&self.queue);
        Open { number, epoch, of, ended, cancelled }
    }

    pub(super) async fn run(mut self, first: Open) {
        let mut open = first;
        loop {
            let lost = self.consume(&open).await;
            self.current.store(0, Ordering::Relaxed);
            if lost && self.end.world.server().inner(|inner| inner.sessions.contains_key(&open.number)) {
                // Only its consumer was cancelled: it closes its channel.
                self.end.pause(self.end.delay()).await;
            }
            self.end.world.end_session(open.number);
            if !lost {
                return;
            }
            open = match self.open_again().await {
                Some(open) => open,
                None => return,
            };
        }
    }

    /// Consumes until the channel or the consumer is lost; returns `false` if it was asked to stop before that.
    async fn consume(&mut self, open: &Open) -> bool {
        let closing = self.end.closing.clone();
        let mut is_closing = false;
        loop {
            let is_settled = self
                .end
                .world
                .server()
                .inner(|inner| inner.sessions.get(&open.number).is_none_or(|session| session.unacked.is_empty()));
            if (self.stopping || is_closing) && (is_settled || (is_closing && self.n_copying == 0)) {
                return false;
            }
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = open.ended.notified() => return true,
                // Once it has stopped, it listens no longer to the consumer.
                () = open.cancelled.notified(), if !self.stopping && !is_closing => return true,
                () = closing.cancelled(), if !is_closing => {
                    is_closing = true;
                    self.stop(open).await;
                    while let Ok(settled) = self.settled.try_recv() {
                        batch.push(settled);
                    }
                }
                command = self.commands.recv(), if !self.stopping => match command {
                    Some(Command::Resize(window)) => self.resize(open, window).await,
                    Some(Command::Stop(stopped)) => {
                        self.stopping = true;
                        self.stop(open).await;
                        let _gone: Result<(), ()> = stopped.send(());
                    }
                    None => {
                        self.stopping = true;
                        self.stop(open).await;
                    }
                },
                _ = self.settled.recv_many(&mut batch, 256) => {}
            }
            if !batch.is_empty() {
                // A settled delivery waits until it is part of a batch, which then is under way.
                self.end.pause(self.end.delay()).await;
                self.carry_out(open, batch);
            }
        }
    }

    async fn resize(&mut self, open: &Open, window: u16) {
        self.window = window;
        self.end.pause(self.end.delay()).await;
        let set = |session: &mut Session| session.window = window.into();
        self.end.world.server().inner(|inner| inner.sessions.get_mut(&open.number).map(set));
        self.end.world.hand_out(&self.queue);
    }

    /// Cancels the consumer.
    async fn stop(&self, open: &Open) {
        self.end.pause(self.end.delay()).await;
        let set = |session: &mut Session| session.stops = true;
        self.end.world.server().inner(|inner| inner.sessions.get_mut(&open.number).map(set));
        self.end.pause(self.end.delay()).await;
    }

    fn carry_out(&mut self, open: &Open, batch: Vec<Settled>) {
        let (world, is_quorum) = (Arc::clone(&self.end.world), self.end.world.server().kind == QueueKind::Quorum);
        let declines = if is_quorum { DECLINES } else { 1 };
        let (mut done, mut back) = (Vec::new(), Vec::new());
        for Settled { session, tag, outcome } in batch {
            if let Outcome::Copied(_) = &outcome {
                self.n_copying -= 1;
            }
            if session != open.number {
                continue;
            }
            match outcome {
                Outcome::Disposed(_, Disposition::Ack) | Outcome::Copied(true) => done.push(tag),
                // The broker counts this delivery.
                Outcome::Copied(false) => {
                    world.loses_delivery(open.number, tag);
                    back.push(tag);
                }
                Outcome::Disposed(letter, Disposition::Requeue) => {
                    world.releases(self.end.owner);
                    let (mut letter, count) = *letter;
                    if let Ok(message) = &mut letter.message
                        && self.is_exact
                    {
                        message.losses += count;
                    }
                    // From the second time on, a copy replaces the message, so that the delivery is not counted.
                    if self.is_exact || (is_quorum && count > 0) {
                        self.copy(open, tag, letter);
                    } else {
                        back.push(tag);
                    }
                }
                Outcome::Disposed(letter, Disposition::RequeueElsewhere(..)) if letter.1 < declines => {
                    world.loses_delivery(open.number, tag);
                    back.push(tag);
                }
                Outcome::Disposed(
                    letter,
                    Disposition::RequeueElsewhere(reason, detail) | Disposition::DeadLetter(reason, detail),
                ) => {
                    world.server().dead_letter(&letter.0, &format!("{}: {detail}", reason.as_str()));
                    done.push(tag);
                }
            }
        }
        let back: Vec<_> = world.server().inner(|inner| {
            let Some(session) = inner.sessions.get_mut(&open.number) else { return Vec::new() };
            for tag in done {
                session.unacked.remove(&tag);
            }
            back.into_iter().filter_map(|tag| session.unacked.remove(&tag)).collect()
        });
        world.requeue(&self.queue, open.of, back);
    }

    /// Publishes the copy that replaces a delivery, and acknowledges only after its confirm.
    fn copy(&mut self, open: &Open, tag: u64, letter: Letter) {
        let letter = Letter { is_copy: true, ..letter };
        self.n_copying += 1;
        let (end, settle, session, epoch) = (Arc::clone(&self.end), self.settle.clone(), open.number, open.epoch);
        self.end.world.executor.spawn(self.end.owner, async move {
            let copied = loop {
                match end.closing.run_until_cancelled(end.send_copy(letter.clone(), (session, tag))).await {
                    Some(Ok(())) => break true,
                    Some(Err(_refused)) => {}
                    None => break false,
                }
                tokio::select! {
                    biased;
                    () = end.closing.cancelled() => break false,
                    () = end.pause(500_000) => {}
                }
                if !end.is_up(epoch) {
                    break false;
                }
            };
            drop(settle.send(Settled { session, tag, outcome: Outcome::Copied(copied) }));
        });
    }

    /// Opens a new channel; `None` once none is needed any more.
    async fn open_again(&mut self) -> Option<Open> {
        let (end, closing) = (Arc::clone(&self.end), self.end.closing.clone());
        loop {
            let pause = end.pause(end.delay() + 100_000);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    biased;
                    () = closing.cancelled() => return None,
                    command = self.commands.recv() => match command {
                        Some(Command::Resize(window)) => self.window = window,
                        Some(Command::Stop(_)) | None => return None,
                    },
                    Some(late) = self.settled.recv() => {
                        if let Outcome::Copied(_) = late.outcome {
                            self.n_copying -= 1;
                        }
                    }
                    () = &mut pause => break,
                }
            }
            if self.stopping {
                return None;
            }
            let opening = async {
                let epoch = end.channel().await?;
                end.consumes(epoch).await.map(|()| epoch)
            };
            if let Ok(epoch) = closing.run_until_cancelled(opening).await? {
                return Some(self.open(epoch));
            }
        }
    }
}

/// Keeps the reply queue of a process declared while it is connected.
pub(super) async fn collect(end: Arc<BrokerEnd>, sender: mpsc::Sender<ReplyDelivery>) {
    let closing = end.closing.clone();
    let keep = async {
        loop {
            let Ok(epoch) = end.channel().await else { continue };
            let queue = mailbox_of(end.owner);
            end.world.server().inner(|inner| inner.mailboxes.insert(queue, sender.clone()));
            while end.is_up(epoch) {
                end.pause(1_000_000).await;
            }
        }
    };
    closing.run_until_cancelled(keep).await;
}
