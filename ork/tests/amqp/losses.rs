//! Work that kills its worker: it is retried, but not forever.

use std::sync::Arc;

use ork::JobState;

use super::proxy::Proxy;
use super::tasks::*;
use super::world::{World, fresh, header, once, why};

/// Starts the work and dies without any notice.
#[expect(clippy::mem_forget, reason = "nothing of a dead process runs any more, not even its destructors")]
fn run_and_die(world: &World, key: &str) {
    let (proxy, through) = Proxy::before(&world.url);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let worker = world.builder().broker(through).set("max_worker_losses", "2").build().await.unwrap();
        worker.spawn_worker();
        Gate::of(key).entered(1).await;
        std::mem::forget(worker);
    });
    runtime.shutdown_background();
    proxy.cut();
}

/// Without a limit the last worker would run the work again, and die too.
#[test]
fn work_that_kills_its_workers_fails_after_max_losses() {
    once(|world| async move {
        let (world, key) = (Arc::new(world), fresh());
        let client = world.client().await;
        let mut foreigner = world.foreigner().await;
        let job = client.submit(gated { key: key.clone() }).await.unwrap();
        for _ in 0..3 {
            let (world, key) = (Arc::clone(&world), key.clone());
            tokio::task::spawn_blocking(move || run_and_die(&world, &key)).await.unwrap();
        }
        let last = world.builder().set("max_worker_losses", "2").build().await.unwrap();
        last.spawn_worker();
        let outcome = job.wait().await.unwrap();
        assert_eq!(why(&outcome), "lost worker: its worker died or lost its connection 3 times while it ran");
        assert_eq!((calls(&key), outcome.status().state), (3, JobState::Failed));
        let dead = foreigner.dead().await;
        assert_eq!(header(&dead, "x-ork-reason"), "exhausted");
        last.shutdown().await;
        client.shutdown().await;
    });
}
