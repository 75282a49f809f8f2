//! One connection that is a state: up, or down and being made again. Nobody but this file connects or reconnects.
//!
//! lapin's own recovery stays off. It replays topology and consumers behind our back, and a delivery tag of before
//! would then be sent on the channel of after; here whoever uses a connection notices that it is another one.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::Trouble;
use super::topology::{Failed, Topology};
use super::url::{Address, Addresses};
use crate::broker::BrokerErrorKind;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long a channel may take to close.
const GOODBYE: Duration = Duration::from_secs(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A pause that doubles up to ten seconds, of which up to a half is taken off at random.
#[derive(Debug)]
pub(super) struct BackOff(Duration);

impl BackOff {
    pub(super) const fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = pause.saturating_mul(2).min(LONGEST_PAUSE);
        pause.mul_f64(1.0 - fastrand::f64() / 2.0)
    }
}

/// A connection that was up when it was handed out.
#[derive(Debug)]
pub(super) struct Live {
    connection: Connection,
    address: Address,
    deadline: Duration,
    /// Fires when it has ended, for whatever reason.
    gone: CancellationToken,
    prepared: Mutex<bool>,
}

impl Live {
    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker has stopped reading what is published, for want of memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Waits for an answer of the broker, but not for ever, nor longer than the connection lasts: lapin was seen to
    /// leave calls unanswered that were made just when it ended.
    pub(super) async fn within<T>(
        &self,
        doing: &str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Failed> {
        tokio::select! {
            biased;
            answer = call => answer.map_err(|error| {
                let trouble = Trouble::while_up(&self.address, doing, &error);
                Failed::Lapin(error, trouble)
            }),
            () = self.gone.cancelled() => Err(Failed::Silent(Trouble::lost(&self.address, doing, "it has ended"))),
            () = sleep(self.deadline) => Err(Failed::Silent(Trouble::timed_out(&self.address, doing, self.deadline))),
        }
    }

    /// What comes next to a consumer of this connection; nothing more once either has ended.
    pub(super) async fn next(&self, consumer: &mut Consumer) -> Option<Delivery> {
        tokio::select! {
            biased;
            next = consumer.next() => next?.ok(),
            () = self.gone.cancelled() => None,
        }
    }

    pub(super) async fn channel(&self, doing: &str) -> Result<Channel, Trouble> {
        Ok(self.within(doing, self.connection.create_channel()).await?)
    }

    /// Closes a channel that has done its work; if it cannot be closed, it ends when it is dropped.
    pub(super) async fn finish(&self, channel: &Channel) {
        let close = timeout(GOODBYE, channel.close(200, "OK".into()));
        if !matches!(close.await, Ok(Ok(()))) {
            tracing::trace!("channel not closed");
        }
    }

    /// Makes sure, once a connection, that everything this process needs is there.
    pub(super) async fn prepare(&self, topology: &Topology) -> Result<(), Trouble> {
        let mut prepared = self.prepared.lock().await;
        if !*prepared {
            topology.declare_all(self).await?;
            *prepared = true;
        }
        Ok(())
    }

    /// Something turned out to be missing: the next [`Live::prepare`] declares everything again.
    pub(super) async fn is_unprepared(&self) {
        *self.prepared.lock().await = false;
    }
}

#[derive(Debug, Clone)]
enum State {
    /// Not connected; `failures` attempts came to nothing, the last one for this reason.
    Down {
        failures: u64,
        was_up: bool,
        trouble: Option<Trouble>,
    },
    Up(Arc<Live>),
    Closed,
}

/// What a [`Link`] needs to know.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) addresses: Addresses,
    /// The name that RabbitMQ shows for the connection.
    pub(super) name: String,
    pub(super) deadline: Duration,
}

/// A node to connect to.
#[derive(Debug)]
struct Candidate {
    address: Address,
    /// It accepted, or was not there, and said nothing.
    silent: bool,
}

/// A connection to the broker, made when it is first asked for and again whenever it is lost.
#[derive(Debug)]
pub(super) struct Link {
    target: Target,
    state: watch::Sender<State>,
    started: AtomicBool,
    nudge: Notify,
    lost: Notify,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl Link {
    pub(super) fn new(target: Target, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self {
            target,
            state: watch::Sender::new(State::Down { failures: 0, was_up: false, trouble: None }),
            started: AtomicBool::new(false),
            nudge: Notify::new(),
            lost: Notify::new(),
            closed: CancellationToken::new(),
            tasks,
        })
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    pub(super) const fn deadline(&self) -> Duration {
        self.target.deadline
    }

    /// The connection, as soon as it is up.
    ///
    /// A link that never was up answers with the reason of the next attempt that fails; one that was up before waits
    /// for the broker to come back, until the deadline.
    pub(super) async fn live(self: &Arc<Self>) -> Result<Arc<Live>, Trouble> {
        if !self.started.swap(true, Ordering::Relaxed) {
            let link = Arc::clone(self);
            self.tasks.spawn(async move { link.run().await });
        }
        let mut states = self.state.subscribe();
        let deadline = Instant::now() + self.target.deadline;
        let mut seen = None;
        loop {
            let state = states.borrow_and_update().clone();
            let last = match state {
                State::Closed => return Err(Trouble::closed()),
                State::Up(live) if live.is_up() => return Ok(live),
                State::Up(live) => {
                    self.is_lost(&live);
                    None
                }
                State::Down { failures, was_up, trouble } => {
                    if !was_up
                        && seen.is_some_and(|seen| failures > seen)
                        && let Some(trouble) = trouble
                    {
                        return Err(trouble);
                    }
                    if seen.is_none() && !was_up && failures > 0 {
                        self.nudge.notify_one();
                    }
                    seen.get_or_insert(failures);
                    trouble
                }
            };
            match timeout_at(deadline, states.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_gone)) => return Err(Trouble::closed()),
                Err(_elapsed) => {
                    let silent = || Trouble::timed_out(&self.target.addresses, "connect", self.target.deadline);
                    return Err(last.unwrap_or_else(silent));
                }
            }
        }
    }

    /// Says that this connection is of no more use.
    pub(super) fn is_lost(&self, live: &Arc<Live>) {
        let changed = self.state.send_if_modified(|state| {
            let ours = matches!(state, State::Up(now) if Arc::ptr_eq(now, live));
            if ours {
                *state = State::Down { failures: 0, was_up: true, trouble: None };
            }
            ours
        });
        if changed {
            tracing::warn!(broker = %live.address, "lost the connection to RabbitMQ, reconnecting");
            self.lost.notify_one();
        }
    }

    /// Stops trying to connect; for whoever cannot wait for [`Link::close`].
    pub(super) fn abandon(&self) {
        self.closed.cancel();
        self.state.send_replace(State::Closed);
    }

    /// Lets go of the connection for good. lapin's own close was seen never to return, so it is not waited for.
    pub(super) async fn close(&self, within: Duration) {
        self.closed.cancel();
        let state = self.state.send_replace(State::Closed);
        if let State::Up(live) = state
            && timeout(within, live.connection.close(200, "OK".into())).await.is_err()
        {
            tracing::debug!(broker = %live.address, "RabbitMQ did not answer the goodbye");
        }
    }

    async fn run(&self) {
        let (mut was_up, mut failures) = (false, 0);
        let addresses = self.target.addresses.as_slice().iter();
        let mut candidates: VecDeque<_> =
            addresses.map(|address| Candidate { address: address.clone(), silent: false }).collect();
        loop {
            let mut back_off = BackOff::new();
            let live = loop {
                let trouble = tokio::select! {
                    biased;
                    () = self.closed.cancelled() => return,
                    attempt = self.try_each(&mut candidates, was_up) => match attempt {
                        Ok(live) => break live,
                        Err(trouble) => trouble,
                    },
                };
                // Before it was ever up, whoever asked for it is told, and may give up.
                if failures == 0 && was_up {
                    tracing::warn!(error = trouble.words, "no connection to RabbitMQ, trying on");
                }
                failures += 1;
                self.become_if_open(State::Down { failures, was_up, trouble: Some(trouble) });
                tokio::select! {
                    () = self.closed.cancelled() => return,
                    () = self.nudge.notified() => {}
                    () = sleep(back_off.next()) => {}
                }
            };
            tracing::info!(broker = %live.address, again = was_up, "connected to RabbitMQ");
            let live = Arc::new(live);
            self.become_if_open(State::Up(Arc::clone(&live)));
            (was_up, failures) = (true, 0);
            let unnoticed = async {
                live.gone.cancelled().await;
                self.is_lost(&live);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = self.lost.notified() => {}
                () = unnoticed => {}
            }
            // The one that was lost is tried last.
            candidates.rotate_left(1);
        }
    }

    fn become_if_open(&self, next: State) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = next;
            }
            open
        });
    }

    /// Tries each once, the first one first, where the one that was connected to is left.
    async fn try_each(&self, candidates: &mut VecDeque<Candidate>, was_up: bool) -> Result<Live, Trouble> {
        let n_candidates = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        // Whoever waits for the first connection gives up at the deadline, so each has a share of that.
        let patience = if was_up { self.target.deadline } else { self.target.deadline / n_candidates };
        let mut troubles = Vec::new();
        for _ in 0..n_candidates {
            let Some(candidate) = candidates.front_mut() else { break };
            let attempt = async {
                if candidate.silent {
                    self.look(&candidate.address, patience).await?;
                }
                self.connect(&candidate.address, patience).await
            };
            let attempt = attempt.await;
            candidate.silent = attempt.as_ref().is_err_and(|trouble| trouble.kind == BrokerErrorKind::TimedOut);
            match attempt {
                Ok(live) => return Ok(live),
                Err(trouble) => troubles.push(trouble),
            }
            candidates.rotate_left(1);
        }
        Err(Trouble::all(troubles))
    }

    async fn connect(&self, address: &Address, patience: Duration) -> Result<Live, Trouble> {
        let Target { name, deadline, .. } = &self.target;
        let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
        // The rest of the deadline is for finding out what is wrong.
        let handshake = patience.mul_f64(0.7);
        match timeout(handshake, Connection::connect_uri(address.uri(), properties)).await {
            Ok(Ok(connection)) => {
                let gone = self.watch(&connection);
                let (address, prepared) = (address.clone(), Mutex::new(false));
                Ok(Live { connection, address, deadline: *deadline, gone, prepared })
            }
            Ok(Err(error)) => {
                if let Some(trouble) = Trouble::while_connecting(address, &error) {
                    return Err(trouble);
                }
                self.look(address, patience).await?;
                Err(Trouble::new(BrokerErrorKind::Disconnected, format!("cannot reach RabbitMQ at {address}: {error}")))
            }
            Err(_elapsed) => {
                self.look(address, patience).await?;
                Err(Trouble::timed_out(address, "connect", handshake))
            }
        }
    }

    /// Fires when the connection ends.
    fn watch(&self, connection: &Connection) -> CancellationToken {
        let (mut events, status) = (Box::pin(connection.events_listener()), connection.status().clone());
        let (gone, closed) = (CancellationToken::new(), self.closed.clone());
        let ended = gone.clone().drop_guard();
        self.tasks.spawn(closed.run_until_cancelled_owned(async move {
            let _ended = ended;
            // A channel's end is an event, too.
            while events.next().await.is_some() && status.connected() {}
        }));
        gone
    }

    /// Looks with a bare socket whether AMQP is spoken there at all, for an error in words.
    ///
    /// It also keeps an endpoint that accepts and then says nothing from collecting lapin's threads, which wait for
    /// it until it hangs up: after the first silence this goes before every attempt.
    async fn look(&self, address: &Address, patience: Duration) -> Result<(), Trouble> {
        if address.is_encrypted() {
            return Ok(());
        }
        let (address, patience) = (address.clone(), patience.mul_f64(0.1));
        let look = self.tasks.spawn_blocking(move || greet(&address, patience));
        look.await.unwrap_or(Ok(()))
    }
}

/// Says hello and judges the answer.
///
/// One that hangs up or says nothing may be what stands before a broker that is away just now, so it is tried again;
/// what answers with something else never will be a broker.
fn greet(address: &Address, patience: Duration) -> Result<(), Trouble> {
    let talk = || -> std::io::Result<[u8; 4]> {
        let mut sockets = address.socket().to_socket_addrs()?;
        let socket = sockets.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let mut stream = TcpStream::connect_timeout(&socket, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        Ok(head)
    };
    let strange = |kind, what: &str| Err(Trouble::new(kind, format!("what listens at {address} {what}")));
    match talk() {
        // A method frame on channel 0: `connection.start`.
        Ok([1, 0, 0, _]) => Ok(()),
        Ok([b'A', b'M', b'Q', b'P']) => strange(BrokerErrorKind::Protocol, "speaks another version of AMQP than 0-9-1"),
        Ok(_) => strange(BrokerErrorKind::Protocol, "does not speak AMQP"),
        Err(error) => match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                strange(BrokerErrorKind::TimedOut, "accepts connections but does not answer with AMQP")
            }
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
                strange(BrokerErrorKind::Disconnected, "hangs up when it hears AMQP")
            }
            _ => Ok(()),
        },
    }
}
