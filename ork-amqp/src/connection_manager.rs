//! One connection as a state: up, or down and being reestablished. Only this file connects and reconnects.
//!
//! lapin's own recovery stays off. It replays the topology and the consumers unnoticed, so that a delivery tag of the
//! old channel would be sent on the new one. Here every user of a connection notices when it is replaced.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::amqp_connection::AmqpConnection;
use super::error::{Cut, LinkError, is_cut};
use super::topology::Topology;
use super::url::{Address, Addresses};
use ork_core::retry::Backoff;
use ork_ports::broker::BrokerErrorKind;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Bounds the delay after the broker has become reachable again. A failed attempt costs the broker almost nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The deadline of the first handshake. lapin does not always notice that a handshake was cut, so the deadline is
/// short; it doubles with each attempt in a row that was cut.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// The number of times in a row that a connection may be cut while being established before an error is returned to the
/// caller that waits for the first connection.
const CUTS: u32 = 4;

/// The number of connections in a row that may have no channel left before an error is returned to the caller.
const CONNECTIONS: u32 = 3;

/// The pauses between two attempts to connect or to publish.
#[derive(Debug)]
pub(super) struct Pauses(Backoff);

impl Pauses {
    pub(super) const fn new() -> Self {
        Self(Backoff::new(FIRST_PAUSE, LONGEST_PAUSE))
    }

    pub(super) fn next(&mut self) -> Duration {
        self.0.next(fastrand::f64())
    }
}

#[derive(Debug, Clone)]
enum State {
    /// Not connected. `failures` attempts have failed; `error` is the error of the last one.
    Down {
        failures: u64,
        was_up: bool,
        error: Option<LinkError>,
    },
    Up(Arc<AmqpConnection>),
    Closed,
}

/// The settings of a [`ConnectionManager`].
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The nodes of the broker. They are tried in turn.
    pub(super) addresses: Addresses,
    /// The name that RabbitMQ shows for the connection.
    pub(super) name: String,
    /// The time that the broker may take for one answer, and the longest time that a caller waits for a connection.
    pub(super) deadline: Duration,
}

/// A node to connect to.
#[derive(Debug)]
struct Candidate {
    address: Address,
    /// The last attempt timed out: the node was unreachable, or accepted the connection and sent nothing.
    timed_out: bool,
}

/// A connection to the broker, established when it is first needed and again whenever it is lost.
#[derive(Debug)]
pub(super) struct ConnectionManager {
    /// The nodes to connect to, and the settings of the connection.
    target: Target,
    /// Whether the connection is up, down or closed. The task that connects sets it, and callers of
    /// [`ConnectionManager::live`] watch it.
    state: watch::Sender<State>,
    /// Whether the task that connects was spawned. It starts with the first call that needs a connection.
    started: AtomicBool,
    /// Ends the pause before the next attempt, because a caller waits for it.
    retry_now: Notify,
    /// Notified when the current connection is lost or exhausted, so that another one is made.
    lost: Notify,
    /// Cancelled when no connection must be made any more. It also ends the tasks that watch connections.
    closed: CancellationToken,
    /// The tasks of the broker. The task that connects, and those of its connections, are added to them.
    tasks: TaskTracker,
}

impl ConnectionManager {
    pub(super) fn new(target: Target, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self {
            target,
            state: watch::Sender::new(State::Down { failures: 0, was_up: false, error: None }),
            started: AtomicBool::new(false),
            retry_now: Notify::new(),
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

    /// Returns the connection as soon as it is up.
    ///
    /// If the link has never been up, this fails with the error of the next attempt that fails. If it was up before,
    /// this waits for the broker to come back, until the deadline.
    pub(super) async fn live(self: &Arc<Self>) -> Result<Arc<AmqpConnection>, LinkError> {
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
                State::Closed => return Err(LinkError::closed()),
                State::Up(live) if live.is_up() && !live.is_exhausted() => return Ok(live),
                State::Up(live) => {
                    self.mark_lost(&live);
                    None
                }
                State::Down { failures, was_up, error } => {
                    if !was_up
                        && seen.is_some_and(|seen| failures > seen)
                        && let Some(error) = error
                    {
                        return Err(error);
                    }
                    if seen.is_none() && !was_up && failures > 0 {
                        self.retry_now.notify_one();
                    }
                    seen.get_or_insert(failures);
                    error
                }
            };
            match timeout_at(deadline, states.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_gone)) => return Err(LinkError::closed()),
                Err(_elapsed) => {
                    let timed_out = || LinkError::timed_out(&self.target.addresses, "connect", self.target.deadline);
                    return Err(last.unwrap_or_else(timed_out));
                }
            }
        }
    }

    /// Returns a connection and a new channel on it, once everything that this process needs has been declared.
    pub(super) async fn prepared(
        self: &Arc<Self>,
        topology: &Topology,
    ) -> Result<(Arc<AmqpConnection>, Channel), LinkError> {
        let (live, channel) = self.channel("open a channel").await?;
        topology.prepare(&live).await?;
        Ok((live, channel))
    }

    /// Called when an exchange or a queue is missing: the next [`ConnectionManager::prepared`] declares everything
    /// again.
    pub(super) async fn mark_unprepared(&self) {
        let state = self.state.borrow().clone();
        if let State::Up(live) = state {
            live.mark_unprepared().await;
        }
    }

    /// Opens a channel on the connection, or on a new connection if the current one has no channel left.
    pub(super) async fn channel(self: &Arc<Self>, doing: &str) -> Result<(Arc<AmqpConnection>, Channel), LinkError> {
        let mut tries = 1..=CONNECTIONS;
        loop {
            let live = self.live().await?;
            match live.channel(doing).await {
                Ok(channel) => return Ok((live, channel)),
                Err(error) if tries.next().is_none() || !live.is_exhausted() => return Err(error),
                Err(_exhausted) => self.mark_lost(&live),
            }
        }
    }

    /// Reports that a connection cannot be used any more: it has ended, or it can open no more channels. In the second
    /// case its channels are used until they end, and then it is closed.
    pub(super) fn mark_lost(&self, live: &Arc<AmqpConnection>) {
        let changed = self.state.send_if_modified(|state| {
            let is_current = matches!(state, State::Up(now) if Arc::ptr_eq(now, live));
            if is_current {
                *state = State::Down { failures: 0, was_up: true, error: None };
            }
            is_current
        });
        if changed {
            if live.is_up() {
                tracing::debug!(
                    broker = %live.address(),
                    "replacing a connection to RabbitMQ that has run out of channels"
                );
            } else {
                tracing::warn!(broker = %live.address(), "lost the connection to RabbitMQ, reconnecting");
            }
            self.lost.notify_one();
        }
    }

    /// Stops connecting, for callers that cannot wait for [`ConnectionManager::close`].
    pub(super) fn abandon(&self) {
        self.closed.cancel();
        self.state.send_replace(State::Closed);
    }

    /// Closes the connection permanently. lapin's own close sometimes never returns, so the wait is limited.
    pub(super) async fn close(&self, within: Duration) {
        self.closed.cancel();
        let state = self.state.send_replace(State::Closed);
        if let State::Up(live) = state
            && timeout(within, live.close()).await.is_err()
        {
            tracing::debug!(broker = %live.address(), "RabbitMQ did not confirm that the connection was closed");
        }
    }

    async fn run(&self) {
        let (mut was_up, mut failures, mut cuts) = (false, 0, 0);
        let addresses = self.target.addresses.as_slice().iter();
        let mut candidates: VecDeque<_> =
            addresses.map(|address| Candidate { address: address.clone(), timed_out: false }).collect();
        loop {
            let mut pauses = Pauses::new();
            let live = loop {
                let error = tokio::select! {
                    biased;
                    () = self.closed.cancelled() => return,
                    attempt = self.try_each(&mut candidates, was_up, cuts) => match attempt {
                        Ok(live) => break live,
                        Err(error) => error,
                    },
                };
                // Until the first connection is up, the waiting caller receives the error and decides whether to give
                // up.
                if failures == 0 && was_up {
                    tracing::warn!(error = error.detail, "cannot connect to RabbitMQ, retrying");
                }
                cuts = if error.cut == Cut::No { 0 } else { cuts + 1 };
                // A connection that was cut while being established does not mean that the next one will fail.
                if cuts == 0 || cuts >= CUTS {
                    failures += 1;
                }
                self.set_unless_closed(State::Down { failures, was_up, error: Some(error) });
                tokio::select! {
                    () = self.closed.cancelled() => return,
                    () = self.retry_now.notified() => {}
                    () = sleep(pauses.next()) => {}
                }
            };
            tracing::info!(broker = %live.address(), again = was_up, "connected to RabbitMQ");
            let live = Arc::new(live);
            self.set_unless_closed(State::Up(Arc::clone(&live)));
            (was_up, failures, cuts) = (true, 0, 0);
            let ended_unnoticed = async {
                live.ended().await;
                self.mark_lost(&live);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = self.lost.notified() => {}
                () = ended_unnoticed => {}
            }
            // Try the node that was lost last of all.
            if !live.is_up() {
                candidates.rotate_left(1);
            }
        }
    }

    fn set_unless_closed(&self, next: State) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = next;
            }
            open
        });
    }

    /// Tries each node once, beginning with the first. On success the connected node stays in front.
    async fn try_each(
        &self,
        candidates: &mut VecDeque<Candidate>,
        was_up: bool,
        cuts: u32,
    ) -> Result<AmqpConnection, LinkError> {
        let n_candidates = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        // A caller that waits for the first connection gives up at the deadline, so each node gets a share of it.
        let patience = if was_up { self.target.deadline } else { self.target.deadline / n_candidates };
        let mut errors = Vec::new();
        for _ in 0..n_candidates {
            let Some(candidate) = candidates.front_mut() else { break };
            let attempt = async {
                if candidate.timed_out {
                    self.probe(&candidate.address, patience).await?;
                }
                self.connect(&candidate.address, patience, cuts).await
            };
            let attempt = attempt.await;
            candidate.timed_out = attempt.as_ref().is_err_and(|error| error.kind == BrokerErrorKind::TimedOut);
            match attempt {
                Ok(live) => return Ok(live),
                Err(error) => errors.push(error),
            }
            candidates.rotate_left(1);
        }
        Err(LinkError::all(errors))
    }

    async fn connect(&self, address: &Address, patience: Duration, cuts: u32) -> Result<AmqpConnection, LinkError> {
        let Target { name, deadline, .. } = &self.target;
        let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
        // The rest of the deadline is left for finding out what is wrong.
        let handshake = patience.mul_f64(0.7).min(HANDSHAKE.saturating_mul(1 << cuts.min(8)));
        match timeout(handshake, Connection::connect_uri(address.uri(), properties)).await {
            Ok(Ok(connection)) => {
                let unwatched = self.closed.child_token();
                Ok(AmqpConnection::new(connection, address.clone(), *deadline, unwatched, &self.tasks))
            }
            Ok(Err(error)) => {
                if let Some(error) = LinkError::while_connecting(address, &error) {
                    return Err(error);
                }
                self.probe(address, patience).await?;
                let detail = format!("cannot reach RabbitMQ at {address}: {error}");
                Err(LinkError::new(BrokerErrorKind::Disconnected, detail).cut_while_connecting())
            }
            Err(_elapsed) => {
                self.probe(address, patience).await?;
                Err(LinkError::timed_out(address, "connect", handshake).cut_while_connecting())
            }
        }
    }

    /// Checks with a plain socket whether the endpoint speaks AMQP at all, for a better error message.
    ///
    /// This also protects against an endpoint that accepts connections and then sends nothing: lapin keeps a thread
    /// for each such attempt until the peer hangs up. After the first silent attempt, this check precedes every
    /// further one.
    async fn probe(&self, address: &Address, patience: Duration) -> Result<(), LinkError> {
        if address.is_encrypted() {
            return Ok(());
        }
        let (address, patience) = (address.clone(), patience.mul_f64(0.1));
        let probe = self.tasks.spawn_blocking(move || greet(&address, patience));
        probe.await.unwrap_or(Ok(()))
    }
}

/// Sends the AMQP greeting and checks the answer.
///
/// An endpoint that hangs up or sends nothing may be a proxy in front of a broker that is down at the moment, so
/// connecting is retried. An endpoint that answers with another protocol will never be a broker.
fn greet(address: &Address, patience: Duration) -> Result<(), LinkError> {
    let exchange = || -> std::io::Result<[u8; 4]> {
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
    let strange = |kind, what: &str| Err(LinkError::new(kind, format!("the server at {address} {what}")));
    match exchange() {
        // A method frame on channel 0: `connection.start`.
        Ok([1, 0, 0, _]) => Ok(()),
        Ok([b'A', b'M', b'Q', b'P']) => strange(BrokerErrorKind::Protocol, "does not support AMQP 0-9-1"),
        Ok(_) => strange(BrokerErrorKind::Protocol, "does not speak AMQP"),
        Err(error) => match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                strange(BrokerErrorKind::TimedOut, "accepts connections but does not respond to AMQP")
            }
            kind if is_cut(kind) => {
                strange(BrokerErrorKind::Disconnected, "closes the connection when it receives AMQP")
                    .map_err(LinkError::cut_while_connecting)
            }
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression test: up to ten seconds used to pass between two attempts, so a process noticed with as much delay
    /// that the broker was back.
    #[test]
    fn reconnect_pause_never_exceeds_three_seconds() {
        let mut pauses = Pauses::new();
        let pauses: Vec<_> = (0..50).map(|_| pauses.next()).collect();
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(3)), "{pauses:?}");
        assert!(pauses[0] <= FIRST_PAUSE && pauses[49] >= Duration::from_millis(1_500), "{pauses:?}");
    }
}
