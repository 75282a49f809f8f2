//! News of a store, told to whoever waits in this process.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::event::Event;
use crate::id::JobId;
use crate::mutant::{self, Mutant};
use crate::tx::StoreNotice;

/// How much news may wait for a slow listener before it is told to look for itself.
const CAPACITY: usize = 1_024;

/// How many events may wait for a slow listener before it misses some.
const EVENTS: usize = 65_536;

/// Tells news. Moves of parts are frequent and few listen to them, so they go apart from the rest, and so do events.
#[derive(Debug, Clone)]
pub struct Notifier {
    news: broadcast::Sender<StoreNotice>,
    moves: broadcast::Sender<JobId>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Notifier {
    /// A teller without listeners.
    #[expect(clippy::new_without_default, reason = "every teller is another one")]
    pub fn new() -> Self {
        Self {
            news: broadcast::channel(CAPACITY).0,
            moves: broadcast::channel(CAPACITY).0,
            events: broadcast::channel(EVENTS).0,
        }
    }

    /// Tells; nobody may be listening.
    pub fn notify(&self, change: StoreNotice) {
        match change {
            StoreNotice::JobChanged(_) if self.moves.receiver_count() == 0 => {}
            StoreNotice::JobChanged(job) => drop(self.moves.send(job)),
            StoreNotice::Event(event) => drop(self.events.send(event)),
            StoreNotice::OutboxReady | StoreNotice::JobEnded(_) | StoreNotice::ChangedElsewhere => {
                drop(self.news.send(change))
            }
        }
    }

    /// Tells the events among these, and answers the rest. A store does so before it answers anybody: whoever hears of a
    /// job in its answer may have something to tell of it.
    pub fn send_events(&self, notifier: Vec<StoreNotice>) -> impl Iterator<Item = StoreNotice> + use<> {
        let (events, rest): (Vec<_>, Vec<_>) =
            notifier.into_iter().partition(|change| matches!(change, StoreNotice::Event(_)));
        for event in events {
            self.notify(event);
        }
        rest.into_iter()
    }

    /// Whether anybody listens to events here.
    pub fn has_listeners(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// The events of this process, from now on.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Everything but moves, from now on.
    pub fn watch(&self) -> broadcast::Receiver<StoreNotice> {
        self.news.subscribe()
    }

    /// What may concern one job, from now on: its end, or also every move.
    pub fn of(&self, job: JobId, moves: bool) -> JobWatcher {
        JobWatcher { job, news: self.news.subscribe(), moves: moves.then(|| self.moves.subscribe()) }
    }
}

/// News that may concern one job.
#[derive(Debug)]
pub struct JobWatcher {
    job: JobId,
    news: broadcast::Receiver<StoreNotice>,
    moves: Option<broadcast::Receiver<JobId>>,
}

impl JobWatcher {
    /// Waits until something may have changed about the job.
    ///
    /// # Cancel safety
    /// No news is lost if the future is dropped.
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
                    // A store that is closed says so when it is asked.
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
