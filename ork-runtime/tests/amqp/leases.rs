//! Long work: acknowledged before it ends, leased in the store, and not taken from others.

use ork::JobState;

use super::proxy::Proxy;
use super::tasks::*;
use super::world::{World, fresh, once};

/// Waits until somebody holds a row of the outbox. The file is the store's, and has no sign of its own to wait for.
async fn until_leased(world: &World) {
    let path = world.store.strip_prefix("sqlite:").unwrap();
    let file = rusqlite::Connection::open(path).unwrap();
    let held = "SELECT count(*) FROM owed WHERE holder IS NOT NULL AND ask = 'start'";
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    while file.query_row(held, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
        look.tick().await;
    }
}

/// One worker runs long work and loses its connection, while another one waits for work. Answers how often it ran.
async fn runs_after_a_cut(world: &World, ack_within: &str) -> u32 {
    let direct: lapin::uri::AMQPUri = world.url.parse().unwrap();
    let proxy = Proxy::to(direct.authority.port);
    let through = world.url.replace(&format!(":{}", direct.authority.port), &format!(":{}", proxy.port()));
    let builder = world.builder().broker(&through).set("name", "long").set("ack_within", ack_within);
    let long = builder.build().await.unwrap();
    long.start_worker();
    let key = fresh();
    let job = long.submit(gated { key: key.clone() }).await.unwrap();
    Gate::of(&key).entered(1).await;
    if ack_within != "10m" {
        until_leased(world).await;
    }
    // Whatever was acknowledged before these is with the broker when they are done.
    for a in 0..5 {
        assert_eq!(long.submit(add { a, b: 1 }).and_wait().await.unwrap(), a + 1);
    }
    let other = world.worker().await;
    proxy.cut();
    long.drain();
    // What comes again comes to the head of the queue, before this.
    let last = other.submit(hello { name: "Ada".into() }).and_wait().await.unwrap();
    assert_eq!(last, "hello Ada");
    let runs = calls(&key);
    Gate::of(&key).open();
    assert_eq!(job.wait().await.unwrap(), key);
    assert_eq!(other.status(job.id()).await.unwrap().state, JobState::Success);
    long.shutdown().await;
    other.shutdown().await;
    runs
}

/// The broken variant is the first half: an unacknowledged delivery goes to the other worker, and the work runs twice.
#[test]
fn leased_work_does_not_come_again_when_its_connection_is_lost() {
    once(|world| async move {
        assert_eq!(runs_after_a_cut(&world, "10m").await, 2);
        assert_eq!(runs_after_a_cut(&world, "100ms").await, 1);
    });
}

#[test]
fn work_that_waits_too_long_for_a_slot_goes_to_somebody_else() {
    once(|world| async move {
        let busy = world.builder().set("name", "busy").set("concurrency", "1").set("ack_within", "200ms");
        let busy = busy.build().await.unwrap();
        busy.start_worker();
        let key = fresh();
        let long = busy.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        until_leased(&world).await;
        // One of them is in the hands of the busy worker by now, or will be.
        let others = busy.submit_all((0..10).map(|n| hello { name: n.to_string() })).await.unwrap();
        let idle = world.worker().await;
        for (n, job) in others.iter().enumerate() {
            assert_eq!(job.wait().await.unwrap(), format!("hello {n}"));
        }
        Gate::of(&key).open();
        assert_eq!(long.wait().await.unwrap(), key);
        busy.shutdown().await;
        idle.shutdown().await;
    });
}
