//! The task that owns the channel of a consumed queue: it passes on deliveries, and carries out their settlements.
//!
//! Anything that ends a channel (a lost connection, a deleted queue, a cancelled consumer) ends its *generation*. The
//! next generation declares everything again and consumes. A delivery tag is valid only on the channel it came from,
//! so an acker of an older generation settles nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ack::Acks;
use super::acker::{AmqpAcker, ChannelAction, DeadLetter, Settled};
use super::connection_manager::{ConnectionManager, Pauses};
use super::error::LinkError;
use super::publish::Publisher;
use super::session::{Ended, Loss, Session, consume};
use super::topology::{REPUBLISH_AFTER, Topology};
use super::wire::{Publication, RawDelivery, dead_letter, decode, redelivered, republish};
use ork_ports::broker::{Delivery, Subscribe};

/// The time that finished deliveries wait to become part of a multiple acknowledgement.
const TICK: Duration = Duration::from_millis(4);

/// The maximum number of deliveries passed on, or of settlements taken, in one step.
const BURST: usize = 256;

/// After a consumer has lived this long, its backoff is reset.
const STEADY: Duration = Duration::from_secs(5);

/// The resources that all subscriptions of one broker share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    /// The manager of the connection for consuming. When that connection is lost, the sessions on it end.
    pub(super) link: Arc<ConnectionManager>,
    /// The exchanges and queues to declare again on each new connection.
    pub(super) topology: Arc<Topology>,
    /// Publishes the copies that take the place of deliveries, and dead letters, over the connection for publishing.
    pub(super) publisher: Publisher,
    /// Cancelled when the broker is closed: drivers carry out the settlements made so far, and end.
    pub(super) closing: CancellationToken,
    /// The tasks that consume. The broker waits for them before it closes the connections.
    pub(super) tasks: TaskTracker,
    /// The number of the newest generation, over all channels. Each new session takes the next number.
    pub(super) generations: Arc<AtomicU64>,
    /// The number of settlements that came too late for their channel, and had no effect.
    pub(super) stale: Arc<AtomicU64>,
}

/// A command of the worker to a driver.
#[derive(Debug)]
pub(super) enum Command {
    /// Set the size of the prefetch window.
    Resize(u16),
    /// Stop consuming, and reply when that is done.
    Stop(oneshot::Sender<()>),
}

/// The state of consuming a queue that may hold a message which lapin cannot read.
///
/// RabbitMQ allows any bytes in a name, but lapin only UTF-8. Such a message ends the whole connection when it
/// arrives, and increments the delivery count of every message on that connection. So the queue gets a connection to
/// itself, and the message arrives alone, until a quorum queue's delivery limit moves it to the dead letters.
pub(super) struct Quarantine {
    /// A connection for this queue alone, so that no other consumer is disturbed when a message ends it.
    link: Arc<ConnectionManager>,
    /// The next deliveries, this many, are consumed one at a time.
    left: u16,
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        self.link.abandon();
    }
}

/// The task that consumes one queue.
pub(super) struct Driver {
    /// The connection, the publisher and the counters that it shares with other drivers.
    pub(super) shared: Shared,
    /// The queue to consume, and the tasks whose messages it carries.
    pub(super) subscribe: Subscribe,
    /// The wanted number of unsettled deliveries; during a quarantine one at a time may be consumed instead.
    pub(super) window: u16,
    /// Deliveries for the worker, with the generation that they belong to.
    pub(super) deliver: mpsc::UnboundedSender<(u64, Delivery)>,
    /// The commands of the worker. If the sender is dropped, the subscription stops.
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    /// Cloned into each acker, which sends its settlement here.
    pub(super) settle: mpsc::UnboundedSender<Settled>,
    /// The settlements sent by ackers, of this generation or an older one.
    pub(super) settled: mpsc::UnboundedReceiver<Settled>,
    /// The number of the current generation; 0 while there is no session.
    pub(super) current: Arc<AtomicU64>,
    /// Whether the worker has stopped the subscription: nothing more is consumed, only settled.
    pub(super) stopping: bool,
    /// Set after a message that cannot be read has ended a session.
    pub(super) quarantine: Option<Quarantine>,
}

impl Driver {
    fn link(&self) -> &Arc<ConnectionManager> {
        let quarantine = self.quarantine.as_ref();
        quarantine.map_or(&self.shared.link, |quarantine| &quarantine.link)
    }

    /// Returns the window to consume with at the moment.
    fn window_now(&self) -> u16 {
        let alone = self.quarantine.as_ref().is_some_and(|quarantine| quarantine.left > 0);
        if alone { 1 } else { self.window }
    }

    /// Chooses how to consume from now on, according to how the last session was lost.
    fn choose_mode(&mut self, loss: &Loss) {
        if !loss.unreadable {
            self.quarantine = None;
            return;
        }
        let Shared { link, tasks, .. } = &self.shared;
        let quarantine = self.quarantine.get_or_insert_with(|| Quarantine {
            link: ConnectionManager::new(link.target().clone(), tasks.clone()),
            left: 0,
        });
        quarantine.left = self.window;
    }

    pub(super) async fn open(&self) -> Result<Session, LinkError> {
        let topology = &self.shared.topology;
        let (live, channel) = self.link().prepared(topology).await?;
        let queue = topology.declare(&live, &channel, &self.subscribe).await?;
        let generation = self.shared.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let consumer = consume(&live, &channel, &queue, self.window_now()).await?;
        self.current.store(generation, Ordering::Release);
        let (acks, n_copying, since) = (Acks::default(), 0, Instant::now());
        Ok(Session { live, channel, consumer, queue, generation, window: self.window_now(), acks, n_copying, since })
    }

    pub(super) async fn run(mut self, first: Session) {
        let mut session = first;
        let mut pauses = Pauses::new();
        loop {
            let ended = self.pump(&mut session).await;
            // From here on its ackers are stale, and so are the deliveries that wait to be taken.
            self.current.store(0, Ordering::Release);
            match ended {
                Ended::Stopped => return session.live.finish(&session.channel).await,
                Ended::Lost(loss) => {
                    let (queue, error) = (&session.queue, &loss.why);
                    if loss.unreadable {
                        tracing::error!(%queue, error, "cannot read a message: a name in it is not valid UTF-8");
                    } else {
                        tracing::warn!(%queue, error, "consumer stopped, restarting it");
                    }
                    if !session.live.is_up() {
                        self.link().mark_lost(&session.live);
                    }
                    session.live.finish(&session.channel).await;
                    // A quorum queue counts the deliveries; the sooner it reaches its limit, the better.
                    if loss.unreadable && self.shared.topology.counts_deliveries() {
                        pauses = Pauses::new();
                    }
                    self.choose_mode(&loss);
                }
            }
            if session.since.elapsed() >= STEADY {
                pauses = Pauses::new();
            }
            session = match self.open_again(&mut pauses).await {
                Some(session) => session,
                None => return,
            };
            tracing::info!(queue = %session.queue, "consumer restarted");
        }
    }

    /// Opens a new session; returns `None` if the subscription is stopped or the broker is closing.
    async fn open_again(&mut self, pauses: &mut Pauses) -> Option<Session> {
        loop {
            let pause = sleep(pauses.next());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    biased;
                    () = self.shared.closing.cancelled() => return None,
                    command = self.commands.recv() => match command {
                        Some(Command::Resize(window)) => self.window = window,
                        Some(Command::Stop(_)) | None => return None,
                    },
                    Some(late) = self.settled.recv() => self.count_stale(&late),
                    () = &mut pause => break,
                }
            }
            if self.stopping {
                return None;
            }
            let opened = {
                let opening = self.open();
                tokio::select! {
                    biased;
                    () = self.shared.closing.cancelled() => return None,
                    opened = opening => opened,
                }
            };
            match opened {
                Ok(session) => return Some(session),
                Err(error) => tracing::debug!(error = error.detail, "cannot consume yet, retrying"),
            }
        }
    }

    async fn pump(&mut self, session: &mut Session) -> Ended {
        let mut batch = Vec::with_capacity(BURST);
        let mut flush_at: Option<Instant> = None;
        let mut closing = false;
        loop {
            // Closing carries out the settlements made so far; unsettled deliveries return to the queue with the
            // channel.
            let done = session.acks.is_empty() || (closing && session.n_copying == 0);
            if (self.stopping || closing) && done {
                return Ended::Stopped;
            }
            let tick = sleep_until(flush_at.unwrap_or_else(Instant::now));
            let step = tokio::select! {
                biased;
                () = self.shared.closing.cancelled(), if !closing => {
                    closing = true;
                    self.drain(session, &mut batch).await.map_err(Loss::from)
                }
                command = self.commands.recv(), if !self.stopping => {
                    self.execute(session, command).await.map_err(Loss::from)
                }
                _ = self.settled.recv_many(&mut batch, BURST) => {
                    self.settle(session, &mut batch).await.map_err(Loss::from)
                }
                () = tick, if flush_at.is_some() => {
                    flush_at = None;
                    let plan = session.acks.tick();
                    session.acknowledge(plan).await.map_err(Loss::from)
                }
                next = session.consumer.next(), if !self.stopping && !closing => self.on_delivery(session, next).await,
            };
            if let Err(loss) = step {
                return Ended::Lost(loss);
            }
            if session.acks.n_done() == 0 {
                flush_at = None;
            } else if flush_at.is_none() {
                flush_at = Some(Instant::now() + TICK);
            }
        }
    }

    /// Passes on a delivery, and all others that have arrived already.
    async fn on_delivery(
        &mut self,
        session: &mut Session,
        next: Option<lapin::Result<lapin::message::Delivery>>,
    ) -> Result<(), Loss> {
        let mut next = Some(next);
        let mut n_passed_on = 0;
        while let Some(arrived) = next.take() {
            match arrived {
                Some(Ok(delivery)) => self.pass_on(session, delivery)?,
                Some(Err(error)) => {
                    let unreadable = matches!(error.kind(), lapin::ErrorKind::ParsingError(_));
                    let why = super::error::reason(&error);
                    return Err(Loss { why, unreadable });
                }
                None => return Err("the broker cancelled the consumer".to_owned().into()),
            }
            if let Some(quarantine) = &mut self.quarantine {
                quarantine.left = quarantine.left.saturating_sub(1);
            }
            n_passed_on += 1;
            if n_passed_on < BURST {
                next = session.consumer.next().now_or_never();
            }
        }
        self.adapt_window(session).await?;
        Ok(())
    }

    /// Consumes with the wanted window if the one known to the broker differs much from it.
    async fn adapt_window(&self, session: &mut Session) -> Result<(), String> {
        if is_worthwhile(session.window, self.window_now()) {
            self.resubscribe(session).await?;
        }
        Ok(())
    }

    fn pass_on(&self, session: &mut Session, delivery: lapin::message::Delivery) -> Result<(), String> {
        let lapin::message::Delivery { delivery_tag, exchange, routing_key, properties, data, .. } = delivery;
        let raw =
            RawDelivery { exchange, routing_key, redelivered: delivery.redelivered, properties, body: data.into() };
        let decoded = decode(&raw, &self.shared.topology.names);
        if !session.acks.delivered(delivery_tag) {
            return Err(format!("delivery {delivery_tag} arrived out of order"));
        }
        // It was delivered often without being settled by a worker, as when connections are lost again and again.
        let must_republish = redelivered(&raw) >= REPUBLISH_AFTER && self.shared.topology.counts_deliveries();
        if must_republish && !self.subscribe.is_exact {
            self.republish(session, delivery_tag, raw, None);
            return Ok(());
        }
        let acker = AmqpAcker::new(session.generation, &self.current, delivery_tag, raw, self.settle.clone());
        let delivery = Delivery {
            message: decoded.message,
            redelivered: decoded.redelivered,
            is_copy: decoded.is_copy,
            anonymous: decoded.anonymous,
            acker: Box::new(acker),
        };
        // If the worker has gone away, dropping the acker gives the delivery back.
        let _gone = self.deliver.send((session.generation, delivery));
        Ok(())
    }

    async fn execute(&mut self, session: &mut Session, command: Option<Command>) -> Result<(), String> {
        match command {
            Some(Command::Resize(window)) => {
                self.window = window;
                self.adapt_window(session).await
            }
            Some(Command::Stop(stopped)) => {
                self.stopping = true;
                let rest = session.cancel().await?;
                session.release(&rest).await?;
                // The caller may have stopped waiting.
                let _gone = stopped.send(());
                Ok(())
            }
            None => {
                self.stopping = true;
                let rest = session.cancel().await?;
                session.release(&rest).await
            }
        }
    }

    /// Consumes again with another window, on the same channel, so that all ackers stay valid.
    async fn resubscribe(&self, session: &mut Session) -> Result<(), String> {
        let window = self.window_now();
        for delivery in session.cancel().await? {
            self.pass_on(session, delivery)?;
        }
        session.consumer =
            consume(&session.live, &session.channel, &session.queue, window).await.map_err(|error| error.detail)?;
        session.window = window;
        Ok(())
    }

    async fn settle(&mut self, session: &mut Session, batch: &mut Vec<Settled>) -> Result<(), String> {
        let mut released = Vec::new();
        for settled in batch.drain(..) {
            if settled.generation != session.generation {
                self.count_stale(&settled);
                continue;
            }
            match settled.action {
                ChannelAction::Ack => {
                    session.acks.done(settled.tag);
                }
                // The copy states how often the message was lost before this delivery.
                ChannelAction::Requeue(raw) if self.subscribe.is_exact => {
                    let lost = decode(&raw, &self.shared.topology.names).redelivered;
                    self.republish(session, settled.tag, *raw, Some(lost));
                }
                // The first requeue by `basic.nack` costs nothing; after that a copy replaces the message, so that
                // the broker's delivery count does not grow.
                ChannelAction::Requeue(raw) if self.shared.topology.counts_deliveries() && redelivered(&raw) > 0 => {
                    self.republish(session, settled.tag, *raw, None);
                }
                ChannelAction::RequeueElsewhere(dead) if redelivered(&dead.raw) < self.shared.topology.declines() => {
                    if session.acks.released(settled.tag) {
                        released.push(settled.tag);
                    }
                }
                ChannelAction::Requeue(_) => {
                    if session.acks.released(settled.tag) {
                        released.push(settled.tag);
                    }
                }
                ChannelAction::RequeueElsewhere(dead) | ChannelAction::DeadLetter(dead) => {
                    let DeadLetter { raw, reason, detail } = *dead;
                    let (names, queue) = (&self.shared.topology.names, &self.subscribe.queue);
                    self.copy(session, settled.tag, dead_letter(raw, names, queue, reason, &detail));
                }
                ChannelAction::Copied { confirmed } => {
                    session.n_copying = session.n_copying.saturating_sub(1);
                    if confirmed {
                        session.acks.done(settled.tag);
                    } else if session.acks.released(settled.tag) {
                        released.push(settled.tag);
                    }
                }
            }
        }
        if !released.is_empty() {
            session.nack(&released).await?;
        }
        let many = usize::from(session.window / 4).max(1);
        if session.acks.n_done() < many && !self.shared.closing.is_cancelled() {
            return Ok(());
        }
        let many = if self.shared.closing.is_cancelled() { 0 } else { many };
        let plan = session.acks.take(many);
        session.acknowledge(plan).await
    }

    /// Moves a delivery to a new place in its queue, with a delivery count of zero, and with this number of losses if
    /// one is given.
    fn republish(&self, session: &mut Session, tag: u64, raw: RawDelivery, lost: Option<u32>) {
        let publication = republish(raw, &self.shared.topology.names, &session.queue, lost);
        self.copy(session, tag, publication);
    }

    /// Publishes the copy that replaces a delivery, and acknowledges the delivery only after the copy is confirmed.
    fn copy(&self, session: &mut Session, tag: u64, publication: Publication) {
        let (publisher, settle) = (self.shared.publisher.clone(), self.settle.clone());
        let (generation, live, closing) = (session.generation, Arc::clone(&session.live), self.shared.closing.clone());
        session.n_copying += 1;
        self.shared.tasks.spawn(async move {
            let mut pauses = Pauses::new();
            let confirmed = loop {
                let Err(error) = publisher.publish_one(publication.clone()).await else {
                    break true;
                };
                tracing::warn!(
                    error = error.detail, queue = %publication.routing_key,
                    "cannot republish a message yet, retrying"
                );
                tokio::select! {
                    () = closing.cancelled() => break false,
                    () = sleep(pauses.next()) => {}
                }
                // The broker redelivers the message, and this is tried again then.
                if !live.is_up() {
                    break false;
                }
            };
            let action = ChannelAction::Copied { confirmed };
            let _gone = settle.send(Settled { generation, tag, action });
        });
    }

    /// Called when the broker is being closed: carries out the settlements made so far and stops.
    async fn drain(&mut self, session: &mut Session, batch: &mut Vec<Settled>) -> Result<(), String> {
        let rest = session.cancel().await?;
        session.release(&rest).await?;
        while let Ok(settled) = self.settled.try_recv() {
            batch.push(settled);
        }
        self.settle(session, batch).await
    }

    fn count_stale(&self, settled: &Settled) {
        let n_stale = self.shared.stale.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(
            generation = settled.generation,
            tag = settled.tag,
            n_stale,
            "a delivery was settled after its channel had closed; the broker will redeliver the message"
        );
    }
}

/// Returns whether changing the window is worth three round trips: from a quarter more or less.
const fn is_worthwhile(now: u16, wanted: u16) -> bool {
    now.abs_diff(wanted) > now / 4
}
