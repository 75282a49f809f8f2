//! The `embedded` broker: no broker process at all. The outbox of the store is the durable queue, and this module
//! delivers its rows within the process.
//!
//! A row stays in the outbox until its messages are settled, so another process takes the rows of a process that has
//! died.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::yielding::Yielding;
use super::{Acker, Broker, BrokerError, BrokerErrorKind, Delivery, Disposition, Replies, Subscribe, Subscription};
use crate::clock::Clock;
use crate::event::EventRouting;
use crate::id::WorkerId;
use crate::message::{Message, Outgoing, WorkKind};
use crate::mutant::{self, Mutant};
use crate::runtime::Runtime;
use crate::store::{OutboxPage, Store, Take};
use crate::tx::{Actor, HeldRow, OutboxId, StoreNotice};

/// The time to wait before the next call to a store that has failed.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// A broker that delivers the outbox of a store within this process.
#[derive(Debug)]
pub struct Embedded {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    runtime: Arc<dyn Runtime>,
    worker: WorkerId,
    yielding: Arc<Yielding>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Embedded {
    /// Creates a broker over this store, for this process.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, runtime: Arc<dyn Runtime>, worker: WorkerId) -> Self {
        let (yielding, tasks, closing) = (Arc::new(Yielding::new()), TaskTracker::new(), CancellationToken::new());
        Self { store, clock, runtime, worker, yielding, tasks, closing }
    }
}

#[async_trait]
impl Broker for Embedded {
    fn needs_relay(&self) -> bool {
        false
    }

    fn yield_delayed(&self) {
        self.yielding.begin(self.clock.now());
    }

    async fn prepare(&self, _queues: &[Subscribe]) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>> {
        let message = "cannot publish: this process has no broker, its messages go through the store";
        messages.iter().map(|_| Err(BrokerError::new(BrokerErrorKind::Config, message))).collect()
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        let (deliveries, receiver) = mpsc::unbounded_channel();
        let stop = self.closing.child_token();
        let (resize, window) = watch::channel(usize::from(subscribe.window));
        let held = Arc::new(HeldRows::default());
        let pump = Pump {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            worker: self.worker.clone(),
            yielding: Arc::clone(&self.yielding),
            tasks: subscribe.tasks.into(),
            changes: self.store.notifier().watch(),
            held: Arc::clone(&held),
            deliveries,
            window,
            stop: stop.clone(),
        };
        let settle = Settler {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            worker: self.worker.clone(),
            held,
            closing: self.closing.clone(),
        };
        self.runtime.spawn(Box::pin(self.tasks.track_future(pump.run())));
        self.runtime.spawn(Box::pin(self.tasks.track_future(settle.run())));
        Ok(Box::new(EmbeddedSubscription { receiver, resize, stop }))
    }

    async fn replies(&self) -> Result<Option<Replies>, BrokerError> {
        Ok(None)
    }

    async fn check(&self) -> Result<String, BrokerError> {
        Ok("embedded: messages go through the store".into())
    }

    async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[derive(Debug)]
struct EmbeddedSubscription {
    /// An unbounded channel; the window limits how many deliveries it holds.
    receiver: mpsc::UnboundedReceiver<Delivery>,
    resize: watch::Sender<usize>,
    stop: CancellationToken,
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }

    fn ready(&mut self) -> Option<Delivery> {
        self.receiver.try_recv().ok()
    }

    fn resize(&mut self, window: u16) {
        self.resize.send_replace(usize::from(window));
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        self.receiver.close();
        // Dropping the deliveries still in the channel releases them.
        while self.receiver.recv().await.is_some() {}
    }
}

/// The rows that this process holds, and how many messages of each are not settled.
#[derive(Debug, Default)]
struct HeldRows {
    /// The rows that are open, done or released.
    rows: Mutex<Rows>,
    /// Notified when few enough messages are open for the pump to take more rows.
    settled: Notify,
    /// Notified when a row is completely settled, so that the settler updates the outbox.
    done: Notify,
}

#[derive(Debug, Default)]
struct Rows {
    /// The rows with messages that are not settled yet.
    open: HashMap<OutboxId, Row>,
    /// The number of rows that this process has taken so far. It numbers the acquisitions.
    n_acquired: u64,
    /// The number of messages that are delivered and not settled, over all acquisitions.
    messages: usize,
    /// The pump is notified once no more messages than this are open.
    low: usize,
    /// Rows that are settled, to be deleted from the outbox.
    done: Vec<OutboxId>,
    /// Rows of which at least one message was requeued, to be released in the outbox.
    released: Vec<OutboxId>,
}

#[derive(Debug)]
struct Row {
    acquisition: Acquisition,
    /// The number of messages of the row that are not settled yet.
    left: usize,
    /// Whether one of its messages was requeued, so that the row must stay in the outbox.
    released: bool,
}

/// One time that this process took a row. A process that was presumed dead loses its rows and may take the same row
/// again: an acker from the first time must not settle the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Acquisition {
    row: OutboxId,
    number: u64,
}

impl HeldRows {
    fn rows(&self) -> std::sync::MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many messages are open, and arranges for a notification once no more than `low` are.
    fn open(&self, low: usize) -> usize {
        let mut rows = self.rows();
        rows.low = low;
        rows.messages
    }

    fn add(&self, row: &HeldRow) -> Acquisition {
        let mut rows = self.rows();
        let left = row.messages.len();
        rows.messages += left;
        rows.n_acquired += 1;
        rows.released.retain(|id| *id != row.id);
        let acquisition = Acquisition { row: row.id, number: rows.n_acquired };
        if left == 0 {
            rows.done.push(row.id);
            self.done.notify_one();
        } else {
            rows.open.insert(row.id, Row { acquisition, left, released: false });
        }
        acquisition
    }

    fn take_settled(&self) -> (Vec<OutboxId>, Vec<OutboxId>) {
        let mut rows = self.rows();
        (std::mem::take(&mut rows.done), std::mem::take(&mut rows.released))
    }

    fn put_back(&self, done: Vec<OutboxId>, released: Vec<OutboxId>) {
        let mut rows = self.rows();
        rows.done.extend(done);
        // A row that was taken again in the meantime is not released under its new acquisition.
        let released: Vec<_> = released.into_iter().filter(|row| !rows.open.contains_key(row)).collect();
        rows.released.extend(released);
    }

    fn settle(&self, acquisition: Acquisition, released: bool) {
        let (mut rows, id) = (self.rows(), acquisition.row);
        rows.messages = rows.messages.saturating_sub(1);
        let is_current =
            |row: &&mut Row| row.acquisition == acquisition || mutant::is_on(Mutant::SettlesEarlierAcquisition);
        if let Some(row) = rows.open.get_mut(&id).filter(is_current) {
            row.released |= released;
            row.left -= 1;
            if row.left == 0 {
                let released = row.released;
                rows.open.remove(&id);
                if released && !mutant::is_on(Mutant::ForgetsReleased) {
                    rows.released.push(id);
                } else {
                    rows.done.push(id);
                }
                self.done.notify_one();
            }
        }
        let low = rows.messages <= rows.low;
        drop(rows);
        if low {
            self.settled.notify_one();
        }
    }
}

/// Settles one message of a row.
#[derive(Debug)]
struct EmbeddedAcker {
    held: Arc<HeldRows>,
    acquisition: Acquisition,
    settled: bool,
}

impl Acker for EmbeddedAcker {
    fn settle(mut self: Box<Self>, disposition: Disposition) {
        self.settled = true;
        // There is no dead letter queue here: the job in the store records why it failed.
        self.held
            .settle(self.acquisition, matches!(disposition, Disposition::Requeue | Disposition::RequeueElsewhere(..)));
    }
}

impl Drop for EmbeddedAcker {
    fn drop(&mut self) {
        if !self.settled {
            self.held.settle(self.acquisition, true);
        }
    }
}

/// Takes rows from the outbox and delivers their messages, as many as the window allows.
struct Pump {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    worker: WorkerId,
    yielding: Arc<Yielding>,
    tasks: Arc<[String]>,
    changes: broadcast::Receiver<StoreNotice>,
    held: Arc<HeldRows>,
    deliveries: mpsc::UnboundedSender<Delivery>,
    window: watch::Receiver<usize>,
    stop: CancellationToken,
}

impl Pump {
    /// Runs until it is stopped or the subscription is dropped. It ends only between two calls of `take`: a row taken
    /// while it ends would stay held by this process, with no task left that knows of it.
    async fn run(mut self) {
        let (stop, deliveries, clock) = (self.stop.clone(), self.deliveries.clone(), Arc::clone(&self.clock));
        let mut more = true;
        let mut next_due = None;
        while !stop.is_cancelled() && !deliveries.is_closed() {
            let size = *self.window.borrow_and_update();
            // While other messages are in progress, a transaction for only one or two more is not worth its cost.
            let min_rows = size.div_ceil(4).max(1);
            let room = size.saturating_sub(self.held.open(size.saturating_sub(min_rows)));
            if more && room >= min_rows {
                let Some(OutboxPage { rows, next_due: due, more: cut }) = self.take(room).await else {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = clock.pause(PAUSE) => {}
                    }
                    continue;
                };
                // The parts of a row that was lost with a worker are returned one at a time, so a short page does not
                // mean that no more are due.
                let lost = rows.iter().any(|row| row.losses > 0);
                (more, next_due) = (cut || lost, due);
                self.deliver(rows);
                continue;
            }
            let due = async {
                match next_due {
                    Some(due) if !mutant::is_on(Mutant::MissesDue) => {
                        clock.pause_until(due + self.yielding.pause(&self.worker, due)).await;
                    }
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = deliveries.closed() => {}
                () = self.held.settled.notified(), if more => {}
                changed = self.window.changed() => if changed.is_err() { return },
                () = due, if !more => more = true,
                change = self.changes.recv() => match change {
                    Ok(StoreNotice::OutboxReady) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        more = true;
                        // One look at the outbox covers all notices received so far.
                        while self.changes.try_recv().is_ok() {}
                    }
                    Ok(StoreNotice::JobEnded(_) | StoreNotice::JobChanged(_) | StoreNotice::ChangedElsewhere | StoreNotice::Event(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    async fn take(&self, limit: usize) -> Option<OutboxPage> {
        let actor = Actor { worker: self.worker.clone(), now: self.clock.now(), hold: true, events: EventRouting::Off };
        let tasks = Some(Arc::clone(&self.tasks)).filter(|_| !mutant::is_on(Mutant::TakesUnknownTasks));
        let taken = self.store.take_outbox(Take { limit, tasks, actor }).await;
        taken.inspect_err(|error| tracing::warn!(%error, "cannot read the outbox")).ok()
    }

    /// Sends deliveries to the subscription. If it is gone, they are dropped with their ackers, and so released.
    fn deliver(&self, rows: Vec<HeldRow>) {
        let acquisitions: Vec<_> = rows.iter().map(|row| self.held.add(row)).collect();
        for delivery in
            rows.into_iter().zip(acquisitions).flat_map(|(row, acquisition)| unpack(&self.held, row, acquisition))
        {
            let _gone = self.deliveries.send(delivery);
        }
    }
}

fn unpack(held: &Arc<HeldRows>, rows: HeldRow, acquisition: Acquisition) -> Vec<Delivery> {
    let HeldRow { id: _, losses: lost, messages, release_after_events: _ } = rows;
    let acker = || Box::new(EmbeddedAcker { held: Arc::clone(held), acquisition, settled: false });
    let deliveries = messages.into_iter().filter_map(|message| match message {
        Outgoing::Work(message) => {
            Some(Delivery { message: Ok(message), redelivered: lost, is_copy: false, anonymous: false, acker: acker() })
        }
        // A caller that waits for an outcome reads it from the store here. Hooks are sent by the engine, which knows
        // the tasks and has the store.
        Outgoing::Hooks { job, task, mask: which } => {
            let message = Message { kind: WorkKind::Hooks(which), ..Message::about(job, &task) };
            Some(Delivery { message: Ok(message), redelivered: lost, is_copy: false, anonymous: false, acker: acker() })
        }
        Outgoing::Reply(_) | Outgoing::Hook(_) | Outgoing::Event(_) | Outgoing::PendingEvent { .. } => {
            acker().settle(Disposition::Ack);
            None
        }
    });
    deliveries.collect()
}

/// Deletes the rows that are done from the outbox, and releases those that are not.
struct Settler {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    worker: WorkerId,
    held: Arc<HeldRows>,
    closing: CancellationToken,
}

impl Settler {
    async fn run(self) {
        loop {
            let closing = tokio::select! {
                biased;
                () = self.closing.cancelled() => true,
                () = self.held.done.notified() => false,
            };
            let (done, released) = self.held.take_settled();
            let actor =
                Actor { worker: self.worker.clone(), now: self.clock.now(), hold: true, events: EventRouting::Off };
            let deleted =
                if done.is_empty() { Ok(()) } else { self.store.delete_outbox(done.clone(), actor.clone()).await };
            let returned =
                if released.is_empty() { Ok(()) } else { self.store.release_outbox(released.clone(), actor).await };
            // Rows whose update failed stay held, and are retried together with the next ones.
            let done = if deleted.is_ok() { Vec::new() } else { done };
            let released = if returned.is_ok() { Vec::new() } else { released };
            if let Err(error) = deleted.and(returned) {
                tracing::warn!(%error, "cannot write the outbox");
                self.held.put_back(done, released);
                if !closing {
                    self.clock.pause(PAUSE).await;
                    self.held.done.notify_one();
                }
            }
            if closing {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression test: a message delivered by the second acquisition was never run.
    #[test]
    fn ackers_of_an_earlier_acquisition_do_not_settle_a_later_one() {
        let message = || Outgoing::Work(Message::about(crate::id::JobId::new(), "task"));
        let row = |n_messages| {
            let messages = (0..n_messages).map(|_| message()).collect();
            HeldRow { id: 7, losses: 0, messages, release_after_events: false }
        };
        let held = HeldRows::default();
        let first = held.add(&row(2));
        let second = held.add(&row(1));
        held.settle(first, false);
        held.settle(first, true);
        assert_eq!(held.take_settled(), (vec![], vec![]));
        held.settle(second, false);
        assert_eq!(held.take_settled(), (vec![7], vec![]));
        assert_eq!(held.open(0), 0);
    }
}
