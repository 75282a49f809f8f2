//! Trees of jobs whose messages travel through RabbitMQ, over processes that share a store.

use ork::{CancelMode, Context, JobState, Result, task};

use super::tasks::*;
use super::world::{each, fresh, shared, until};

/// Submits child jobs that add to its numbers, and a child of its own task for each further level.
#[task(queue = "plain")]
async fn family(numbers: Vec<i64>, levels: u32, context: Context) -> Result<i64> {
    for number in &numbers {
        context.submit(add { a: *number, b: 1 }).await?;
    }
    if levels > 0 {
        context.submit(family { numbers: numbers.clone(), levels: levels - 1 }).await?;
    }
    Ok(numbers.into_iter().sum())
}

/// Submits child jobs that wait at the gate.
#[task(queue = "plain")]
async fn watchmen(key: String, many: u32, context: Context) -> Result<()> {
    for _ in 0..many {
        context.submit(gated { key: key.clone() }).await?;
    }
    Ok(())
}

/// The outcome is sent when the whole tree has ended, with the output that the job returned long before.
#[test]
fn outcome_is_sent_when_the_whole_tree_has_ended() {
    each(|world| async move {
        let ork = world.worker().await;
        let sum = ork.submit(family { numbers: vec![1, 2, 3], levels: 2 }).result().await.unwrap();
        assert_eq!(sum, 6);
        let root = ork.submit(family { numbers: vec![4, 5], levels: 1 }).await.unwrap();
        assert_eq!(root.result().await.unwrap(), 9);
        let status = root.status().await.unwrap();
        assert_eq!((status.below, status.below_ended), (5, 5));
        ork.shutdown().await;
    });
}

#[test]
fn gracefully_cancelled_tree_ends_after_its_running_jobs() {
    shared(|world| async move {
        let one = world.worker().await;
        let (client, key) = (world.client().await, fresh());
        let root = client.submit(watchmen { key: key.clone(), many: 3 }).await.unwrap();
        Gate::of(&key).entered(3).await;
        until(&client, root.id(), |status| status.below == 3).await;
        let follows = client.submit(add { a: 40, b: 2 }).after(root.id()).await.unwrap();
        client.cancel(root.id(), CancelMode::Graceful).await.unwrap();
        assert_eq!(root.status().await.unwrap().state, JobState::Waiting);
        Gate::of(&key).open();
        // Running jobs were allowed to finish, and the follower starts after any kind of end.
        assert_eq!(follows.result().await.unwrap(), 42);
        assert_eq!(root.status().await.unwrap().state, JobState::Cancelled);
        let below = client.tree(root.id()).await.unwrap();
        assert!(below.iter().skip(1).all(|(_, job)| job.state == JobState::Succeeded));
        client.shutdown().await;
        one.shutdown().await;
    });
}

#[test]
fn cancel_stops_child_jobs_in_other_processes() {
    shared(|world| async move {
        let (one, two) = (world.worker().await, world.worker().await);
        let (client, key) = (world.client().await, fresh());
        let root = client.submit(choir { key: key.clone(), many: 6 }).await.unwrap();
        Gate::of(&key).entered(6).await;
        client.cancel(root.id(), CancelMode::Immediate).await.unwrap();
        for _ in 0..6 {
            Gate::of(&key).cancel_noticed().await;
        }
        assert_eq!(root.wait().await.unwrap().status().state, JobState::Cancelled);
        for ork in [client, one, two] {
            ork.shutdown().await;
        }
    });
}

/// Submits child jobs that run until they are cancelled.
#[task(queue = "plain")]
async fn choir(key: String, many: u32, context: Context) -> Result<()> {
    for _ in 0..many {
        context.submit(listens { key: key.clone() }).await?;
    }
    Ok(())
}
