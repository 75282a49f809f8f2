//! Every way to lose the broker in the middle of work: no work is lost with it, and none counts twice.

use std::net::TcpListener;
use std::time::Duration;

use ork::{JobState, Ork};

use super::node::{private_node, shared_node};
use super::proxy::Proxy;
use super::rabbit::Rabbit;
use super::tasks::*;
use super::world::{World, fresh, once, run};

/// The longest time until the error that the broker is down.
const SOON: Duration = Duration::from_secs(20);

/// Runs a test on a private node, with its own prefix.
fn on_its_own(test: impl AsyncFn(&mut Rabbit, World)) {
    let Some(mut node) = private_node() else { return };
    let world = World::new(&node.url(), "sqlite", "quorum");
    run(test(&mut node, world));
}

/// Submits a job of 2,000 parts, of which half are settled when this returns; the others wait at the gate.
async fn half_done(ork: &Ork, key: &str) -> ork::Handle<count_part> {
    let message = count_part { count: 2_000, run: key.to_owned(), hold: 1_000, failing: Vec::new() };
    let job = ork.submit(message).await.unwrap();
    super::world::until(ork, job.id(), |status| status.parts.succeeded == 1_000).await;
    Gate::of(key).entered(1).await;
    job
}

async fn is_whole(job: &ork::Handle<count_part>) {
    assert_eq!(job.result().await.unwrap(), 1_999_000);
    let status = job.status().await.unwrap();
    assert_eq!((status.total, status.parts.succeeded, status.parts.settled()), (Some(2_000), 2_000, 2_000));
    assert_eq!(status.parts.running, 0, "{status:?}");
    assert_eq!(calls(&format!("{}.join", job.id())), 1);
}

#[test]
fn error_names_a_broker_that_is_down_at_startup() {
    run(async {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("amqp://ada:sesame@127.0.0.1:{port}/%2f");
        for store in ["sqlite", "none"] {
            let world = World::new(&url, store, "quorum");
            let built = tokio::time::timeout(SOON, world.builder().build()).await.expect("no result in time");
            let message = built.unwrap_err().to_string();
            assert!(message.contains(&format!("127.0.0.1:{port}")), "{message}");
            assert!(!message.contains("sesame"), "{message}");
        }
    });
}

#[test]
fn connection_lost_while_a_worker_starts_is_reestablished() {
    once(async |mut world| {
        let (proxy, through) = Proxy::before(&world.url);
        world.url = through;
        for responses in (1_i64..).step_by(13) {
            let ork = world.client().await;
            proxy.cut_after(responses.unsigned_abs());
            let working = async { assert_eq!(ork.run_worker().await.unwrap(), ork::Stopped::Drained) };
            let requesting = async {
                assert_eq!(ork.submit(add { a: responses, b: 1 }).result().await.unwrap(), responses + 1);
                ork.worker().stop();
            };
            tokio::join!(working, requesting);
            ork.shutdown().await;
            if !proxy.has_cut() {
                assert!(responses > 10, "a worker starts with more responses than {responses}");
                break;
            }
        }
    });
}

/// Regression test: `build` failed, whichever of the first responses was cut off.
#[test]
fn connection_cut_during_build_is_reestablished() {
    once(async |mut world| {
        let (proxy, through) = Proxy::before(&world.url);
        world.url = through;
        // Each of the handshakes, and some of the declarations after them.
        for responses in (1_i64..12).chain((12..).step_by(9)) {
            proxy.cut_after(responses.unsigned_abs());
            let ork = world.builder().build().await;
            let ork = ork.unwrap_or_else(|error| panic!("cut after {responses} responses: {error}"));
            ork.spawn_worker();
            assert_eq!(ork.submit(add { a: responses, b: 1 }).result().await.unwrap(), responses + 1);
            ork.shutdown().await;
            if !proxy.has_cut() {
                assert!(responses > 10, "a process is built with more responses than {responses}");
                break;
            }
        }
    });
}

#[test]
fn error_names_a_refused_login() {
    let Some(url) = shared_node() else { return };
    let url = url.replace("guest:guest", "guest:wrong");
    run(async {
        let world = World::new(&url, "sqlite", "quorum");
        let built = tokio::time::timeout(SOON, world.builder().build()).await.expect("no result in time");
        let message = built.unwrap_err().to_string();
        assert!(message.contains("login") || message.contains("refused"), "{message}");
        assert!(!message.contains("wrong"), "{message}");
    });
}

#[test]
fn job_survives_a_killed_broker() {
    on_its_own(async |node, world| {
        let ork = world.worker().await;
        for queue in ["task.parts", "task.plain"] {
            node.wait_for_quorum_queue(&format!("{}.{queue}", world.prefix));
        }
        let key = fresh();
        let job = half_done(&ork, &key).await;
        node.kill();
        // The running parts settle while the broker is down.
        Gate::of(&key).open();
        node.restart();
        is_whole(&job).await;
        ork.shutdown().await;
    });
}

#[test]
fn running_parts_survive_a_broker_restart() {
    on_its_own(async |node, world| {
        let ork = world.worker().await;
        for queue in ["task.parts", "task.plain"] {
            node.wait_for_quorum_queue(&format!("{}.{queue}", world.prefix));
        }
        let key = fresh();
        let job = half_done(&ork, &key).await;
        node.restart();
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        // Their messages have been redelivered, while they still run: the copies wait for the first calls.
        Gate::of(&key).open();
        is_whole(&job).await;
        assert_eq!((0..2_000).filter(|number| calls(&format!("{key}.{number}")) != 1).count(), 0);
        ork.shutdown().await;
    });
}

#[test]
fn job_survives_an_orderly_broker_stop() {
    on_its_own(async |node, world| {
        let ork = world.worker().await;
        let key = fresh();
        let job = half_done(&ork, &key).await;
        node.stop();
        Gate::of(&key).open();
        let meanwhile = ork.submit(add { a: 1, b: 1 }).await.unwrap();
        node.restart();
        is_whole(&job).await;
        assert_eq!(meanwhile.result().await.unwrap(), 2);
        ork.shutdown().await;
    });
}

#[test]
fn work_resumes_after_a_broker_outage() {
    on_its_own(async |node, world| {
        let ork = world.worker().await;
        for queue in ["task.parts", "task.plain"] {
            node.wait_for_quorum_queue(&format!("{}.{queue}", world.prefix));
        }
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        node.kill();
        // The store accepts messages that the broker cannot.
        let jobs = ork.submit_all((0..500).map(|a| add { a, b: 1 })).await.unwrap();
        let message = count_part { count: 500, run: fresh(), hold: u64::MAX, failing: Vec::new() };
        let parts = ork.submit(message).await.unwrap();
        let newcomer = tokio::time::timeout(SOON, world.builder().build()).await.expect("no result in time");
        newcomer.unwrap_err();
        assert_eq!(jobs[0].status().await.unwrap().state, JobState::Ready);
        node.restart();
        for (a, job) in (0..).zip(&jobs) {
            assert_eq!(job.result().await.unwrap(), a + 1);
        }
        assert_eq!(parts.result().await.unwrap(), 499 * 500 / 2);
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        ork.shutdown().await;
    });
}

#[test]
fn storeless_submission_reports_that_the_broker_is_down() {
    let Some(mut node) = private_node() else { return };
    let world = World::new(&node.url(), "none", "quorum");
    run(async {
        let ork = world.worker().await;
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        node.kill();
        let submitted = tokio::time::timeout(SOON, ork.submit(add { a: 1, b: 1 })).await.expect("no result in time");
        let message = submitted.unwrap_err().to_string();
        assert!(message.contains("RabbitMQ at"), "{message}");
        ork.shutdown().await;
    });
}

#[test]
fn process_shuts_down_while_the_broker_is_down() {
    on_its_own(async |node, world| {
        let ork = world.worker().await;
        node.wait_for_quorum_queue(&format!("{}.task.plain", world.prefix));
        node.kill();
        let job = ork.submit(add { a: 1, b: 1 }).await.unwrap();
        tokio::time::timeout(SOON, ork.shutdown()).await.expect("it does not end");
        node.restart();
        let next = world.worker().await;
        assert_eq!(next.wait(job.id()).await.unwrap().into_output::<i64>().unwrap(), 2);
        next.shutdown().await;
    });
}

#[test]
fn job_survives_cut_connections() {
    let Some(mut world) = shared_node().map(|url| World::new(url, "sqlite", "quorum")) else { return };
    let (proxy, through) = Proxy::before(&world.url);
    let direct = std::mem::replace(&mut world.url, through);
    run(async {
        let ork = world.worker().await;
        let key = fresh();
        let job = half_done(&ork, &key).await;
        // More often than a part may lose its worker.
        for _ in 0..8 {
            proxy.cut();
            assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        }
        Gate::of(&key).open();
        proxy.cut();
        is_whole(&job).await;
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        ork.shutdown().await;
        super::world::clean(&direct, &world.prefix).await;
    });
}
