//! A strict broker in memory that needs a relay and outlives the processes that use it. It delivers at least once; it
//! can deliver everything twice and in any order, or lose a message.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use ork_core::event::Event;
use ork_core::message::{Message, Outgoing};
use ork_ports::broker::{
    Acker, Broker, BrokerError, BrokerErrorKind, Delivery, Disposition, Replies, Subscribe, Subscription,
};
use tokio::sync::watch;

/// The messages of a queue, each with its number of redeliveries, and how many deliveries are not settled.
#[derive(Debug, Default)]
struct Queue {
    ready: Vec<(Message, u32)>,
    unsettled: usize,
}

/// The broker.
#[derive(Debug)]
pub struct Hub {
    queues: Mutex<HashMap<String, Queue>>,
    /// The queue of each task, by task name.
    routes: Mutex<HashMap<String, String>>,
    moved: watch::Sender<()>,
    /// If set, every message is delivered twice, and in a random order.
    shuffled: Option<Mutex<fastrand::Rng>>,
    /// The number of the work message that is confirmed and then lost, counted from 1; 0 if none is.
    lost: usize,
    published: AtomicUsize,
    dead: Mutex<Vec<String>>,
    events: Mutex<Vec<Event>>,
}

/// The connection of one process to a [`Hub`].
#[derive(Debug)]
pub struct HubEnd(pub Arc<Hub>);

impl Hub {
    /// A broker that delivers in order and once, as long as no process dies.
    pub fn in_order() -> Arc<Self> {
        Self::new(None, 0)
    }

    /// A broker that confirms work message `nth`, counted from 1, and loses it.
    pub fn losing(nth: usize) -> Arc<Self> {
        Self::new(None, nth)
    }

    /// Returns whether this broker loses a message.
    pub fn loses(&self) -> bool {
        self.lost > 0
    }

    /// Returns how many work messages were published.
    pub fn published(&self) -> usize {
        self.published.load(Ordering::SeqCst)
    }

    /// A broker that delivers everything twice, in an order that depends on the seed.
    pub fn shuffled(seed: u64) -> Arc<Self> {
        Self::new(Some(Mutex::new(fastrand::Rng::with_seed(seed))), 0)
    }

    fn new(shuffled: Option<Mutex<fastrand::Rng>>, lost: usize) -> Arc<Self> {
        let (queues, routes, published, dead, events) = Default::default();
        Arc::new(Self { queues, routes, moved: watch::channel(()).0, shuffled, lost, published, dead, events })
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.queues.lock().unwrap()
    }

    /// Waits until all queues are empty and all deliveries are settled.
    pub async fn idle(&self) {
        let mut moved = self.moved.subscribe();
        let idle = || self.queues().values().all(|queue| queue.ready.is_empty() && queue.unsettled == 0);
        while !idle() {
            moved.changed().await.unwrap();
        }
    }

    /// Returns the events that were published.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Returns the reasons of all dead letters.
    pub fn dead(&self) -> Vec<String> {
        self.dead.lock().unwrap().clone()
    }

    fn publish(&self, outgoing: &Outgoing) -> Result<(), BrokerError> {
        let message = match outgoing {
            Outgoing::Work(message) => message.clone(),
            Outgoing::Hook(follow) => Message { body: follow.body.clone(), ..Message::about(follow.id, &follow.route) },
            Outgoing::Event(event) => {
                self.events.lock().unwrap().push(Event::clone(event));
                return Ok(());
            }
            Outgoing::Reply(_) | Outgoing::Hooks { .. } | Outgoing::PendingEvent { .. } => return Ok(()),
        };
        let unroutable = || BrokerError::new(BrokerErrorKind::Undeliverable, "no queue was prepared for it");
        let queue = self.routes.lock().unwrap().get(&message.task).cloned().ok_or_else(unroutable)?;
        let nth = self.published.fetch_add(1, Ordering::SeqCst) + 1;
        let times = match self.shuffled {
            _ if nth == self.lost => 0,
            Some(_) => 2,
            None => 1,
        };
        for _ in 0..times {
            self.queues().entry(queue.clone()).or_default().ready.push((message.clone(), 0));
        }
        self.moved.send_replace(());
        Ok(())
    }

    fn take(self: &Arc<Self>, name: &str) -> Option<Delivery> {
        let mut queues = self.queues();
        let queue = queues.get_mut(name)?;
        if queue.ready.is_empty() {
            return None;
        }
        let at = self.shuffled.as_ref().map_or(0, |rng| rng.lock().unwrap().usize(..queue.ready.len()));
        let (message, redelivered) = queue.ready.remove(at);
        queue.unsettled += 1;
        let receipt =
            HubAcker { hub: Arc::clone(self), queue: name.to_owned(), left: Some((message.clone(), redelivered)) };
        Some(Delivery { message: Ok(message), redelivered, is_copy: false, anonymous: false, acker: Box::new(receipt) })
    }
}

#[async_trait]
impl Broker for HubEnd {
    fn needs_relay(&self) -> bool {
        true
    }

    async fn prepare(&self, queues: &[Subscribe]) -> Result<(), BrokerError> {
        let mut routes = self.0.routes.lock().unwrap();
        for queue in queues {
            routes.extend(queue.tasks.iter().map(|task| (task.clone(), queue.queue.clone())));
        }
        Ok(())
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<(), BrokerError>> {
        messages.iter().map(|message| self.0.publish(message)).collect()
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>, BrokerError> {
        let (hub, moved) = (Arc::clone(&self.0), self.0.moved.subscribe());
        Ok(Box::new(HubSubscription { hub, moved, queue: Some(subscribe.queue) }))
    }

    async fn replies(&self) -> Result<Option<Replies>, BrokerError> {
        Ok(None)
    }

    async fn waiting(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        let queues = self.0.queues();
        let ready = queues.get(queue).map_or(0, |queue| queue.ready.len());
        Ok(Some(ready.try_into().unwrap()))
    }

    async fn check(&self) -> Result<String, BrokerError> {
        Ok("in memory".into())
    }

    async fn close(&self) {}
}

#[derive(Debug)]
struct HubSubscription {
    hub: Arc<Hub>,
    moved: watch::Receiver<()>,
    queue: Option<String>,
}

#[async_trait]
impl Subscription for HubSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.hub.take(self.queue.as_ref()?);
            if delivery.is_some() {
                return delivery;
            }
            self.moved.changed().await.ok()?;
        }
    }

    fn ready(&mut self) -> Option<Delivery> {
        self.hub.take(self.queue.as_ref()?)
    }

    fn resize(&mut self, _window: u16) {}

    async fn stop(&mut self) {
        self.queue = None;
    }
}

#[derive(Debug)]
struct HubAcker {
    hub: Arc<Hub>,
    queue: String,
    left: Option<(Message, u32)>,
}

impl HubAcker {
    fn end(&mut self, disposition: &Disposition, lost: u32) {
        let Some((message, redelivered)) = self.left.take() else { return };
        let mut queues = self.hub.queues();
        let queue = queues.entry(self.queue.clone()).or_default();
        queue.unsettled -= 1;
        match disposition {
            Disposition::Ack => {}
            Disposition::Requeue | Disposition::RequeueElsewhere(..) => queue.ready.push((message, redelivered + lost)),
            Disposition::DeadLetter(_, detail) => self.hub.dead.lock().unwrap().push(detail.clone()),
        }
        drop(queues);
        self.hub.moved.send_replace(());
    }
}

impl Acker for HubAcker {
    fn settle(mut self: Box<Self>, disposition: Disposition) {
        self.end(&disposition, 0);
    }
}

impl Drop for HubAcker {
    fn drop(&mut self) {
        self.end(&Disposition::Requeue, 1);
    }
}
