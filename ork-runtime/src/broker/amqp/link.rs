//! One connection that is a state: up, or down and being made again. Nobody but this file connects or reconnects.
//!
//! lapin's own recovery stays off. It replays topology and consumers behind our back, and a delivery tag of before
//! would then be sent on the channel of after; here whoever uses a connection notices that it is another one.

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

use super::error::{Cut, Trouble, is_cut};
use super::live::Live;
use super::topology::Topology;
use super::url::{Address, Addresses};
use crate::broker::BrokerErrorKind;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Once the broker can be reached again, nothing waits for longer. An attempt in vain costs the broker next to nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How long the first handshake may take of those that are cut, which lapin does not always notice; the next one may
/// take twice as long.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// So many times in turn a connection may be cut while it is made, before whoever asked for the first one is told.
const CUTS: u32 = 4;

/// How many connections in turn may have no channel left before the caller is told.
const CONNECTIONS: u32 = 3;

/// A pause that doubles up to [`LONGEST_PAUSE`], of which up to a half is taken off at random.
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
                State::Up(live) if live.is_up() && !live.is_worn() => return Ok(live),
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

    /// The same on a connection on which everything is declared that this process needs.
    pub(super) async fn prepared(self: &Arc<Self>, topology: &Topology) -> Result<(Arc<Live>, Channel), Trouble> {
        let (live, channel) = self.channel("open a channel").await?;
        live.prepare(topology).await?;
        Ok((live, channel))
    }

    /// Something turned out to be missing: the next [`Link::prepared`] declares everything again.
    pub(super) async fn is_unprepared(&self) {
        let state = self.state.borrow().clone();
        if let State::Up(live) = state {
            live.is_unprepared().await;
        }
    }

    /// A channel on the connection, or on another one if that has none left.
    pub(super) async fn channel(self: &Arc<Self>, doing: &str) -> Result<(Arc<Live>, Channel), Trouble> {
        let mut tries = 1..=CONNECTIONS;
        loop {
            let live = self.live().await?;
            match live.channel(doing).await {
                Ok(channel) => return Ok((live, channel)),
                Err(trouble) if tries.next().is_none() || !live.is_worn() => return Err(trouble),
                Err(_worn) => self.is_lost(&live),
            }
        }
    }

    /// Says that this connection is of no more use: it has ended, or it opens no more channels. In the second case the
    /// channels that it has are used until they end, and then it is closed.
    pub(super) fn is_lost(&self, live: &Arc<Live>) {
        let changed = self.state.send_if_modified(|state| {
            let ours = matches!(state, State::Up(now) if Arc::ptr_eq(now, live));
            if ours {
                *state = State::Down { failures: 0, was_up: true, trouble: None };
            }
            ours
        });
        if changed {
            if live.is_up() {
                tracing::debug!(broker = %live.address(), "another connection to RabbitMQ takes the place of a worn one");
            } else {
                tracing::warn!(broker = %live.address(), "lost the connection to RabbitMQ, reconnecting");
            }
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
            && timeout(within, live.close()).await.is_err()
        {
            tracing::debug!(broker = %live.address(), "RabbitMQ did not answer the goodbye");
        }
    }

    async fn run(&self) {
        let (mut was_up, mut failures, mut cuts) = (false, 0, 0);
        let addresses = self.target.addresses.as_slice().iter();
        let mut candidates: VecDeque<_> =
            addresses.map(|address| Candidate { address: address.clone(), silent: false }).collect();
        loop {
            let mut back_off = BackOff::new();
            let live = loop {
                let trouble = tokio::select! {
                    biased;
                    () = self.closed.cancelled() => return,
                    attempt = self.try_each(&mut candidates, was_up, cuts) => match attempt {
                        Ok(live) => break live,
                        Err(trouble) => trouble,
                    },
                };
                // Before it was ever up, whoever asked for it is told, and may give up.
                if failures == 0 && was_up {
                    tracing::warn!(error = trouble.words, "no connection to RabbitMQ, trying on");
                }
                cuts = if trouble.cut == Cut::No { 0 } else { cuts + 1 };
                // One that was cut while it was made says nothing of the next one.
                if cuts == 0 || cuts >= CUTS {
                    failures += 1;
                }
                self.become_if_open(State::Down { failures, was_up, trouble: Some(trouble) });
                tokio::select! {
                    () = self.closed.cancelled() => return,
                    () = self.nudge.notified() => {}
                    () = sleep(back_off.next()) => {}
                }
            };
            tracing::info!(broker = %live.address(), again = was_up, "connected to RabbitMQ");
            let live = Arc::new(live);
            self.become_if_open(State::Up(Arc::clone(&live)));
            (was_up, failures, cuts) = (true, 0, 0);
            let unnoticed = async {
                live.ended().await;
                self.is_lost(&live);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = self.lost.notified() => {}
                () = unnoticed => {}
            }
            // The one that was lost is tried last.
            if !live.is_up() {
                candidates.rotate_left(1);
            }
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
    async fn try_each(&self, candidates: &mut VecDeque<Candidate>, was_up: bool, cuts: u32) -> Result<Live, Trouble> {
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
                self.connect(&candidate.address, patience, cuts).await
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

    async fn connect(&self, address: &Address, patience: Duration, cuts: u32) -> Result<Live, Trouble> {
        let Target { name, deadline, .. } = &self.target;
        let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
        // The rest of the deadline is for finding out what is wrong.
        let handshake = patience.mul_f64(0.7).min(HANDSHAKE.saturating_mul(1 << cuts.min(8)));
        match timeout(handshake, Connection::connect_uri(address.uri(), properties)).await {
            Ok(Ok(connection)) => {
                let unwatched = self.closed.child_token();
                Ok(Live::new(connection, address.clone(), *deadline, unwatched, &self.tasks))
            }
            Ok(Err(error)) => {
                if let Some(trouble) = Trouble::while_connecting(address, &error) {
                    return Err(trouble);
                }
                self.look(address, patience).await?;
                let words = format!("cannot reach RabbitMQ at {address}: {error}");
                Err(Trouble::new(BrokerErrorKind::Disconnected, words).while_made())
            }
            Err(_elapsed) => {
                self.look(address, patience).await?;
                Err(Trouble::timed_out(address, "connect", handshake).while_made())
            }
        }
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
            kind if is_cut(kind) => {
                strange(BrokerErrorKind::Disconnected, "hangs up when it hears AMQP").map_err(Trouble::while_made)
            }
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before, up to ten seconds went by between two attempts, so that a process heard of a broker that was back with
    /// as much delay.
    #[test]
    fn a_pause_between_two_attempts_is_never_longer_than_three_seconds() {
        let mut back_off = BackOff::new();
        let pauses: Vec<_> = (0..50).map(|_| back_off.next()).collect();
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(3)), "{pauses:?}");
        assert!(pauses[0] <= FIRST_PAUSE && pauses[49] >= Duration::from_millis(1_500), "{pauses:?}");
    }
}
