//! Messages that a worker holds without a free slot, because it is running work from another queue.

use std::time::Duration;

use ork_core::clock::Clock as _;

use super::lost::Fast;
use super::tasks::*;
use super::world::{World, fresh, once, shared};

async fn worker(world: &World) -> ork::Ork {
    let ork = world.builder().clock(Fast::new()).set("concurrency", "1").build().await.unwrap();
    ork.spawn_worker();
    ork
}

/// Regression test: after two minutes the message was presumed lost and sent again, although this worker held it.
#[test]
fn message_waiting_for_a_slot_is_not_sent_again() {
    shared(|world| async move {
        let (ork, key, run) = (worker(&world).await, fresh(), fresh());
        let long = ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        let waits = ork.submit(low { run: run.clone() }).await.unwrap();
        // Five minutes by the clock of the worker.
        Fast::new().pause(Duration::from_mins(5)).await;
        let attempt = ork.status(waits.id()).await.unwrap().attempt;
        assert_eq!(attempt, 1, "it was sent again");
        Gate::of(&key).open();
        long.result().await.unwrap();
        waits.result().await.unwrap();
        let called = ORDER.lock().unwrap().iter().filter(|called| called.contains(&run)).count();
        assert_eq!(called, 1);
        ork.shutdown().await;
    });
}

/// Regression test: the message stayed with the worker without a slot for as long as `ack_within`, ten minutes.
#[test]
fn message_waiting_for_a_slot_goes_to_a_later_worker() {
    once(|world| async move {
        let (busy, key) = (worker(&world).await, fresh());
        let long = busy.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        let waits = busy.submit(low { run: fresh() }).await.unwrap();
        // Long enough for the busy worker to receive the message and requeue it more than once.
        Fast::new().pause(Duration::from_secs(30)).await;
        let free = worker(&world).await;
        waits.result().await.unwrap();
        Gate::of(&key).open();
        long.result().await.unwrap();
        free.shutdown().await;
        busy.shutdown().await;
    });
}
