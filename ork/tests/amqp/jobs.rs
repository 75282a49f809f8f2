//! One process that submits and works: the kinds of jobs, and the ways in which they end.

use ork::{CancelMode, ClientError, JobState};

use super::tasks::*;
use super::world::{each, fresh, on, once, until, why};

#[test]
fn result_is_returned_typed() {
    each(|world| async move {
        let ork = world.worker().await;
        assert_eq!(ork.submit(hello { name: "Ada".into() }).result().await.unwrap(), "hello Ada");
        assert_eq!(ork.submit(add { a: 2, b: 3 }).await.unwrap().result().await.unwrap(), 5);
        ork.shutdown().await;
    });
}

#[test]
fn many_concurrent_jobs_all_end() {
    each(|world| async move {
        let ork = world.worker().await;
        let jobs = ork.submit_all((0..1_000).map(|a| add { a, b: 1 })).await.unwrap();
        for (a, job) in (0..).zip(&jobs) {
            assert_eq!(job.result().await.unwrap(), a + 1);
        }
        ork.shutdown().await;
    });
}

#[test]
fn failed_attempt_is_retried() {
    each(|world| async move {
        let ork = world.worker().await;
        assert_eq!(ork.submit(succeeds_at { attempt: 3 }).result().await.unwrap(), 3);
        let job = ork.submit(succeeds_at { attempt: 9 }).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "attempt 4");
        ork.shutdown().await;
    });
}

#[test]
fn failures_and_panics_keep_their_messages() {
    each(|world| async move {
        let ork = world.worker().await;
        let job = ork.submit(fails { message: "no luck".into() }).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "no luck");
        let ended = ork.submit(fails { message: "no luck".into() }).result().await;
        assert!(matches!(ended, Err(ClientError::Failed { .. })), "{ended:?}");
        let job = ork.submit(panics { message: "oh no".into() }).await.unwrap();
        let message = why(&job.wait().await.unwrap());
        assert!(message.contains("oh no"), "{message}");
        ork.shutdown().await;
    });
}

#[test]
fn zero_one_and_many_parts_are_joined() {
    each(|world| async move {
        let ork = world.worker().await;
        for count in [0, 1, 1_000] {
            let run = fresh();
            let message = count_part { count, run: run.clone(), hold: u64::MAX, failing: Vec::new() };
            let job = ork.submit(message).await.unwrap();
            assert_eq!(job.result().await.unwrap(), count * count.saturating_sub(1) / 2);
            let status = job.status().await.unwrap();
            assert_eq!((status.total, status.parts.succeeded, status.parts.settled()), (Some(count), count, count));
            assert_eq!(calls(&format!("{}.join", job.id())), 1);
            assert_eq!(calls(&format!("{run}.split")), 1);
        }
        ork.shutdown().await;
    });
}

#[test]
fn retried_job_runs_only_its_failed_parts() {
    each(|world| async move {
        let ork = world.worker().await;
        let run = fresh();
        let message = count_part { count: 50, run: run.clone(), hold: u64::MAX, failing: vec![3, 40] };
        let job = ork.submit(message).await.unwrap();
        why(&job.wait().await.unwrap());
        called(&format!("{run}.healed"));
        ork.retry(job.id()).await.unwrap();
        assert_eq!(job.result().await.unwrap(), 49 * 50 / 2);
        assert_eq!((calls(&format!("{run}.3")), calls(&format!("{run}.4"))), (2, 1));
        assert_eq!(calls(&format!("{run}.split")), 1);
        ork.shutdown().await;
    });
}

#[test]
fn first_failure_stops_a_strict_job() {
    each(|world| async move {
        let ork = world.worker().await;
        let run = fresh();
        let job = ork.submit(strict_part { count: 1_000, run: run.clone() }).await.unwrap();
        until(&ork, job.id(), |status| status.parts.failed > 0).await;
        Gate::of(&run).open();
        let outcome = job.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Failed);
        // A failure while the split is still yielding parts ends the split too.
        let (parts, total) = (outcome.status().parts, outcome.status().total.unwrap());
        assert_eq!(parts.settled(), total, "{parts:?}");
        assert!(parts.failed > 0 && (parts.skipped > 0 || total < 1_000), "{parts:?} of {total}");
        ork.shutdown().await;
    });
}

#[test]
fn cancelled_job_ends_and_its_running_calls_notice() {
    each(|world| async move {
        let ork = world.worker().await;
        let key = fresh();
        let job = ork.submit(listens { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        Gate::of(&key).cancel_noticed().await;
        assert!(matches!(job.result().await.unwrap_err(), ClientError::Cancelled { .. }));

        let run = fresh();
        let job = ork.submit(count_part { count: 500, run: run.clone(), hold: 0, failing: Vec::new() }).await.unwrap();
        Gate::of(&run).entered(1).await;
        job.cancel(CancelMode::Immediate).await.unwrap();
        assert!(matches!(job.result().await.unwrap_err(), ClientError::Cancelled { .. }));
        Gate::of(&run).open();
        assert_eq!(calls(&format!("{}.join", job.id())), 0);
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2, "the worker continues");
        ork.shutdown().await;
    });
}

#[test]
fn higher_priority_goes_first_in_a_classic_queue() {
    on("sqlite", "classic", |world| async move {
        let run = fresh();
        let client = world.client().await;
        let last = client.submit_all((0..20).map(|_| low { run: run.clone() })).await.unwrap();
        let first = client.submit(high { run: run.clone() }).await.unwrap();
        // Both kinds are in the broker before a worker starts.
        client.shutdown().await;
        let worker = world.builder().set("concurrency", "1").build().await.unwrap();
        worker.spawn_worker();
        for id in last.iter().map(ork::Handle::id).chain([first.id()]) {
            assert_eq!(worker.wait(id).await.unwrap().status().state, JobState::Succeeded);
        }
        let order: Vec<_> = ORDER.lock().unwrap().iter().filter(|line| line.starts_with(&run)).cloned().collect();
        assert_eq!(order.len(), 21);
        // One message may be prefetched beside the one that runs.
        assert!(order[..2].contains(&format!("{run} high")), "{order:?}");
        worker.shutdown().await;
    });
}

#[test]
fn job_without_a_worker_reports_its_queue() {
    once(|world| async move {
        let client = world.client().await;
        let job = client.submit(add { a: 1, b: 1 }).await.unwrap();
        let place =
            format!("its message was sent to queue `{}.task.plain` of the broker, which holds 1 message", world.prefix);
        // At first the message is on its way to the broker, which `why` reports as well.
        let why = loop {
            let why = client.why(job.id()).await.unwrap();
            if why.waits_for == ork::WaitsFor::Worker {
                break why;
            }
            assert_eq!(why.waits_for, ork::WaitsFor::Broker, "{why}");
            assert!(why.sentence.contains(" is sending its message to the broker"), "{why}");
            tokio::task::yield_now().await;
        };
        let end = "no other process is up: start a worker";
        assert!(why.sentence.contains(&place) && why.sentence.ends_with(end), "{why}");
        let worker = world.worker().await;
        job.result().await.unwrap();
        worker.shutdown().await;
        client.shutdown().await;
    });
}
