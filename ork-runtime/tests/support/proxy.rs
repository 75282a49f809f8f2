//! A wire that can be cut: forwards one port to another until told to drop everything.

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
    answers: Arc<AtomicU64>,
    away: Arc<watch::Sender<Away>>,
    stall: Arc<Stall>,
}

/// Whether bytes are held back, as a network does that drops every packet: nothing is closed, and nothing arrives.
#[derive(Debug, Default)]
struct Stall {
    state: Mutex<Stalled>,
    changed: Condvar,
    /// Whether the answer that [`Proxy::answers`] counts down to begins a stall instead of cutting everything.
    is_next: AtomicBool,
    /// How many connections began in the last one.
    newcomers: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Stalled {
    is: bool,
    /// How many stalls have begun.
    begun: u64,
    /// Connections that are older than this stall stay silent for good.
    lost_before: u64,
}

impl Stall {
    fn begin(&self) {
        let mut state = self.state.lock().unwrap();
        state.begun += u64::from(!state.is);
        state.is = true;
        self.newcomers.send_replace(0);
        drop(state);
        self.changed.notify_all();
    }

    fn end(&self, is_lost: bool) {
        let mut state = self.state.lock().unwrap();
        state.is = false;
        if is_lost {
            state.lost_before = state.begun;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until bytes may pass; false if those of a connection that began in this stall never may.
    fn pass(&self, since: u64) -> bool {
        let state = self.changed.wait_while(self.state.lock().unwrap(), |state| state.is).unwrap();
        since >= state.lost_before
    }

    /// The last stall, which a connection that begins now outlives.
    fn last(&self) -> u64 {
        let state = self.state.lock().unwrap();
        if state.is {
            self.newcomers.send_modify(|newcomers| *newcomers += 1);
        }
        state.begun
    }
}

/// Whether the other end is, and on how many that came for it was hung up.
#[derive(Debug, Default)]
struct Away {
    is: bool,
    in_vain: u64,
}

/// Both ends of every connection.
type Open = Arc<Mutex<Vec<TcpStream>>>;

impl Proxy {
    /// Forwards to this port.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open: Open = Arc::default();
        let streams = Arc::clone(&open);
        let answers = Arc::new(AtomicU64::new(u64::MAX));
        let left = Arc::clone(&answers);
        let away = Arc::new(watch::Sender::new(Away::default()));
        let now = Arc::clone(&away);
        let stall = Arc::new(Stall::default());
        let held = Arc::clone(&stall);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let far = TcpStream::connect(("127.0.0.1", target)).ok();
                let Some(far) = far.filter(|_| !now.borrow().is) else {
                    now.send_modify(|away| away.in_vain += 1);
                    continue;
                };
                // Each answer is forwarded at once, so that those who count them count the server's.
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let pair = [near.try_clone().unwrap(), far.try_clone().unwrap()];
                let mut open = streams.lock().unwrap();
                // Those that have ended are let go, so that a long test does not run out of files.
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
        Self { port, open, answers, away, stall }
    }

    /// Before the node at this URL, which names its port; answers with the URL through it.
    pub fn before(url: &str) -> (Self, String) {
        let authority = url.split("//").nth(1).unwrap().split('/').next().unwrap();
        let target = authority.rsplit(':').next().unwrap().parse().expect("a port");
        let proxy = Self::to(target);
        let through = url.replace(&format!(":{target}"), &format!(":{}", proxy.port()));
        (proxy, through)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection; new ones are forwarded again.
    pub fn cut(&self) {
        cut(&self.open);
    }

    /// Cuts every connection and hangs up on new ones, as if the other end were away, until [`Proxy::is_back`].
    pub fn is_away(&self) {
        self.away.send_replace(Away { is: true, in_vain: 0 });
        self.cut();
    }

    /// Once it has hung up on so many: forwards again.
    pub async fn is_back(&self, in_vain: u64) {
        self.away.subscribe().wait_for(|away| away.in_vain >= in_vain).await.unwrap();
        self.away.send_modify(|away| away.is = false);
    }

    /// Cuts every connection once so many answers, at least one, have been forwarded from now on.
    pub fn cut_after(&self, answers: u64) {
        self.answers.store(answers, Ordering::Relaxed);
    }

    /// Drops every packet from now on: nothing is closed, and nothing arrives, also on new connections.
    pub fn stall(&self) {
        self.stall.begin();
    }

    /// Does so once so many answers, at least one, have been forwarded from now on.
    pub fn stall_after(&self, answers: u64) {
        self.stall.is_next.store(true, Ordering::Relaxed);
        self.answers.store(answers, Ordering::Relaxed);
    }

    /// Whether packets are dropped.
    pub fn is_stalled(&self) -> bool {
        self.stall.state.lock().unwrap().is
    }

    /// Waits until so many connections have been tried since the stall began: whoever had one has given it up.
    pub async fn is_noticed(&self, connections: u64) {
        let mut newcomers = self.stall.newcomers.subscribe();
        newcomers.wait_for(|newcomers| *newcomers >= connections).await.unwrap();
    }

    /// Ends a stall: what was sent in it arrives, as packets do that are sent again.
    pub fn go_on(&self) {
        self.stall.end(false);
    }

    /// Ends a stall that has outlasted its connections: they stay silent for good, and none of them is ever closed. New
    /// ones are forwarded.
    pub fn go_on_with_new_connections(&self) {
        self.stall.end(true);
    }

    /// Whether that has come to pass. It does not any more after this.
    pub fn has_cut(&self) -> bool {
        self.answers.swap(u64::MAX, Ordering::Relaxed) == 0
    }
}

fn cut(open: &Open) {
    for stream in open.lock().unwrap().drain(..) {
        // The other side may have gone first.
        let _gone = stream.shutdown(Shutdown::Both);
    }
}

/// Forwards what may pass, and says so after each piece.
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
        // The goodbye is a packet, too.
        if may_pass() {
            let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        }
    });
}
