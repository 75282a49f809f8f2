//! A worker in another language that follows `docs/wire.md` takes parts that ork has made.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::BasicProperties;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use super::storeless::Hasty;
use super::world::{Foreigner, World, fresh, header, on};

/// The pause between two checks of a queue.
const PAUSE: Duration = Duration::from_millis(50);

async fn length(foreigner: &Foreigner, queue: &str) -> i64 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = foreigner.channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
    found.unwrap().message_count().into()
}

/// Takes one part, and ends it with the output 0 as soon as all other parts have ended.
async fn end_the_last_part(world: &World, foreigner: &Foreigner, parts: i64) {
    foreigner.channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    let queue = format!("{}.task.parts", world.prefix);
    let options = BasicConsumeOptions::default();
    let consume = foreigner.channel.basic_consume(queue.into(), "stranger".into(), options, FieldTable::default());
    let mut consumer = consume.await.unwrap();
    let part = loop {
        let delivery = consumer.next().await.unwrap().unwrap();
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        if headers.inner().contains_key("part_queue") {
            break delivery;
        }
        // This worker does not take whole jobs. Requeued again and again, the job would count as lost before the other
        // worker consumes.
        tokio::time::sleep(PAUSE).await;
        delivery.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
    };
    let queue = header(&part, "part_queue");
    let headers = part.properties.headers().clone().unwrap();
    let copied = ["part_id", "total_parts", "ork-epoch"].map(|name| (name.into(), headers.inner()[name].clone()));
    let Some(AMQPValue::LongLongInt(total)) = headers.inner().get("total_parts") else { panic!("{headers:?}") };
    // The head is a record too.
    while length(foreigner, &queue).await < parts {
        // The broker gives no other sign.
        tokio::time::sleep(PAUSE).await;
    }
    let headers = FieldTable::from(copied.into_iter().collect::<std::collections::BTreeMap<_, _>>());
    foreigner.publish_to("", &queue, b"0", BasicProperties::default().with_headers(headers)).await;
    if length(foreigner, &queue).await >= *total {
        // Every part is recorded, and the set has no hooks.
        while foreigner.channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await.unwrap().is_some() {}
        foreigner.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
    part.acker.ack(BasicAckOptions::default()).await.unwrap();
}

/// Regression test: the foreign worker found the set complete and deleted its queue, and the job never ended.
#[test]
fn job_is_joined_when_a_foreign_worker_ends_its_last_part() {
    on("none", "quorum", |world| async move {
        let ork = world.builder().clock(Arc::new(Hasty::default())).build().await.unwrap();
        ork.spawn_worker();
        let (mut foreigner, stranger) = (world.foreigner().await, world.foreigner().await);
        let input = json!({"count": 20, "run": fresh(), "hold": 1_000, "failing": []}).to_string();
        let properties = foreigner.requesting("requested").with_message_id(fresh().as_str().into());
        tokio::join!(
            end_the_last_part(&world, &stranger, 20),
            foreigner.publish("count", input.as_bytes(), properties),
        );
        let reply = tokio::time::timeout(Duration::from_secs(20), foreigner.reply()).await.expect("the job is lost");
        assert_eq!(reply.1["state"], json!("succeeded"), "{reply:?}");
        ork.shutdown().await;
    });
}
