//! Notifications between processes by `NOTIFY`, in payloads as short as possible.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Acquire as _, Connection as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::readers::Readers;
use crate::session::{PATIENCE, pause};
use crate::url::Address;
use ork_core::id::JobId;
use ork_core::tx::StoreNotice;
use ork_ports::store::Notifier;

/// The minimum time between two notifications that jobs have changed. Such changes are frequent and have few
/// listeners, and the server commits transactions that notify one after the other.
pub(crate) const MOVES: Duration = Duration::from_millis(200);

/// If no notification arrives for this long, the listening connection is checked: a network that drops packets ends it
/// without an error, and a listener sends nothing that could fail. The check needs no statement.
const QUIET: Duration = Duration::from_secs(5);

/// The maximum number of jobs in one notification: the server limits payloads to 8,000 bytes. With more jobs, a
/// notification only says that something has changed.
const MOST: usize = 100;

/// The changes that have not been announced to other processes yet.
#[derive(Debug)]
pub(crate) struct News {
    moved: BTreeSet<JobId>,
    last_sent: Option<Instant>,
}

impl News {
    pub(crate) const fn new() -> Self {
        Self { moved: BTreeSet::new(), last_sent: None }
    }

    /// Returns the time at which the changes that were held back may be announced; `None` if there are none.
    pub(crate) fn due(&self) -> Option<Instant> {
        let last_sent = self.last_sent.unwrap_or_else(Instant::now);
        (!self.moved.is_empty()).then(|| last_sent + MOVES)
    }

    /// Returns the payload for these changes, and for the changes that were held back if they are due. `None` if there
    /// is nothing to announce.
    pub(crate) fn payload(&mut self, boot: Uuid, notices: &[StoreNotice]) -> Option<String> {
        let mut payload = boot.simple().to_string();
        let none = payload.len();
        if notices.contains(&StoreNotice::OutboxReady) {
            payload.push_str(" outbox");
        }
        let mut ended = BTreeSet::new();
        for change in notices {
            match change {
                StoreNotice::JobEnded(job) => drop(ended.insert(*job)),
                StoreNotice::JobChanged(job) => drop(self.moved.insert(*job)),
                StoreNotice::OutboxReady | StoreNotice::ChangedElsewhere | StoreNotice::Event(_) => {}
            }
        }
        self.moved.retain(|job| !ended.contains(job));
        let mut say = |word: char, jobs: &BTreeSet<JobId>| {
            if jobs.len() > MOST {
                payload.push_str(" more");
            } else {
                for job in jobs {
                    let _infallible = write!(payload, " {word}{job}");
                }
            }
        };
        say('e', &ended);
        if self.due().is_some_and(|due| self.last_sent.is_none() || due <= Instant::now()) {
            say('m', &std::mem::take(&mut self.moved));
            self.last_sent = Some(Instant::now());
        }
        (payload.len() > none).then_some(payload)
    }
}

/// Parses the payload of another process. Returns nothing for a payload of this process.
fn read(payload: &str, boot: Uuid) -> Vec<StoreNotice> {
    let mut words = payload.split(' ');
    if words.next() == Some(boot.simple().to_string().as_str()) {
        return Vec::new();
    }
    let change = |word: &str| match word {
        "outbox" => StoreNotice::OutboxReady,
        word => {
            let job = |prefix| word.strip_prefix(prefix).and_then(|id: &str| id.parse().ok());
            job('e')
                .map(StoreNotice::JobEnded)
                .or_else(|| job('m').map(StoreNotice::JobChanged))
                .unwrap_or(StoreNotice::ChangedElsewhere)
        }
    };
    words.map(change).collect()
}

/// Receives the notifications of other processes.
pub(crate) struct Listener {
    options: PgConnectOptions,
    boot: Uuid,
    notifier: Notifier,
    /// The reading connections. They are replaced together with the listening connection: if that was lost, they may
    /// be lost, too.
    readers: Arc<Readers>,
    /// Notified when another connection of this process was found dead: this one may be dead without having failed.
    suspect: Arc<Notify>,
}

impl Listener {
    pub(crate) fn new(
        address: &Address,
        boot: Uuid,
        notifier: Notifier,
        readers: Arc<Readers>,
        suspect: Arc<Notify>,
    ) -> Self {
        Self { options: address.options("ork news"), boot, notifier, readers, suspect }
    }

    /// Connects and starts to listen.
    pub(crate) async fn listen(&self) -> sqlx::Result<PgListener> {
        // Each connection has a separate pool. In a shared one, the previous connection would be returned with a last
        // statement, and the pool would wait for its reply for as long as the network is silent.
        let pool =
            PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).max_lifetime(None).idle_timeout(None);
        let mut listener = PgListener::connect_with(&pool.connect_lazy_with(self.options.clone())).await?;
        listener.eager_reconnect(false);
        listener.listen("ork").await?;
        Ok(listener)
    }

    /// Forwards notifications until the store is closed. After a reconnect it sends [`StoreNotice::ChangedElsewhere`]
    /// and [`StoreNotice::OutboxReady`], as notifications may have been missed.
    pub(crate) async fn run(self, first: PgListener, closing: CancellationToken) {
        let mut listener = Some(first);
        let mut failures = 0;
        while !closing.is_cancelled() {
            let Some(current) = &mut listener else {
                let connected = tokio::select! {
                    () = closing.cancelled() => return,
                    connected = async { sleep(pause(failures)).await; self.listen().await } => connected,
                };
                match connected {
                    Ok(connected) => {
                        (listener, failures) = (Some(connected), 0);
                        self.readers.renew();
                        self.notifier.notify(StoreNotice::ChangedElsewhere);
                        self.notifier.notify(StoreNotice::OutboxReady);
                    }
                    Err(_) => failures += 1,
                }
                continue;
            };
            tokio::select! {
                () = closing.cancelled() => return,
                () = self.suspect.notified() => listener = None,
                () = sleep(QUIET) => if !is_alive(current).await {
                    tracing::debug!(
                        "the connection that listens for notifications of PostgreSQL has stopped responding"
                    );
                    (listener, failures) = (None, failures.max(1));
                },
                received = current.try_recv() => if let Ok(Some(notification)) = received {
                    for change in read(notification.payload(), self.boot) {
                        self.notifier.notify(change);
                    }
                } else {
                    (listener, failures) = (None, failures.max(1));
                },
            }
        }
    }
}

/// Whether the server replies. Notifications that arrive before the reply are kept.
async fn is_alive(listener: &mut PgListener) -> bool {
    let kind = async { listener.acquire().await?.ping().await };
    matches!(timeout(QUIET, kind).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_parsed_by_others_and_ignored_by_its_sender() {
        let (boot, other, job) = (Uuid::new_v4(), Uuid::new_v4(), JobId::new());
        let notices = [StoreNotice::OutboxReady, StoreNotice::JobEnded(job)];
        let payload = News::new().payload(boot, &notices).unwrap();
        assert_eq!(read(&payload, other), notices);
        assert_eq!(read(&payload, boot), []);
        assert_eq!(News::new().payload(boot, &[]), None);
        let many: Vec<_> = (0..200).map(|_| StoreNotice::JobEnded(JobId::new())).collect();
        assert_eq!(read(&News::new().payload(boot, &many).unwrap(), other), [StoreNotice::ChangedElsewhere]);
    }

    #[test]
    fn job_changes_are_announced_at_once_and_then_rate_limited() {
        let (mut news, boot, job) = (News::new(), Uuid::new_v4(), JobId::new());
        assert!(news.payload(boot, &[StoreNotice::JobChanged(job)]).is_some());
        assert_eq!(news.payload(boot, &[StoreNotice::JobChanged(job)]), None);
        assert!(news.due().is_some());
    }
}
