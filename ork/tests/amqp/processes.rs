//! Several ork processes on one broker: which of them works, which waits, and which takes over.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use ork::{CancelMode, JobState, Stopped};

use super::tasks::*;
use super::world::{each, fresh, header, once, shared, until, why};

#[test]
fn two_workers_share_the_parts_of_a_job() {
    shared(|world| async move {
        let mut workers = Vec::new();
        for name in ["one", "two"] {
            let worker = world.builder().set("name", name).set("concurrency", "2").build().await.unwrap();
            worker.spawn_worker();
            workers.push(worker);
        }
        let run = fresh();
        // Only both workers together have room for four calls at the gate.
        let message = count_part { count: 2_000, run: run.clone(), hold: 0, failing: Vec::new() };
        let job = workers[0].submit(message).await.unwrap();
        Gate::of(&run).entered(4).await;
        Gate::of(&run).open();
        assert_eq!(job.result().await.unwrap(), 1_999_000);
        let parts = workers[1].status(job.id()).await.unwrap().parts;
        assert_eq!((parts.succeeded, parts.settled()), (2_000, 2_000));
        assert_eq!(calls(&format!("{}.join", job.id())), 1);
        assert_eq!((0..2_000).filter(|number| calls(&format!("{run}.{number}")) != 1).count(), 0);
        for worker in workers {
            worker.shutdown().await;
        }
    });
}

#[test]
fn outcome_reaches_the_waiting_process() {
    // With a store in memory, the two share only the broker.
    each(|world| async move {
        let worker = world.worker().await;
        let client = world.client().await;
        assert_eq!(client.submit(hello { name: "Ada".into() }).result().await.unwrap(), "hello Ada");
        let message = count_part { count: 300, run: fresh(), hold: u64::MAX, failing: Vec::new() };
        assert_eq!(client.submit(message).result().await.unwrap(), 299 * 300 / 2);
        let failed = client.submit(fails { message: "no luck".into() }).result().await.unwrap_err();
        assert!(failed.to_string().contains("no luck"), "{failed}");
        client.shutdown().await;
        worker.shutdown().await;
    });
}

#[test]
fn jobs_submitted_before_a_worker_starts_are_run_later() {
    once(|world| async move {
        let client = world.client().await;
        let jobs = client.submit_all((0..100).map(|a| add { a, b: 1 })).await.unwrap();
        let worker = world.worker().await;
        for (a, job) in (0..).zip(&jobs) {
            assert_eq!(job.result().await.unwrap(), a + 1);
        }
        client.shutdown().await;
        worker.shutdown().await;
    });
}

#[test]
fn process_cancels_a_job_running_in_another() {
    shared(|world| async move {
        let worker = world.worker().await;
        let client = world.client().await;
        let key = fresh();
        let job = client.submit(listens { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        client.cancel(job.id(), CancelMode::Immediate).await.unwrap();
        Gate::of(&key).cancel_noticed().await;
        client.shutdown().await;
        worker.shutdown().await;
    });
}

#[test]
fn stopping_worker_requeues_unfinished_work() {
    each(|world| async move {
        if world.store == "memory:" {
            return;
        }
        let client = world.client().await;
        let key = fresh();
        let run = fresh();
        let job = client.submit(gated { key: key.clone() }).await.unwrap();
        let message = count_part { count: 3_000, run: run.clone(), hold: 10, failing: Vec::new() };
        let parts = client.submit(message).await.unwrap();
        let first = world.client().await;
        let working = async {
            Gate::of(&key).entered(1).await;
            Gate::of(&run).entered(50).await;
            first.worker().kill();
        };
        let (stopped, ()) = tokio::join!(first.run_worker(), working);
        assert_eq!(stopped.unwrap(), Stopped::Interrupted);
        first.shutdown().await;
        let status = job.status().await.unwrap();
        assert_eq!((status.state, status.attempt, status.failure), (JobState::Ready, 1, None));

        Gate::of(&key).open();
        Gate::of(&run).open();
        let second = world.worker().await;
        assert_eq!(job.result().await.unwrap(), key);
        assert_eq!(job.status().await.unwrap().attempt, 1);
        assert_eq!(parts.result().await.unwrap(), 2_999 * 3_000 / 2);
        let counts = parts.status().await.unwrap().parts;
        assert_eq!((counts.succeeded, counts.settled()), (3_000, 3_000));
        assert_eq!(calls(&format!("{}.join", parts.id())), 1);
        second.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn job_requeued_many_times_is_not_lost() {
    shared(|world| async move {
        let client = world.client().await;
        let key = fresh();
        let job = client.submit(gated { key: key.clone() }).await.unwrap();
        // More often than a worker may be lost with it, which is counted separately.
        for _ in 0..8 {
            let worker = world.builder().set("max_worker_losses", "2").build().await.unwrap();
            worker.spawn_worker();
            Gate::of(&key).entered(1).await;
            worker.worker().kill();
            worker.shutdown().await;
        }
        Gate::of(&key).open();
        let worker = world.worker().await;
        assert_eq!(job.result().await.unwrap(), key);
        worker.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn parts_that_a_worker_rejects_fail() {
    once(|world| async move {
        let first = world.worker().await;
        let run = fresh();
        let message = count_part { count: 50, run: run.clone(), hold: 0, failing: Vec::new() };
        let job = first.submit(message).await.unwrap();
        Gate::of(&run).entered(50).await;
        let mut foreigner = world.foreigner().await;
        // A message that only names the job and the part has no effect.
        let text = |text: &str| AMQPValue::LongString(text.into());
        let headers = [
            ("ork-job", text(&job.id().to_string())),
            ("ork-kind", text("part")),
            ("ork-epoch", AMQPValue::LongInt(1)),
            ("ork-index", AMQPValue::LongInt(7)),
        ];
        let headers: BTreeMap<_, _> = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let forged = BasicProperties::default().with_type("nonesuch".into()).with_headers(FieldTable::from(headers));
        foreigner.publish("count", b"{}", forged).await;
        assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), "unknown-task");
        assert_eq!(job.status().await.unwrap().parts.settled(), 0);
        first.worker().kill();
        let client = world.client().await;
        first.shutdown().await;

        let strict = world.builder().set("max_message_bytes", "20").build().await.unwrap();
        strict.spawn_worker();
        let failure = why(&client.wait(job.id()).await.unwrap());
        assert!(failure.contains("50 failed"), "{failure}");
        // A dead letter may be delivered twice: the forged message was moved there just before its worker ended.
        let mut n_oversized = 0;
        while n_oversized < 50 {
            n_oversized += usize::from(header(&foreigner.dead().await, "x-ork-reason") == "oversized");
        }
        strict.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn unknown_join_fails_its_job() {
    once(|world| async move {
        let first = world.worker().await;
        let client = world.client().await;
        let mut foreigner = world.foreigner().await;
        let run = fresh();
        let message = count_part { count: 20, run: run.clone(), hold: 0, failing: Vec::new() };
        let job = client.submit(message).await.unwrap();
        Gate::of(&run).entered(20).await;
        first.worker().kill();
        first.shutdown().await;
        // An older version of the program, without a join.
        let count = Arc::clone(ork::Registry::collect().unwrap().get("count").unwrap());
        let registry = ork::Registry::of([count.work, count.split.unwrap()]).unwrap();
        let older = world.builder().registry(registry).build().await.unwrap();
        older.spawn_worker();
        Gate::of(&run).open();
        let failure = why(&job.wait().await.unwrap());
        assert!(failure.contains("the task `count` of this program has no join"), "{failure}");
        let dead = foreigner.dead().await;
        assert_eq!((header(&dead, "x-ork-reason"), header(&dead, "ork-kind")), ("unknown-task".into(), "join".into()));
        // A newer version retries the job: its parts are settled, so only the join runs.
        older.shutdown().await;
        let newer = world.worker().await;
        client.retry(job.id()).await.unwrap();
        assert_eq!(job.result().await.unwrap(), 190);
        newer.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn draining_worker_finishes_running_work() {
    once(|world| async move {
        let worker = world.worker().await;
        let client = world.client().await;
        let key = fresh();
        let job = client.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        worker.worker().stop();
        Gate::of(&key).open();
        worker.shutdown().await;
        assert_eq!(job.status().await.unwrap().state, JobState::Succeeded);
        client.shutdown().await;
    });
}

#[test]
fn redelivered_messages_of_settled_work_have_no_effect() {
    each(|world| async move {
        let ork = world.worker().await;
        let foreigner = world.foreigner().await;
        let (run, key) = (fresh(), fresh());
        Gate::of(&key).open();
        let single = ork.submit(gated { key: key.clone() }).await.unwrap();
        single.result().await.unwrap();
        let message = count_part { count: 20, run: run.clone(), hold: 10, failing: Vec::new() };
        let job = ork.submit(message).await.unwrap();
        until(&ork, job.id(), |status| status.parts.succeeded == 10).await;

        let text = |text: String| AMQPValue::LongString(text.into());
        let again = |headers: &[(&str, AMQPValue)]| {
            let headers: BTreeMap<_, _> = headers.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
            BasicProperties::default().with_headers(FieldTable::from(headers))
        };
        let id = text(job.id().to_string());
        let part = |index: i64, epoch: i64| {
            again(&[
                ("ork-job", id.clone()),
                ("ork-kind", text("part".into())),
                ("ork-epoch", AMQPValue::LongLongInt(epoch)),
                ("ork-index", AMQPValue::LongLongInt(index)),
            ])
        };
        let input = |number: u64| format!(r#"{{"number": {number}, "run": "{run}", "hold": 1000, "fail": false}}"#);
        // While the job runs: parts that are settled, of an older epoch, and beyond the last part.
        let settled: Vec<_> = ork.part_outputs(job.id(), 0, 20).await.unwrap().iter().map(|part| part.index).collect();
        assert_eq!(settled.len(), 10);
        let known = settled.iter().map(|index| (i64::try_from(*index).unwrap(), 1));
        for (index, epoch) in known.chain([(3, 0), (15, 0), (3, 9), (20, 1), (1 << 40, 1)]) {
            foreigner.publish("count", input(99).as_bytes(), part(index, epoch)).await;
        }
        Gate::of(&run).open();
        assert_eq!(job.result().await.unwrap(), 190);
        // After the job has ended.
        foreigner.publish("count", input(99).as_bytes(), part(3, 1)).await;
        foreigner.publish("count", b"null", again(&[("ork-job", id.clone()), ("ork-kind", text("join".into()))])).await;
        foreigner.publish("count", b"null", again(&[("ork-job", id.clone())])).await;
        let body = format!(r#"{{"key": "{key}"}}"#);
        foreigner.publish("gated", body.as_bytes(), again(&[("ork-job", text(single.id().to_string()))])).await;
        // These are behind the others in both queues, and a worker that has drained has handled all of them.
        ork.submit(add { a: 1, b: 1 }).result().await.unwrap();
        let last = count_part { count: 3, run: fresh(), hold: 10, failing: Vec::new() };
        ork.submit(last).result().await.unwrap();
        let (id, single) = (job.id(), single.id());
        ork.shutdown().await;
        assert_eq!((calls(&key), calls(&format!("{run}.99"))), (1, 0), "of {single}");
        assert_eq!((calls(&format!("{run}.split")), calls(&format!("{id}.join"))), (1, 1));
    });
}
