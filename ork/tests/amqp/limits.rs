//! Concurrency limits over a broker: a message without a permit leaves the broker, and returns when a permit is free.

use ork::{Parts, task};

use super::tasks::{Gate, called, calls};
use super::world::{each, fresh};

/// At most two at a time. Each waits at the gate of its run until it is opened.
#[task(queue = "line", concurrency = 2)]
async fn narrow(run: String, number: u64) -> u64 {
    called(&format!("{run}.{number}"));
    Gate::of(&run).pass().await;
    number
}

#[task(part)]
fn narrow_part(run: String, count: u64) -> impl Iterator<Item = narrow> {
    (0..count).map(move |number| narrow { run: run.clone(), number })
}

#[task(join)]
fn narrow_join(parts: Parts<u64>) -> ork::Result<u64> {
    parts.all_ok()?.into_iter().sum()
}

#[test]
fn two_workers_share_the_permits_of_a_limit() {
    each(|world| async move {
        let worker = world.worker().await;
        // With a store in memory, two workers would share nothing but the broker.
        let other = if world.store == "memory:" { None } else { Some(world.worker().await) };
        let run = fresh();
        let job = worker.submit(narrow_part { run: run.clone(), count: 100 }).await.unwrap();
        Gate::of(&run).entered(2).await;
        // All others wait in the store and none in the broker, and none has started.
        let expected = "98 parts waiting for a permit of the concurrency limit `narrow`: 2 of 2 in use";
        while !worker.why(job.id()).await.unwrap().sentence.contains(expected) {
            tokio::task::yield_now().await;
        }
        assert_eq!((0..100).map(|number| calls(&format!("{run}.{number}"))).sum::<u32>(), 2);
        Gate::of(&run).open();
        assert_eq!(job.result().await.unwrap(), 99 * 100 / 2);
        assert_eq!((0..100).filter(|number| calls(&format!("{run}.{number}")) != 1).count(), 0);
        if let Some(other) = other {
            other.shutdown().await;
        }
        worker.shutdown().await;
    });
}
