//! A wire that can be cut: forwards one port to another until told to drop everything.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

/// A proxy on a free loopback port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    open: Open,
    answers: Arc<AtomicU64>,
    away: Arc<watch::Sender<Away>>,
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
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let far = TcpStream::connect(("127.0.0.1", target)).ok();
                let Some(far) = far.filter(|_| !now.borrow().is) else {
                    now.send_modify(|away| away.in_vain += 1);
                    continue;
                };
                let pair = [near.try_clone().unwrap(), far.try_clone().unwrap()];
                let mut open = streams.lock().unwrap();
                // Those that have ended are let go, so that a long test does not run out of files.
                open.retain(|stream: &TcpStream| stream.peer_addr().is_ok());
                open.extend(pair);
                drop(open);
                forward(near.try_clone().unwrap(), far.try_clone().unwrap(), || {});
                let (streams, left) = (Arc::clone(&streams), Arc::clone(&left));
                forward(far, near, move || {
                    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                    if before == Ok(1) {
                        cut(&streams);
                    }
                });
            }
        });
        Self { port, open, answers, away }
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

fn forward(mut from: TcpStream, mut to: TcpStream, forwarded: impl Fn() + Send + 'static) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n_bytes @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..n_bytes]).is_err() {
                break;
            }
            forwarded();
        }
        let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
