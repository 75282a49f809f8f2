//! Shutdown: running work is finished, or requeued without costing an attempt.

use std::sync::Arc;

use ork::{JobState, Stopped, WorkerId};
use ork_ports::store::Store;
use ork_runtime::store::memory::Memory;

use super::tasks::*;
use super::world::{DEADLINE, builder, each};

#[test]
fn drain_waits_for_running_work() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        world.ork.worker().stop();
        Gate::of(&key).open();
        assert_eq!(job.result().await.unwrap(), key);
        world.end().await;
    });
}

#[test]
fn requeued_work_is_run_by_the_next_worker_as_the_same_attempt() {
    each(|world| async move {
        let Some(client) = world.another().await else { return };
        let key = ork::JobId::new().to_string();
        let job = client.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        world.ork.worker().kill();
        let (ork, store, _folder) = world.parts();
        ork.shutdown().await;
        let status = job.status().await.unwrap();
        assert_eq!((status.state, status.attempt), (JobState::Ready, 1));

        let next = builder(&store).build().await.unwrap();
        next.spawn_worker();
        Gate::of(&key).entered().await;
        Gate::of(&key).open();
        Gate::of(&key).open();
        assert_eq!(job.result().await.unwrap(), key);
        assert_eq!(job.status().await.unwrap().attempt, 1);
        next.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn worker_returns_how_it_stopped() {
    each(|world| async move {
        let Some(worker) = world.another().await else { return };
        worker.worker().stop();
        assert_eq!(worker.run_worker().await.unwrap(), Stopped::Drained);
        worker.shutdown().await;
        world.end().await;
    });
}

#[test]
fn dropped_process_sends_no_more_heartbeats() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, worker) = (Arc::new(Memory::new()), WorkerId::new("one"));
        let port: Arc<dyn Store> = Arc::<Memory>::clone(&store);
        let ork = builder("memory:").ports(port, None, worker).build().await.unwrap();
        drop(ork);
        // The heartbeat runs on a separate thread.
        let gone = async {
            while Arc::strong_count(&store) > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, gone).await.expect("a heartbeat still runs");
    });
}
