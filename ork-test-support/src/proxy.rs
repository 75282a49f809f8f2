//! A TCP proxy that can cut its connections, or drop all packets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::watch;

/// A proxy on a free loopback port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    open: Open,
    responses: Arc<AtomicU64>,
    away: Arc<watch::Sender<Away>>,
    stall: Arc<Stall>,
}

/// A stall holds bytes back, as a network does that drops every packet: nothing is closed, and nothing arrives.
#[derive(Debug, Default)]
struct Stall {
    state: Mutex<Stalled>,
    changed: Condvar,
    /// Whether a stall begins, instead of a cut, when [`Proxy::responses`] has counted down.
    is_next: AtomicBool,
    /// The number of connections that were opened during the latest stall.
    newcomers: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Stalled {
    is: bool,
    /// The number of stalls so far.
    count: u64,
    /// The number of a stall: connections that were opened before it began stay silent forever.
    lost_before: u64,
}

impl Stall {
    fn begin(&self) {
        let mut state = self.state.lock().unwrap();
        state.count += u64::from(!state.is);
        state.is = true;
        self.newcomers.send_replace(0);
        drop(state);
        self.changed.notify_all();
    }

    fn end(&self, is_lost: bool) {
        let mut state = self.state.lock().unwrap();
        state.is = false;
        if is_lost {
            state.lost_before = state.count;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Blocks until bytes may pass. Returns `false` if they never may, because the connection was lost in a stall;
    /// `since` is what [`Stall::last`] returned when it was opened.
    fn pass(&self, since: u64) -> bool {
        let state = self.changed.wait_while(self.state.lock().unwrap(), |state| state.is).unwrap();
        since >= state.lost_before
    }

    /// Returns the number of the latest stall, which a connection opened now survives.
    fn last(&self) -> u64 {
        let state = self.state.lock().unwrap();
        if state.is {
            self.newcomers.send_modify(|newcomers| *newcomers += 1);
        }
        state.count
    }
}

/// Whether the server counts as away, and how many connections have been hung up on since.
#[derive(Debug, Default)]
struct Away {
    is: bool,
    hung_up: u64,
}

/// Both ends of every connection.
type Open = Arc<Mutex<Vec<TcpStream>>>;

impl Proxy {
    /// Starts a proxy that forwards to this port.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open: Open = Arc::default();
        let streams = Arc::clone(&open);
        let responses = Arc::new(AtomicU64::new(u64::MAX));
        let left = Arc::clone(&responses);
        let away = Arc::new(watch::Sender::new(Away::default()));
        let now = Arc::clone(&away);
        let stall = Arc::new(Stall::default());
        let held = Arc::clone(&stall);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let far = TcpStream::connect(("127.0.0.1", target)).ok();
                let Some(far) = far.filter(|_| !now.borrow().is) else {
                    now.send_modify(|away| away.hung_up += 1);
                    continue;
                };
                // Each response is forwarded at once, so that what is counted is the responses of the server.
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let pair = [near.try_clone().unwrap(), far.try_clone().unwrap()];
                let mut open = streams.lock().unwrap();
                // Closed connections are dropped, so that a long test does not run out of file descriptors.
                open.retain(|stream: &TcpStream| stream.peer_addr().is_ok());
                open.extend(pair);
                drop(open);
                let (since, held) = (held.last(), Arc::clone(&held));
                let may_pass = Arc::clone(&held);
                let (from, to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                forward(from, to, move || may_pass.pass(since), || {});
                let (streams, left) = (Arc::clone(&streams), Arc::clone(&left));
                let may_pass = Arc::clone(&held);
                forward(
                    far,
                    near,
                    move || may_pass.pass(since),
                    move || {
                        let before =
                            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                        if before == Ok(1) {
                            if held.is_next.swap(false, Ordering::Relaxed) {
                                held.begin();
                            } else {
                                cut(&streams);
                            }
                        }
                    },
                );
            }
        });
        Self { port, open, responses, away, stall }
    }

    /// Starts a proxy in front of the node at this URL, which names its port. Returns the proxy and the URL through it.
    pub fn before(url: &str) -> (Self, String) {
        let authority = url.split("//").nth(1).unwrap().split('/').next().unwrap();
        let target = authority.rsplit(':').next().unwrap().parse().expect("a port");
        let proxy = Self::to(target);
        let through = url.replace(&format!(":{target}"), &format!(":{}", proxy.port()));
        (proxy, through)
    }

    /// Returns the port on which the proxy listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection. New ones are forwarded.
    pub fn cut(&self) {
        cut(&self.open);
    }

    /// Cuts every connection and hangs up on new ones, as if the server were away, until [`Proxy::come_back`].
    pub fn go_away(&self) {
        self.away.send_replace(Away { is: true, hung_up: 0 });
        self.cut();
    }

    /// Waits until the proxy has hung up on `hung_up` connections, and forwards again.
    pub async fn come_back(&self, hung_up: u64) {
        self.away.subscribe().wait_for(|away| away.hung_up >= hung_up).await.unwrap();
        self.away.send_modify(|away| away.is = false);
    }

    /// Cuts every connection once `responses` more responses, at least one, have been forwarded.
    pub fn cut_after(&self, responses: u64) {
        self.responses.store(responses, Ordering::Relaxed);
    }

    /// Drops every packet from now on: nothing is closed, and nothing arrives, on new connections either.
    pub fn stall(&self) {
        self.stall.begin();
    }

    /// Begins such a stall once `responses` more responses, at least one, have been forwarded.
    pub fn stall_after(&self, responses: u64) {
        self.stall.is_next.store(true, Ordering::Relaxed);
        self.responses.store(responses, Ordering::Relaxed);
    }

    /// Returns whether packets are dropped.
    pub fn is_stalled(&self) -> bool {
        self.stall.state.lock().unwrap().is
    }

    /// Waits until this many connections were opened during the stall, which means that the old ones were given up.
    pub async fn is_noticed(&self, connections: u64) {
        let mut newcomers = self.stall.newcomers.subscribe();
        newcomers.wait_for(|newcomers| *newcomers >= connections).await.unwrap();
    }

    /// Ends a stall. Bytes that were sent during it arrive, like packets that are sent again.
    pub fn go_on(&self) {
        self.stall.end(false);
    }

    /// Ends a stall that has outlasted its connections: they stay silent forever, and none of them is ever closed. New
    /// ones are forwarded.
    pub fn go_on_with_new_connections(&self) {
        self.stall.end(true);
    }

    /// Returns whether the cut or stall that was set for later has happened. If not, it is called off.
    pub fn has_cut(&self) -> bool {
        self.responses.swap(u64::MAX, Ordering::Relaxed) == 0
    }
}

fn cut(open: &Open) {
    for stream in open.lock().unwrap().drain(..) {
        // The other side may have closed first.
        let _gone = stream.shutdown(Shutdown::Both);
    }
}

/// Forwards the bytes that may pass, and calls `forwarded` after each piece.
fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    may_pass: impl Fn() -> bool + Send + 'static,
    forwarded: impl Fn() + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n_bytes @ 1..) = from.read(&mut buffer) {
            if !may_pass() {
                continue;
            }
            if to.write_all(&buffer[..n_bytes]).is_err() {
                break;
            }
            forwarded();
        }
        // Closing a connection sends a packet, too.
        if may_pass() {
            let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        }
    });
}
