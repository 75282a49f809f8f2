//! Retention: jobs that ended long ago are removed once they are due, and not before.

use std::sync::Arc;
use std::time::Duration;

use super::clock::Manual;
use super::tasks::*;
use super::world::{builder, each};
use ork::{ClientError, JobId, Ork, Timestamp};

async fn is_there(ork: &Ork, id: JobId) -> bool {
    match ork.status(id).await {
        Ok(_) => true,
        Err(ClientError::JobNotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn worker_removes_only_jobs_past_their_retention() {
    each(|world| async move {
        let (first, store, folder) = world.parts();
        first.shutdown().await;
        let clock = Manual::new(Timestamp::from_millis(1_000_000));
        let ork = builder(&store).clock(Arc::<Manual>::clone(&clock)).set("retention", "1h").build().await.unwrap();
        ork.spawn_worker();
        let ended = async || {
            let job = ork.submit(add { a: 1, b: 1 }).await.unwrap();
            job.result().await.unwrap();
            job.id()
        };
        let key = JobId::new().to_string();
        let running = ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered().await;
        let old = ended().await;
        clock.advance(Duration::from_mins(30));
        let young = ended().await;
        clock.advance(Duration::from_mins(29));
        assert!(is_there(&ork, old).await);
        // Now it is due. The only sign of the removal is that it disappears.
        clock.advance(Duration::from_mins(2));
        while is_there(&ork, old).await {
            tokio::task::yield_now().await;
        }
        assert!(is_there(&ork, young).await && is_there(&ork, running.id()).await);
        clock.advance(Duration::from_mins(30));
        while is_there(&ork, young).await {
            tokio::task::yield_now().await;
        }
        Gate::of(&key).open();
        assert_eq!(running.result().await.unwrap(), key);
        ork.shutdown().await;
        drop(folder);
    });
}

#[test]
fn client_prunes_jobs_that_ended_long_enough_ago() {
    each(|world| async move {
        let job = world.ork.submit(add { a: 1, b: 1 }).await.unwrap();
        job.result().await.unwrap();
        assert_eq!(world.ork.prune(Duration::from_hours(1)).await.unwrap(), 0);
        let parts = world.ork.submit(seen_part { count: 30 }).await.unwrap();
        parts.wait().await.unwrap();
        while is_there(&world.ork, job.id()).await {
            world.ork.prune(Duration::ZERO).await.unwrap();
        }
        assert!(!is_there(&world.ork, JobId::new()).await);
        world.end().await;
    });
}
