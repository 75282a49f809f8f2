//! Messages that are redelivered many times: a requeued one stays deliverable, and one that every worker declines is
//! dead-lettered in the end.

use futures_util::StreamExt as _;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use ork_amqp::QueueKind;
use ork_core::message::Message;
use ork_ports::broker::{Broker as _, DeadLetterReason, Disposition};
use tokio::time::timeout;

use crate::adapters::{Namespace, in_a_namespace};
use crate::cases::{SOON, assert_no_delivery, next, number_of, numbered};
use crate::rabbitmq::{get, header, over_both, publish_plainly};

/// More deliveries than the delivery limit of ork's quorum queues.
const OFTEN: usize = 120;

async fn n_dead(namespace: &Namespace) -> u32 {
    let (_connection, channel) = namespace.plain().await;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(namespace.name(".dead"), passive, FieldTable::default()).await.unwrap().message_count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requeued_messages_are_not_dead_lettered_and_stay_unchanged() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        let mut subscription = world.consume(5).await;
        let (_connection, channel) = namespace.plain().await;
        let properties = BasicProperties::default().with_user_id("guest".into()).with_app_id("shop".into());
        publish_plainly(&channel, &namespace, "b", b"7", properties.with_message_id("order-7".into())).await;
        for _ in 0..OFTEN {
            let delivery = next(&mut subscription).await;
            assert!(delivery.redelivered <= 1, "counted {}", delivery.redelivered);
            let message = delivery.message.as_ref().unwrap();
            assert_eq!((message.task.as_str(), &message.body[..]), ("b", &b"7"[..]));
            assert_eq!(message.job, ork::JobId::from_foreign("order-7"));
            delivery.acker.settle(Disposition::Requeue);
        }
        next(&mut subscription).await.acker.settle(Disposition::Ack);
        assert_no_delivery(&mut subscription).await;
        assert_eq!(n_dead(&namespace).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn often_redelivered_message_is_republished_before_the_delivery_limit() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let world = namespace.world().await;
        world.publish(vec![numbered(7)]).await;
        let (connection, channel) = namespace.plain().await;
        channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer =
            channel.basic_consume(namespace.name(".task.a"), "plain".into(), options, arguments).await.unwrap();
        for _ in 0..95 {
            let delivery = timeout(SOON, consumer.next()).await.expect("a delivery").unwrap().unwrap();
            delivery.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
        }
        connection.close(200, "done".into()).await.unwrap();
        let mut subscription = world.consume(5).await;
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.redelivered, 0);
        assert_eq!(number_of(&delivery), 7);
        delivery.acker.settle(Disposition::Ack);
        assert_no_delivery(&mut subscription).await;
        assert_eq!(n_dead(&namespace).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_that_all_workers_decline_is_dead_lettered() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        let mut subscription = world.consume(5).await;
        world.publish(vec![numbered(7)]).await;
        let n_declined = match namespace.kind {
            QueueKind::Quorum => 11,
            QueueKind::Classic => 2,
        };
        for _ in 0..n_declined {
            let message = "no store".to_owned();
            next(&mut subscription)
                .await
                .acker
                .settle(Disposition::RequeueElsewhere(DeadLetterReason::NeedsStore, message));
        }
        let (_connection, channel) = namespace.plain().await;
        let dead = get(&channel, namespace.name(".dead")).await;
        assert_eq!((header(&dead, "x-ork-reason").as_str(), &dead.data[..]), ("needs-store", &b"7"[..]));
        assert_eq!(header(&dead, "x-ork-detail"), "no store");
        assert_no_delivery(&mut subscription).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_reports_the_number_of_dead_letters() {
    in_a_namespace(QueueKind::Quorum, async |namespace| {
        let world = namespace.world().await;
        assert!(world.broker.check().await.unwrap().ends_with(": empty"));
        let mut subscription = world.consume(5).await;
        world.publish(vec![numbered(7)]).await;
        next(&mut subscription)
            .await
            .acker
            .settle(Disposition::DeadLetter(DeadLetterReason::Exhausted, "it died".to_owned()));
        // Closing carries out the pending dispositions first.
        world.broker.close().await;
        let report = namespace.amqp().check().await.unwrap();
        assert!(report.contains("holding 1 that no worker could run"), "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_stay_however_often_they_are_read() {
    over_both(async |namespace| {
        let world = namespace.world().await;
        world.publish(vec![Message { task: "nonesuch".to_owned(), ..numbered(5) }]).await;
        let (_connection, channel) = namespace.plain().await;
        channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer =
            channel.basic_consume(namespace.name(".dead"), "eyes".into(), options, arguments).await.unwrap();
        for _ in 0..OFTEN {
            let dead = timeout(SOON, consumer.next()).await.expect("a dead letter").unwrap().unwrap();
            dead.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
        }
    })
    .await;
}
