//! Long work: acknowledged before it ends, leased in the store, and not taken over by other workers.

use futures_util::StreamExt as _;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use ork::JobState;

use super::node::private_node;
use super::proxy::Proxy;
use super::tasks::*;
use super::world::{World, fresh, once, run};

/// Waits until a process holds a lease in the outbox. It reads the file of the store, which has no notification for
/// that.
pub(crate) async fn until_leased(world: &World) {
    let path = world.store.strip_prefix("sqlite:").unwrap();
    let file = rusqlite::Connection::open(path).unwrap();
    let held = "SELECT count(*) FROM outbox WHERE holder IS NOT NULL AND kind = 'start'";
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    while file.query_row(held, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
        look.tick().await;
    }
}

/// One worker runs long work and loses its unacknowledged deliveries, while another worker waits for work. Returns how
/// often the work ran. With `twice`, the second run is awaited, because nothing signals when the broker notices the
/// loss.
async fn runs_after(world: &World, (ack_within, twice): (&str, bool), loss: impl AsyncFnOnce(&Proxy)) -> u32 {
    let (proxy, through) = Proxy::before(&world.url);
    let builder = world.builder().broker(&through).set("name", "long").set("ack_timeout", ack_within);
    let long = builder.build().await.unwrap();
    long.spawn_worker();
    let key = fresh();
    let job = long.submit(gated { key: key.clone() }).await.unwrap();
    Gate::of(&key).entered(1).await;
    if ack_within != "10m" {
        until_leased(world).await;
    }
    // Everything acknowledged before these jobs has reached the broker when they are done.
    for a in 0..20 {
        assert_eq!(long.submit(add { a, b: 1 }).result().await.unwrap(), a + 1);
    }
    let other = world.worker().await;
    long.worker().stop();
    loss(&proxy).await;
    if twice {
        Gate::of(&key).entered(1).await;
    }
    // A redelivered message goes to the head of the queue, before this one.
    let last = other.submit(hello { name: "Ada".into() }).result().await.unwrap();
    assert_eq!(last, "hello Ada");
    let runs = calls(&key);
    Gate::of(&key).open();
    assert_eq!(job.result().await.unwrap(), key);
    assert_eq!(other.status(job.id()).await.unwrap().state, JobState::Succeeded);
    long.shutdown().await;
    other.shutdown().await;
    runs
}

/// The first case is the control: an unacknowledged delivery goes to the other worker, and the work runs twice.
#[test]
fn leased_work_is_not_redelivered_after_a_lost_connection() {
    once(|world| async move {
        for (ack_within, runs) in [("10m", 2), ("100ms", 1)] {
            assert_eq!(runs_after(&world, (ack_within, runs == 2), async |proxy| proxy.cut()).await, runs);
        }
    });
}

#[test]
fn work_that_waits_too_long_for_a_slot_goes_to_another_worker() {
    once(|world| async move {
        let busy = world.builder().set("name", "busy").set("concurrency", "1").set("ack_timeout", "200ms");
        let busy = busy.build().await.unwrap();
        busy.spawn_worker();
        let key = fresh();
        let long = busy.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        until_leased(&world).await;
        // The busy worker receives one of these now or later.
        let others = busy.submit_all((0..10).map(|n| hello { name: n.to_string() })).await.unwrap();
        let idle = world.worker().await;
        for (n, job) in others.iter().enumerate() {
            assert_eq!(job.result().await.unwrap(), format!("hello {n}"));
        }
        Gate::of(&key).open();
        assert_eq!(long.result().await.unwrap(), key);
        busy.shutdown().await;
        idle.shutdown().await;
    });
}

/// The server checks every second here, and every minute by default.
const IMPATIENT: &str = "[application:set_env(rabbit, Key, Milliseconds) || \
                         {Key, Milliseconds} <- [{consumer_timeout, 2000}, {channel_tick_interval, 1000}]].";

/// Holds a delivery until the server closes the channel for it.
async fn outwait(world: &World) {
    let foreigner = world.foreigner().await;
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let mine = foreigner.channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
    foreigner.publish_to("", mine.name().as_str(), b"1", BasicProperties::default()).await;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consume = foreigner.channel.basic_consume(mine.name().clone(), "holds".into(), options, arguments);
    let mut consumer = consume.await.unwrap();
    let _held = consumer.next().await.unwrap().unwrap();
    while let Some(Ok(_)) = consumer.next().await {}
}

/// The first case is the control here too.
#[test]
fn consumer_timeout_does_not_affect_leased_work() {
    let Some(node) = private_node() else { return };
    let output = node.command("rabbitmqctl").args(["eval", IMPATIENT]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let world = World::new(&node.url(), "sqlite", "quorum");
    run(async {
        for (ack_within, runs) in [("10m", 2), ("100ms", 1)] {
            // A delivery that is older than the one of the foreign client was late before it; the second round covers
            // a delivery that was made in between.
            let outwaited = async |_: &Proxy| {
                outwait(&world).await;
                outwait(&world).await;
            };
            assert_eq!(runs_after(&world, (ack_within, runs == 2), outwaited).await, runs);
        }
    });
}
