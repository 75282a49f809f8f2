//! The contract of a broker, as cases that do not depend on an adapter.
//!
//! Each case gets a [`World`]: a broker that no other case uses, and a way to publish messages to it. (An adapter that
//! reads the store's outbox itself gets its messages through the store.) The cases do not sleep. They wait for
//! deliveries that must arrive; only to check that none arrives do they wait for a fixed, short time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ork::JobId;
use ork_core::message::{Message, WorkKind};
use ork_ports::broker::{Broker, DeadLetterReason, Delivery, Disposition, Subscribe, Subscription};

/// The queue that most cases use.
pub const QUEUE: &str = "a";

/// The maximum time until a delivery that must arrive does, even on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// How long a case waits to check that nothing arrives.
const A_MOMENT: Duration = Duration::from_millis(300);

/// Publishes messages to the broker.
pub type Publish = Arc<dyn Fn(Vec<Message>) -> BoxFuture<'static, ()> + Send + Sync>;

/// A broker for one case, and a way to publish to it.
pub struct World {
    pub broker: Arc<dyn Broker>,
    pub publish: Publish,
}

impl World {
    /// Subscribes to [`QUEUE`], which has the tasks `a` and `b`.
    pub async fn consume(&self, window: u16) -> Box<dyn Subscription> {
        self.broker.subscribe(queue(window)).await.unwrap()
    }

    pub async fn publish(&self, messages: Vec<Message>) {
        tokio::time::timeout(SOON, (self.publish)(messages)).await.expect("publishing takes too long");
    }
}

pub fn queue(window: u16) -> Subscribe {
    Subscribe { queue: QUEUE.to_owned(), tasks: vec!["a".to_owned(), "b".to_owned()], window, is_exact: false }
}

/// Returns a message with this number as its body.
pub fn numbered(number: usize) -> Message {
    Message { body: number.to_string().into(), ..Message::about(JobId::new(), "a") }
}

pub fn number_of(delivery: &Delivery) -> usize {
    let body = &delivery.message.as_ref().expect("a message").body;
    std::str::from_utf8(body).unwrap().parse().unwrap()
}

pub async fn next(subscription: &mut Box<dyn Subscription>) -> Delivery {
    tokio::time::timeout(SOON, subscription.next())
        .await
        .expect("no delivery arrived")
        .expect("the subscription has ended")
}

pub async fn assert_no_delivery(subscription: &mut Box<dyn Subscription>) {
    if let Ok(Some(delivery)) = tokio::time::timeout(A_MOMENT, subscription.next()).await {
        panic!("{:?} arrived", delivery.message);
    }
}

pub async fn published_messages_arrive_intact(world: World) {
    let (root, parent) = (JobId::new(), JobId::new());
    let reply = ork_core::job::ReplyTo { queue: "replies".to_owned(), correlation: "c ✓ 7".to_owned() };
    let kinds =
        [WorkKind::Job, WorkKind::Single, WorkKind::Join, WorkKind::Part { epoch: 3, index: u64::from(u32::MAX) + 7 }];
    let sent: Vec<_> = kinds
        .into_iter()
        .enumerate()
        .map(|(at, work_kind)| Message {
            root: if at == 0 { root } else { JobId::new() },
            parent: (at != 1).then_some(parent),
            task: if at == 2 { "b".to_owned() } else { "a".to_owned() },
            kind: work_kind,
            attempt: 1 + u32::try_from(at).unwrap(),
            priority: 0,
            losses: 0,
            waited: false,
            body: Bytes::from(format!(r#"{{"text": "{}"}}"#, "é\u{1F980}".repeat(at * 50_000))),
            reply: (at == 3).then(|| reply.clone()),
            schema: (at != 2).then(|| "026efc0d-5269-5386-8c1e-8100806a251c".parse().unwrap()),
            ..numbered(0)
        })
        .collect();
    let mut subscription = world.consume(10).await;
    world.publish(sent.clone()).await;
    let mut left = sent;
    while !left.is_empty() {
        let delivery = next(&mut subscription).await;
        let message = delivery.message.unwrap();
        let at = left.iter().position(|sent| *sent == message).expect("a message that was not sent like this");
        left.remove(at);
        assert_eq!((delivery.redelivered, delivery.anonymous), (0, false));
        delivery.acker.settle(Disposition::Ack);
    }
}

pub async fn requeued_message_is_redelivered_at_once(world: World) {
    let mut subscription = world.consume(1).await;
    world.publish(vec![numbered(7)]).await;
    let first = next(&mut subscription).await;
    let job = first.message.as_ref().unwrap().job;
    first.acker.settle(Disposition::Requeue);
    let second = next(&mut subscription).await;
    assert_eq!(second.message.unwrap().job, job);
    // Some brokers count a requeued message as redelivered, others only a lost one.
    assert!(second.redelivered <= 1);
    second.acker.settle(Disposition::Ack);
    assert_no_delivery(&mut subscription).await;
}

pub async fn dropping_an_acker_requeues_the_message(world: World) {
    let mut subscription = world.consume(5).await;
    world.publish(vec![numbered(7)]).await;
    drop(next(&mut subscription).await);
    let again = next(&mut subscription).await;
    assert_eq!(number_of(&again), 7);
    again.acker.settle(Disposition::Ack);
}

pub async fn acknowledged_messages_are_never_redelivered(world: World) {
    const N: usize = 1_000;
    let mut subscription = world.consume(100).await;
    world.publish((0..N).map(numbered).collect()).await;
    let (mut held, mut seen) = (Vec::new(), BTreeSet::new());
    while seen.len() < N || !held.is_empty() {
        if seen.len() < N {
            let delivery = next(&mut subscription).await;
            assert!(seen.insert(number_of(&delivery)), "one arrived twice");
            held.push(delivery);
        }
        // Settles in an order that differs from the order of delivery.
        while held.len() >= 60 || (seen.len() == N && !held.is_empty()) {
            held.swap_remove(held.len() * 7 % 11 % held.len()).acker.settle(Disposition::Ack);
        }
    }
    subscription.stop().await;
    world.broker.close().await;
}

/// Runs after another case, and asserts that no message of it is left.
pub async fn is_empty(world: World) {
    let mut subscription = world.consume(100).await;
    world.publish(vec![numbered(99_999)]).await;
    let only = next(&mut subscription).await;
    assert_eq!(number_of(&only), 99_999, "an acknowledged message arrived");
    only.acker.settle(Disposition::Ack);
    assert_no_delivery(&mut subscription).await;
}

pub async fn a_flood_of_messages_arrives_completely(world: World) {
    const N: usize = 6_000;
    world.publish((0..N).map(numbered).collect()).await;
    let mut subscription = world.consume(2_000).await;
    let mut seen = BTreeSet::new();
    while seen.len() < N {
        let delivery = next(&mut subscription).await;
        assert!(seen.insert(number_of(&delivery)), "one arrived twice");
        delivery.acker.settle(Disposition::Ack);
    }
    assert_no_delivery(&mut subscription).await;
}

pub async fn the_window_limits_unsettled_deliveries(world: World) {
    let mut subscription = world.consume(3).await;
    world.publish((0..10).map(numbered).collect()).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut subscription).await);
    }
    assert_no_delivery(&mut subscription).await;
    held.pop().unwrap().acker.settle(Disposition::Ack);
    held.push(next(&mut subscription).await);
    assert_no_delivery(&mut subscription).await;
}

pub async fn resizing_the_window_keeps_ackers_valid(world: World) {
    let mut subscription = world.consume(2).await;
    world.publish((0..40).map(numbered).collect()).await;
    let (first, second) = (next(&mut subscription).await, next(&mut subscription).await);
    subscription.resize(20);
    let mut seen = BTreeSet::from([number_of(&first), number_of(&second)]);
    let mut held = Vec::new();
    for _ in 0..18 {
        held.push(next(&mut subscription).await);
    }
    for delivery in [first, second].into_iter().chain(held) {
        seen.insert(number_of(&delivery));
        delivery.acker.settle(Disposition::Ack);
    }
    while seen.len() < 40 {
        let delivery = next(&mut subscription).await;
        seen.insert(number_of(&delivery));
        delivery.acker.settle(Disposition::Ack);
    }
    assert_no_delivery(&mut subscription).await;
}

pub async fn a_slow_delivery_does_not_hold_back_later_ones(world: World) {
    let mut subscription = world.consume(8).await;
    world.publish((0..200).map(numbered).collect()).await;
    let slow = next(&mut subscription).await;
    let mut seen = BTreeSet::from([number_of(&slow)]);
    // If their acknowledgements were held back behind the slow delivery, the window would be full after seven of them.
    while seen.len() < 200 {
        let delivery = next(&mut subscription).await;
        assert!(seen.insert(number_of(&delivery)));
        delivery.acker.settle(Disposition::Ack);
    }
    slow.acker.settle(Disposition::Ack);
    assert_no_delivery(&mut subscription).await;
}

pub async fn stopping_requeues_messages_not_handed_out(world: World) {
    let mut first = world.consume(10).await;
    world.publish((0..10).map(numbered).collect()).await;
    let (one, two) = (next(&mut first).await, next(&mut first).await);
    let mut left: BTreeSet<_> = (0..10).collect();
    assert!(left.remove(&number_of(&one)) && left.remove(&number_of(&two)));
    first.stop().await;
    assert!(first.next().await.is_none());
    let mut second = world.consume(10).await;
    while !left.is_empty() {
        let delivery = next(&mut second).await;
        assert!(left.remove(&number_of(&delivery)), "{} was still held by the first", number_of(&delivery));
        delivery.acker.settle(Disposition::Ack);
    }
    one.acker.settle(Disposition::Ack);
    two.acker.settle(Disposition::Requeue);
    let back = next(&mut second).await;
    assert_eq!(number_of(&back), 1);
    back.acker.settle(Disposition::Ack);
    assert_no_delivery(&mut second).await;
}

pub async fn dropping_a_subscription_requeues_its_messages(world: World) {
    let first = world.consume(10).await;
    world.publish((0..10).map(numbered).collect()).await;
    drop(first);
    let mut second = world.consume(10).await;
    let mut left: BTreeSet<_> = (0..10).collect();
    while !left.is_empty() {
        let delivery = next(&mut second).await;
        left.remove(&number_of(&delivery));
        delivery.acker.settle(Disposition::Ack);
    }
}

pub async fn two_consumers_share_a_queue(world: World) {
    let (mut one, mut two) = (world.consume(4).await, world.consume(4).await);
    world.publish((0..100).map(numbered).collect()).await;
    let (mut seen, mut n_one, mut n_two) = (BTreeSet::new(), 0, 0);
    while seen.len() < 100 {
        let delivery = tokio::select! {
            delivery = next(&mut one) => { n_one += 1; delivery }
            delivery = next(&mut two) => { n_two += 1; delivery }
        };
        assert!(seen.insert(number_of(&delivery)), "both got one");
        delivery.acker.settle(Disposition::Ack);
    }
    assert!(n_one > 0 && n_two > 0, "{n_one} and {n_two}");
}

pub async fn dead_lettered_message_is_not_redelivered(world: World) {
    let mut subscription = world.consume(1).await;
    world.publish(vec![numbered(1), numbered(2)]).await;
    let first = next(&mut subscription).await;
    let number = number_of(&first);
    first.acker.settle(Disposition::DeadLetter(DeadLetterReason::WrongInput, "`a`: a text was expected".to_owned()));
    let second = next(&mut subscription).await;
    assert_ne!(number_of(&second), number);
    second.acker.settle(Disposition::Ack);
    assert_no_delivery(&mut subscription).await;
}
