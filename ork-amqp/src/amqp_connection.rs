//! One connection that was up when it was returned, and the number of channels that it can still open.
//!
//! lapin 4.12.3 refuses frames for a channel that RabbitMQ has closed, by the channel's number, and never lifts that. A
//! new channel that gets the same number cannot be opened, and counts as open forever. Numbers are reused once all of
//! them (`channel_max` in RabbitMQ's configuration) have been used. So a connection on which RabbitMQ has closed a
//! channel opens only half as many channels as it has numbers. It is then *exhausted*:
//! [`ConnectionManager`](super::connection_manager::ConnectionManager) replaces it with a new one, and it is closed
//! when the last of its channels is no longer used.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::{Channel, Connection, Consumer, Event};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::error::{Failed, LinkError, reason};
use super::url::Address;
use ork_ports::broker::BrokerErrorKind;

/// The time that a channel, or a connection that is no longer used, may take to close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// The use of channel numbers on a connection, which decides whether it is exhausted.
#[derive(Debug, Default)]
struct ChannelUse {
    /// Channels that were opened, including failed attempts.
    n_opened: AtomicU32,
    /// Channels that RabbitMQ has closed.
    n_closed: AtomicU32,
    /// Set once a channel could not be opened because no number was free.
    is_full: AtomicBool,
}

/// A connection that was up when it was returned.
#[derive(Debug)]
pub(super) struct AmqpConnection {
    /// The connection of lapin. It is shared with the task that closes it once this value is dropped.
    connection: Arc<Connection>,
    /// The address of the node to which the connection leads, for errors and the log.
    address: Address,
    /// The time that the broker may take for one answer on this connection.
    deadline: Duration,
    /// Cancelled when the connection has ended, for any reason. It ends calls that lapin would never complete.
    ended: CancellationToken,
    /// Whether everything that this process needs has been declared on this connection. Reset when an exchange or a
    /// queue turns out to be missing. The lock is held while things are declared, so that only one caller declares
    /// them.
    pub(super) prepared: Mutex<bool>,
    /// The channel numbers used so far. The task that watches the connection counts the channels that RabbitMQ has
    /// closed.
    channel_use: Arc<ChannelUse>,
    /// The tasks of the broker. The task that closes a dropped connection is added to them, so that closing the broker
    /// waits for it.
    tasks: TaskTracker,
    /// Ends the task that watches the connection when this value is dropped.
    _watched: DropGuard,
}

impl AmqpConnection {
    /// Wraps a new connection. It is watched until `unwatched` is cancelled or this value is dropped.
    pub(super) fn new(
        connection: Connection,
        address: Address,
        deadline: Duration,
        unwatched: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (ended, channel_use) = (CancellationToken::new(), Arc::new(ChannelUse::default()));
        let (mut events, status) = (Box::pin(connection.events_listener()), connection.status().clone());
        let (end_guard, counted) = (ended.clone().drop_guard(), Arc::clone(&channel_use));
        let watched = unwatched.clone().drop_guard();
        tasks.spawn(unwatched.run_until_cancelled_owned(async move {
            let _end_guard = end_guard;
            while let Some(event) = events.next().await {
                if !status.connected() {
                    break;
                }
                // The connection itself is still up, so the event reports the end of a channel.
                if matches!(event, Event::Error(_)) {
                    counted.n_closed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
        let (connection, prepared, tasks) = (Arc::new(connection), Mutex::new(false), tasks.clone());
        Self { connection, address, deadline, ended, prepared, channel_use, tasks, _watched: watched }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    /// Returns whether the connection should open no more channels. The channels that it has remain usable.
    pub(super) fn is_exhausted(&self) -> bool {
        let ChannelUse { n_opened, n_closed, is_full } = &*self.channel_use;
        let half = u32::from(self.connection.configuration().channel_max() / 2);
        let may_meet_closed = n_closed.load(Ordering::Relaxed) > 0 && n_opened.load(Ordering::Relaxed) >= half;
        may_meet_closed || is_full.load(Ordering::Relaxed)
    }

    /// Waits until the connection has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Returns whether the broker has stopped reading publishes because it is short of memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Waits for an answer of the broker, but no longer than the deadline, and no longer than the connection lasts:
    /// lapin sometimes never completes a call that was made just when the connection ended.
    pub(super) async fn within<T>(
        &self,
        doing: &str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Failed> {
        tokio::select! {
            biased;
            answer = call => answer.map_err(|error| {
                let mut link_error = LinkError::while_up(&self.address, doing, &error);
                // lapin reports all kinds of errors for a connection that was cut a moment ago.
                if link_error.kind == BrokerErrorKind::Protocol && !self.is_up() {
                    link_error = LinkError::lost(&self.address, doing, &reason(&error));
                }
                Failed::Lapin(error, link_error)
            }),
            () = self.ended.cancelled() => {
                Err(Failed::Silent(LinkError::lost(&self.address, doing, "connection closed")))
            }
            () = sleep(self.deadline) => Err(Failed::Silent(LinkError::timed_out(&self.address, doing, self.deadline))),
        }
    }

    /// Waits for the next delivery of a consumer on this connection; returns `None` once the consumer or the
    /// connection has ended.
    pub(super) async fn next(&self, consumer: &mut Consumer) -> Option<Delivery> {
        tokio::select! {
            biased;
            next = consumer.next() => next?.ok(),
            () = self.ended.cancelled() => None,
        }
    }

    /// Opens a channel. If that fails because no number is free, the connection is exhausted from then on.
    pub(super) async fn channel(&self, doing: &str) -> Result<Channel, LinkError> {
        self.channel_use.n_opened.fetch_add(1, Ordering::Relaxed);
        match self.within(doing, self.connection.create_channel()).await {
            Ok(channel) => Ok(channel),
            // A soft error here is that of the earlier channel with the same number, which RabbitMQ has closed.
            Err(Failed::Lapin(error, _)) if is_full(&error) => {
                if !self.channel_use.is_full.swap(true, Ordering::Relaxed) {
                    let most = self.connection.configuration().channel_max();
                    let broker = &self.address;
                    tracing::warn!(
                        %broker, %error, channel_max = most,
                        "a connection to RabbitMQ has no channels left, opening another connection"
                    );
                }
                Err(LinkError::lost(&self.address, doing, "the connection has no channels left"))
            }
            Err(failed) => Err(failed.into()),
        }
    }

    /// Closes a channel that is no longer needed; if that fails, it is closed when it is dropped.
    pub(super) async fn finish(&self, channel: &Channel) {
        let close = timeout(CLOSE_DEADLINE, channel.close(200, "OK".into()));
        if !matches!(close.await, Ok(Ok(()))) {
            tracing::trace!("channel not closed");
        }
    }

    /// Called when an exchange or a queue is missing: the next preparation declares everything again.
    pub(super) async fn mark_unprepared(&self) {
        *self.prepared.lock().await = false;
    }

    /// Closes the connection, and waits for RabbitMQ's confirmation.
    pub(super) async fn close(&self) -> lapin::Result<()> {
        self.connection.close(200, "OK".into()).await
    }
}

impl Drop for AmqpConnection {
    fn drop(&mut self) {
        // The connection is no longer used. lapin would close it by itself only if none of its channels remained.
        if self.is_up()
            && let Ok(runtime) = Handle::try_current()
        {
            let connection = Arc::clone(&self.connection);
            let close = async move { timeout(CLOSE_DEADLINE, connection.close(200, "OK".into())).await };
            self.tasks.spawn_on(close, &runtime);
        }
    }
}

fn is_full(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ChannelsLimitReached) || error.is_amqp_soft_error()
}
