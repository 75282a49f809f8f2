//! Ending in order: what was begun is ended, or given back without having cost an attempt.

use ork::{JobState, Stopped};

use super::tasks::*;
use super::world::{builder, each};

#[test]
fn draining_waits_for_what_was_begun() {
    each(|world| async move {
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        world.ork.drain();
        Gate::of(&key).open();
        assert_eq!(job.wait().await.unwrap(), key);
        world.end().await;
    });
}

#[test]
fn what_a_worker_gave_back_is_run_by_the_next_one_as_the_same_attempt() {
    each(|world| async move {
        let Some(client) = world.another().await else { return };
        let key = ork::JobId::new().to_string();
        let job = client.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        world.ork.force_stop();
        let (ork, store, _folder) = world.parts();
        ork.shutdown().await;
        let status = job.status().await.unwrap();
        assert_eq!((status.state, status.attempt), (JobState::Ready, 1));

        let next = builder(&store).build().await.unwrap();
        next.start_worker();
        Gate::of(&key).entered().await;
        Gate::of(&key).open();
        Gate::of(&key).open();
        assert_eq!(job.wait().await.unwrap(), key);
        assert_eq!(job.status().await.unwrap().attempt, 1);
        next.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn a_worker_says_how_it_ended() {
    each(|world| async move {
        let Some(worker) = world.another().await else { return };
        worker.drain();
        assert_eq!(worker.work().await.unwrap(), Stopped::Drained);
        worker.shutdown().await;
        world.end().await;
    });
}
