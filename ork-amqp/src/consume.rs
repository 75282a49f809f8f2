//! Consumes a queue for the worker, as a stream that survives lost connections. Its other end is the `driver`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::driver::{Command, Driver, Shared};
use super::error::LinkError;
use ork_ports::broker::{Delivery, Subscribe, Subscription};

/// The receiving end, which the worker holds.
#[derive(Debug)]
pub(super) struct Stream {
    /// The deliveries, each with the generation that it belongs to.
    deliveries: mpsc::UnboundedReceiver<(u64, Delivery)>,
    /// Sends commands to the driver.
    commands: mpsc::UnboundedSender<Command>,
    /// The current generation. Deliveries of an older one are dropped, because the broker delivers their messages
    /// again.
    current: Arc<AtomicU64>,
    /// The longest time that stopping waits for the broker.
    deadline: Duration,
}

/// Starts to consume a queue. The first channel is opened before this returns, so that its errors reach the caller.
pub(super) async fn subscribe(shared: Shared, subscribe: Subscribe) -> Result<Stream, LinkError> {
    let (deliver, deliveries) = mpsc::unbounded_channel();
    let (commands, commanded) = mpsc::unbounded_channel();
    let (settle, settled) = mpsc::unbounded_channel();
    let current = Arc::new(AtomicU64::new(0));
    let deadline = shared.link.deadline();
    let window = subscribe.window.max(1);
    let tasks = shared.tasks.clone();
    let driver = Driver {
        shared,
        subscribe,
        window,
        deliver,
        commands: commanded,
        settle,
        settled,
        current: Arc::clone(&current),
        stopping: false,
        quarantine: None,
    };
    let first = driver.open().await?;
    tasks.spawn(driver.run(first));
    Ok(Stream { deliveries, commands, current, deadline })
}

#[async_trait]
impl Subscription for Stream {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let (generation, delivery) = self.deliveries.recv().await?;
            // The broker redelivers the messages of an older channel.
            if generation == self.current.load(Ordering::Acquire) {
                return Some(delivery);
            }
        }
    }

    fn ready(&mut self) -> Option<Delivery> {
        loop {
            let (generation, delivery) = self.deliveries.try_recv().ok()?;
            if generation == self.current.load(Ordering::Acquire) {
                return Some(delivery);
            }
        }
    }

    fn resize(&mut self, window: u16) {
        // If the receiver is gone, the subscription was stopped and there is nothing to resize.
        let _stopped = self.commands.send(Command::Resize(window.max(1)));
    }

    async fn stop(&mut self) {
        let (stop, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(stop)).is_ok()
            && tokio::time::timeout(self.deadline, stopped).await.is_err()
        {
            tracing::debug!("the consumer did not stop in time");
        }
        self.deliveries.close();
        // Dropping the deliveries drops their ackers, which gives them back.
        while self.deliveries.recv().await.is_some() {}
    }
}
