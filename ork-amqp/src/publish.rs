//! Publishing: lanes that send whole batches and wait for the broker's confirm of each message.
//!
//! A lane owns its channel, so lapin numbers messages in the order in which they are sent, and everything that the
//! broker returns belongs to the current batch. A second lane sends while the first one waits for its confirms.

use std::collections::HashSet;
use std::sync::Arc;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::{Mutex, OnceCell, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::amqp_connection::AmqpConnection;
use super::connection_manager::ConnectionManager;
use super::error::{Failed, LinkError, is_not_found, is_precondition_failed};
use super::topology::Topology;
use super::wire::Publication;
use ork_ports::broker::BrokerErrorKind;

const LANES: usize = 2;

/// The maximum number of unconfirmed messages of one lane; more gain nothing.
const BATCH: usize = 512;

/// The number of orders that may wait for a lane before callers have to wait.
const WAITING: usize = 64;

type Results = Vec<Result<(), LinkError>>;

#[derive(Debug)]
struct Order {
    /// The messages to publish, at most as many as one lane may have unconfirmed.
    publications: Vec<Publication>,
    /// Receives one result for each message, in the same order. Dropped if no lane takes the order.
    answer: oneshot::Sender<Results>,
}

/// Sends messages and reports the result of each.
#[derive(Debug, Clone)]
pub(super) struct Publisher {
    orders: mpsc::Sender<Order>,
}

impl Publisher {
    pub(super) fn new(
        link: &Arc<ConnectionManager>,
        topology: &Arc<Topology>,
        tasks: &TaskTracker,
        closed: &CancellationToken,
    ) -> Self {
        let (orders, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..LANES {
            let lane = Lane {
                link: Arc::clone(link),
                topology: Arc::clone(topology),
                orders: Arc::clone(&waiting),
                open: None,
            };
            let closed = closed.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = closed.cancelled() => {}
                    () = lane.run() => {}
                }
            });
        }
        Self { orders }
    }

    /// Sends all messages, and returns one result for each, in the same order, once the broker has confirmed them.
    pub(super) async fn publish(&self, publications: Vec<Publication>) -> Results {
        let n_publications = publications.len();
        let mut results = Vec::with_capacity(n_publications);
        let mut waiting = Vec::with_capacity(n_publications / BATCH + 1);
        let mut publications = publications.into_iter();
        while publications.len() > 0 {
            let batch: Vec<_> = publications.by_ref().take(BATCH).collect();
            let n_batch = batch.len();
            let (answer, answered) = oneshot::channel();
            // If no lane takes the order, its oneshot is dropped, which the receiver below notices.
            let sent = self.orders.send(Order { publications: batch, answer }).await;
            waiting.push((n_batch, sent.is_ok().then_some(answered)));
        }
        for (n_batch, answered) in waiting {
            let answer = match answered {
                Some(answered) => answered.await.ok(),
                None => None,
            };
            results.extend(answer.unwrap_or_else(|| vec![Err(LinkError::closed()); n_batch]));
        }
        results
    }

    /// Publishes one message, like [`publish`](Self::publish).
    pub(super) async fn publish_one(&self, publication: Publication) -> Result<(), LinkError> {
        self.publish(vec![publication]).await.pop().unwrap_or_else(|| Err(LinkError::closed()))
    }
}

/// A publisher that starts when it is first used, because a broker may be created outside of a runtime.
#[derive(Debug)]
pub(super) struct Publishing {
    /// The connection over which it publishes.
    pub(super) link: Arc<ConnectionManager>,
    /// The exchanges that must exist before the first message is published.
    pub(super) topology: Arc<Topology>,
    /// The tasks of the broker. Those of the lanes are added to them.
    pub(super) tasks: TaskTracker,
    /// Cancelled when nothing must be published any more.
    pub(super) closed: CancellationToken,
    /// The publisher, once it was used.
    pub(super) publisher: OnceCell<Publisher>,
}

impl Publishing {
    pub(super) async fn publisher(&self) -> &Publisher {
        let start = async || Publisher::new(&self.link, &self.topology, &self.tasks, &self.closed);
        self.publisher.get_or_init(start).await
    }
}

struct Lane {
    link: Arc<ConnectionManager>,
    topology: Arc<Topology>,
    /// The orders, shared by all lanes.
    orders: Arc<Mutex<mpsc::Receiver<Order>>>,
    /// The channel of this lane, with confirms enabled; `None` until it is needed and after it was lost.
    open: Option<(Arc<AmqpConnection>, Channel)>,
}

impl Lane {
    async fn run(mut self) {
        loop {
            let Some(orders) = self.next_orders().await else {
                return;
            };
            let (counts, publications) = flatten(orders);
            let mut results = self.send(&publications).await.into_iter();
            for (n_publications, answer) in counts {
                let order_results = results.by_ref().take(n_publications).collect();
                // The caller may have gone away; the messages are published anyway.
                let _gone: Result<(), Results> = answer.send(order_results);
            }
        }
    }

    /// Waits for the next order, and takes with it the others that wait, up to the size of a batch.
    async fn next_orders(&self) -> Option<Vec<Order>> {
        let mut waiting = self.orders.lock().await;
        let first = waiting.recv().await?;
        let mut n_publications = first.publications.len();
        let mut orders = vec![first];
        while n_publications < BATCH {
            let Ok(order) = waiting.try_recv() else { break };
            n_publications += order.publications.len();
            orders.push(order);
        }
        Some(orders)
    }

    async fn send(&mut self, publications: &[Publication]) -> Results {
        let (mut results, lost) = match self.attempt(publications).await {
            Ok(sent) => sent,
            Err(link_error) => return vec![Err(link_error); publications.len()],
        };
        let n_together = match lost {
            Lost::Nothing | Lost::Channel => return results,
            Lost::Refused if publications.len() == 1 => return results,
            // The exchange was deleted. A new channel declares it again; no message of this batch was routed, so all
            // are sent again.
            Lost::Exchange => publications.len(),
            // The channel was closed without naming the message that was refused: sent one by one, only that one
            // fails.
            Lost::Refused => 1,
        };
        let unconfirmed: Vec<_> =
            (0..publications.len()).filter(|at| results.get(*at).is_some_and(Result::is_err)).collect();
        for unconfirmed in unconfirmed.chunks(n_together) {
            let rest: Vec<_> = unconfirmed.iter().filter_map(|at| publications.get(*at)).cloned().collect();
            let second = match self.attempt(&rest).await {
                Ok((second, _)) => second,
                Err(link_error) => vec![Err(link_error); rest.len()],
            };
            for (at, answer) in unconfirmed.iter().zip(second) {
                if let Some(slot) = results.get_mut(*at) {
                    *slot = answer;
                }
            }
        }
        results
    }

    async fn attempt(&mut self, publications: &[Publication]) -> Result<(Results, Lost), LinkError> {
        let (live, channel) = self.channel().await?;
        // Await the confirms one after the other: they arrive in order, so this task is not woken for later ones
        // while it waits for an earlier one.
        let confirms = async {
            let mut sent = Vec::with_capacity(publications.len());
            for publication in publications {
                let options = BasicPublishOptions { mandatory: publication.mandatory, immediate: false };
                let (exchange, key) = (publication.exchange.clone(), publication.routing_key.clone());
                sent.push(
                    channel
                        .basic_publish(exchange, key, options, &publication.body, publication.properties.clone())
                        .await,
                );
            }
            let mut confirms = Vec::with_capacity(sent.len());
            for confirm in sent {
                confirms.push(match confirm {
                    Ok(confirm) => confirm.await,
                    Err(error) => Err(error),
                });
            }
            Ok(confirms)
        };
        let all = live.within("publish", confirms).await;
        let confirms = match all {
            Ok(confirms) => confirms,
            Err(failed) => {
                // Late confirms must not be mistaken for those of the next batch.
                self.open = None;
                return Err(if live.is_blocked() { blocked(&live) } else { failed.into() });
            }
        };
        let mut lost = Lost::Nothing;
        let mut returned = HashSet::new();
        let mut results: Results = Vec::with_capacity(publications.len());
        for (publication, confirm) in publications.iter().zip(confirms) {
            results.push(match confirm {
                Ok(Confirmation::Ack(message)) => {
                    // lapin attaches a returned message to whichever confirm comes next, so it is identified by its
                    // routing key and message id.
                    returned.extend(message.map(|message| {
                        (message.delivery.routing_key, message.delivery.properties.message_id().clone())
                    }));
                    Ok(())
                }
                Ok(_) => Err(LinkError::new(
                    nack_kind(publication),
                    format!("RabbitMQ at {} rejected the message: its queue is full or unavailable", live.address()),
                )),
                Err(error) => {
                    lost = lost.max(if is_not_found(&error) {
                        Lost::Exchange
                    } else if is_precondition_failed(&error) {
                        Lost::Refused
                    } else {
                        Lost::Channel
                    });
                    let mut link_error = LinkError::while_up(live.address(), "publish", &error);
                    if lost == Lost::Refused && publications.len() == 1 {
                        link_error.kind = BrokerErrorKind::TooLarge;
                        link_error.detail.push_str(" (its `max_message_size`)");
                    }
                    Err(link_error)
                }
            });
        }
        if lost != Lost::Nothing {
            self.open = None;
            if lost == Lost::Exchange {
                // Not on `live`, which may be exhausted: the next channel may be on another connection.
                self.link.mark_unprepared().await;
            }
            if !live.is_up() {
                self.link.mark_lost(&live);
            }
        }
        if !returned.is_empty() {
            for (publication, answer) in publications.iter().zip(&mut results) {
                let name = (publication.routing_key.clone(), publication.properties.message_id().clone());
                if answer.is_ok() && returned.contains(&name) {
                    *answer = Err(LinkError::new(
                        BrokerErrorKind::Undeliverable,
                        format!("no queue is bound for `{}`", publication.routing_key),
                    ));
                }
            }
        }
        Ok((results, lost))
    }

    async fn channel(&mut self) -> Result<(Arc<AmqpConnection>, Channel), LinkError> {
        if let Some((live, channel)) = &self.open
            && live.is_up()
            && channel.status().connected()
        {
            return Ok((Arc::clone(live), channel.clone()));
        }
        let was_open = self.open.take().is_some();
        if was_open {
            tracing::debug!("reopening the publishing channel");
        }
        let (live, channel) = self.link.prepared(&self.topology).await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        live.within("enable publisher confirms", select).await.map_err(|failed: Failed| LinkError::from(failed))?;
        self.open = Some((Arc::clone(&live), channel.clone()));
        Ok((live, channel))
    }
}

/// Returns the kind of error for a message that the broker rejected (`nack`). A queue of work may accept it soon,
/// e.g. when the node that led the queue is down and another is about to take over. An outcome is not retried: the
/// full queue of one client must not delay the outcomes of others.
fn nack_kind(publication: &Publication) -> BrokerErrorKind {
    if publication.is_outcome() { BrokerErrorKind::Undeliverable } else { BrokerErrorKind::Disconnected }
}

fn blocked(live: &AmqpConnection) -> LinkError {
    LinkError::new(
        BrokerErrorKind::TimedOut,
        format!("RabbitMQ at {} is blocking publishers: low memory or disk space", live.address()),
    )
}

/// The loss of an attempt besides its messages, in ascending order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lost {
    Nothing,
    Channel,
    /// The channel, because of a message that the broker refuses, for example for its size.
    Refused,
    Exchange,
}

fn flatten(orders: Vec<Order>) -> (Vec<(usize, oneshot::Sender<Results>)>, Vec<Publication>) {
    let mut counts = Vec::with_capacity(orders.len());
    let mut publications = Vec::with_capacity(orders.iter().map(|order| order.publications.len()).sum());
    for order in orders {
        counts.push((order.publications.len(), order.answer));
        publications.extend(order.publications);
    }
    (counts, publications)
}
