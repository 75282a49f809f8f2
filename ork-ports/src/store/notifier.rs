//! Notifications about changes in a store, for listeners in this process.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use ork_core::event::Event;
use ork_core::id::JobId;
use ork_core::mutant::{self, Mutant};
use ork_core::tx::StoreNotice;

/// The number of notices that may wait for a slow listener. If more are sent, the listener must look at the store
/// itself.
const CAPACITY: usize = 1_024;

/// The number of events that may wait for a slow listener before it misses some.
const EVENTS: usize = 65_536;

/// Announces changes of a store to the listeners in this process.
///
/// There are three channels: one for [`StoreNotice::JobChanged`], which is sent often and has few listeners; one for
/// events; and one for everything else.
#[derive(Debug, Clone)]
pub struct Notifier {
    news: broadcast::Sender<StoreNotice>,
    moves: broadcast::Sender<JobId>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Notifier {
    /// Creates a notifier without listeners.
    #[expect(clippy::new_without_default, reason = "each call creates a separate notifier")]
    pub fn new() -> Self {
        Self {
            news: broadcast::channel(CAPACITY).0,
            moves: broadcast::channel(CAPACITY).0,
            events: broadcast::channel(EVENTS).0,
        }
    }

    /// Sends a notice. There may be no listener.
    pub fn notify(&self, change: StoreNotice) {
        match change {
            StoreNotice::JobChanged(_) if self.moves.receiver_count() == 0 => {}
            StoreNotice::JobChanged(job) => drop(self.moves.send(job)),
            StoreNotice::Event(event) => drop(self.events.send(event)),
            StoreNotice::OutboxReady | StoreNotice::JobEnded(_) | StoreNotice::ChangedElsewhere => {
                drop(self.news.send(change));
            }
        }
    }

    /// Sends the events among these notices, and returns the other notices. A store does this before it returns
    /// results to any caller: a caller that learns of a job in a result may cause further events of that job.
    pub fn send_events(&self, notices: Vec<StoreNotice>) -> impl Iterator<Item = StoreNotice> + use<> {
        let (events, rest): (Vec<_>, Vec<_>) =
            notices.into_iter().partition(|change| matches!(change, StoreNotice::Event(_)));
        for event in events {
            self.notify(event);
        }
        rest.into_iter()
    }

    /// Whether this process has listeners for events.
    pub fn has_listeners(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// Subscribes to the events of this process.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Subscribes to all notices except [`StoreNotice::JobChanged`] and events.
    pub fn watch(&self) -> broadcast::Receiver<StoreNotice> {
        self.news.subscribe()
    }

    /// Subscribes to notices that may concern one job: its end and, if `moves` is set, every change.
    pub fn of(&self, job: JobId, moves: bool) -> JobWatcher {
        JobWatcher { job, news: self.news.subscribe(), moves: moves.then(|| self.moves.subscribe()) }
    }
}

/// Receives the notices that may concern one job.
#[derive(Debug)]
pub struct JobWatcher {
    job: JobId,
    news: broadcast::Receiver<StoreNotice>,
    moves: Option<broadcast::Receiver<JobId>>,
}

impl JobWatcher {
    /// Waits until the job may have changed.
    ///
    /// # Cancel safety
    /// No notice is lost if the future is dropped.
    pub async fn changed(&mut self) {
        loop {
            let moved = async {
                match &mut self.moves {
                    Some(moves) => moves.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    Ok(StoreNotice::JobEnded(job)) if job != self.job => {}
                    Ok(StoreNotice::OutboxReady | StoreNotice::JobChanged(_) | StoreNotice::Event(_)) => {}
                    Ok(StoreNotice::ChangedElsewhere) if mutant::is_on(Mutant::IgnoresElsewhere) => {}
                    // Once the store is closed, the next call of the store returns that error.
                    Ok(StoreNotice::JobEnded(_) | StoreNotice::ChangedElsewhere) | Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                },
                moved = moved => match moved {
                    Ok(job) if job != self.job => {}
                    Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                },
            }
        }
    }
}
