//! Messages that RabbitMQ confirmed and then lost: by a purge, with a deleted queue, or by a policy.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use ork::{Ork, Timestamp, WaitsFor};
use ork_amqp::{Amqp, Config};
use ork_core::clock::{Clock, Pause};
use ork_ports::broker::Broker as _;
use ork_runtime::clock::system::SystemClock;

use super::tasks::*;
use super::world::{Foreigner, World, each, fresh, on, once, run};
use crate::node::can_start_nodes;
use crate::rabbit::{Rabbit, free_port};

/// A clock that runs thirty times as fast as the system's.
#[derive(Debug)]
pub(crate) struct Fast(Timestamp);

const FASTER: u32 = 30;

impl Fast {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(SystemClock.now()))
    }
}

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        self.0 + (SystemClock.now() - self.0) * FASTER
    }

    fn pause(&self, duration: Duration) -> Pause {
        SystemClock.pause(duration / FASTER)
    }
}

async fn process(world: &World) -> Ork {
    world.builder().clock(Fast::new()).build().await.unwrap()
}

/// Waits until exactly `n` messages are in the queue, and returns its full name.
async fn sent(world: &World, foreigner: &Foreigner, queue: &str, n: u32) -> String {
    let queue = format!("{}.task.{queue}", world.prefix);
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    loop {
        let found = foreigner.channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await;
        if found.unwrap().message_count() == n {
            return queue;
        }
        // The broker gives no other sign.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns what the management API at this URL reports about the queues of this world.
async fn hazards(world: &World, management: &str) -> Result<Option<Vec<String>>, String> {
    let mut config = Config::new(&world.url).unwrap();
    (config.prefix, config.management) = (world.prefix.clone(), management.to_owned());
    let amqp = Amqp::new(config).unwrap();
    let found = amqp.hazards().await;
    amqp.close().await;
    found
}

async fn purge(foreigner: &Foreigner, queue: &str) -> u32 {
    foreigner.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap()
}

/// Regression test: such a job stayed `ready` forever.
#[test]
fn purged_job_is_sent_again_and_called_once() {
    each(|world| async move {
        let (ork, foreigner, key) = (process(&world).await, world.foreigner().await, fresh());
        let job = ork.submit(gated { key: key.clone() }).await.unwrap();
        let queue = sent(&world, &foreigner, "plain", 1).await;
        assert_eq!(purge(&foreigner, &queue).await, 1);
        ork.spawn_worker();
        Gate::of(&key).open();
        job.result().await.unwrap();
        assert_eq!(calls(&key), 1);
        ork.shutdown().await;
    });
}

#[test]
fn purged_parts_are_sent_again_and_called_once_each() {
    each(|world| async move {
        let ork = world.builder().clock(Fast::new()).set("concurrency", "2").build().await.unwrap();
        let (foreigner, name) = (world.foreigner().await, fresh());
        ork.spawn_worker();
        let split = count_part { count: 40, run: name.clone(), hold: 0, failing: Vec::new() };
        let job = ork.submit(split).await.unwrap();
        // Two run; the others are in the queue, or on their way to a worker that has no slot for them.
        Gate::of(&name).entered(2).await;
        sent(&world, &foreigner, "parts", 38).await;
        assert_eq!(purge(&foreigner, &format!("{}.task.parts", world.prefix)).await, 38);
        Gate::of(&name).open();
        assert_eq!(job.result().await.unwrap(), (0..40).sum::<u64>());
        let called: Vec<_> = (0..40).map(|number| calls(&format!("{name}.{number}"))).collect();
        assert_eq!(called, [1; 40]);
        ork.shutdown().await;
    });
}

#[test]
fn jobs_of_a_deleted_queue_are_sent_again() {
    once(|world| async move {
        let (ork, foreigner) = (process(&world).await, world.foreigner().await);
        let jobs = ork.submit_all((0..10).map(|a| add { a, b: 1 })).await.unwrap();
        let queue = sent(&world, &foreigner, "plain", 10).await;
        foreigner.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        ork.spawn_worker();
        for (a, job) in (0..).zip(jobs) {
            assert_eq!(job.result().await.unwrap(), a + 1);
        }
        ork.shutdown().await;
    });
}

/// The node has a policy that lets messages expire after a second.
#[test]
fn policy_that_drops_messages_is_reported_and_jobs_are_sent_again() {
    if !can_start_nodes() {
        return;
    }
    let port = free_port();
    let rabbit = Rabbit::start_with(|folder| {
        std::fs::write(folder.join("enabled_plugins"), "[rabbitmq_management].\n").unwrap();
        format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n")
    });
    run(async {
        let world = World::new(&rabbit.url(), "sqlite", "quorum");
        let (ork, foreigner) = (process(&world).await, world.foreigner().await);
        assert_eq!(hazards(&world, &format!("http://127.0.0.1:{port}")).await, Ok(Some(Vec::new())));
        let policy = ["set_policy", "short", r"\.task\.plain", r#"{"message-ttl": 1000}"#, "--apply-to", "queues"];
        assert!(rabbit.command("rabbitmqctl").args(policy).output().unwrap().status.success());
        let found = loop {
            // The node updates the API every few seconds and gives no other sign.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let found = hazards(&world, &format!("http://guest:guest@127.0.0.1:{port}")).await.unwrap().unwrap();
            if let [found] = &found[..] {
                break found.clone();
            }
        };
        assert!(found.contains(&format!("`{}.task.plain`", world.prefix)), "{found}");
        assert!(found.ends_with("dropped (`message-ttl` of policy `short`)"), "{found}");
        let refused = hazards(&world, &format!("http://guest:wrong@127.0.0.1:{port}")).await.unwrap_err();
        assert!(refused.contains("denied access") && !refused.contains("wrong"), "{refused}");
        let nowhere = hazards(&world, &format!("http://127.0.0.1:{}", free_port())).await.unwrap_err();
        assert!(nowhere.contains("does not respond"), "{nowhere}");
        let job = ork.submit(add { a: 1, b: 2 }).await.unwrap();
        sent(&world, &foreigner, "plain", 1).await;
        sent(&world, &foreigner, "plain", 0).await;
        ork.spawn_worker();
        assert_eq!(job.result().await.unwrap(), 3);
        ork.shutdown().await;
    });
}

/// Regression test: a job that had not ended was refused, whatever had happened to its message.
#[test]
fn job_with_nothing_in_progress_can_be_retried_in_any_state() {
    once(|world| async move {
        let (ork, foreigner, key) = (world.client().await, world.foreigner().await, fresh());
        let job = ork.submit(gated { key: key.clone() }).await.unwrap();
        let queue = sent(&world, &foreigner, "plain", 1).await;
        let refused = ork.retry(job.id()).await.unwrap_err().to_string();
        assert!(
            refused.contains("is ready and cannot be retried") && refused.contains("which holds 1 message"),
            "{refused}"
        );
        purge(&foreigner, &queue).await;
        ork.retry(job.id()).await.unwrap();
        sent(&world, &foreigner, "plain", 1).await;
        let worker = world.worker().await;
        Gate::of(&key).entered(1).await;
        let refused = ork.retry(job.id()).await.unwrap_err().to_string();
        assert!(refused.contains("is running and cannot be retried, because it is still in progress"), "{refused}");
        Gate::of(&key).open();
        job.result().await.unwrap();
        worker.shutdown().await;
        assert_eq!(calls(&key), 1);
        ork.shutdown().await;
    });
}

#[test]
fn parts_are_retried_only_when_their_queue_is_empty() {
    once(|world| async move {
        let worker = world.builder().set("concurrency", "1").build().await.unwrap();
        let (foreigner, name) = (world.foreigner().await, fresh());
        worker.spawn_worker();
        let split = count_part { count: 5, run: name.clone(), hold: 0, failing: Vec::new() };
        let job = worker.submit(split).await.unwrap();
        Gate::of(&name).entered(1).await;
        let queue = sent(&world, &foreigner, "parts", 4).await;
        // Its running part is requeued, and no process works on the job any more.
        worker.shutdown().await;
        sent(&world, &foreigner, "parts", 5).await;
        let ork = world.client().await;
        let refused = ork.retry(job.id()).await.unwrap_err().to_string();
        assert!(refused.contains("is waiting and cannot be retried, because it is still in progress"), "{refused}");
        purge(&foreigner, &queue).await;
        ork.retry(job.id()).await.unwrap();
        sent(&world, &foreigner, "parts", 5).await;
        Gate::of(&name).open();
        ork.spawn_worker();
        assert_eq!(ork.wait(job.id()).await.unwrap().into_output::<u64>().unwrap(), 10);
        ork.shutdown().await;
    });
}

/// An idle worker must distinguish a job that waits for its worker from one whose message is lost.
#[test]
fn long_running_job_is_not_sent_again() {
    on("sqlite", "quorum", |world| async move {
        let (ork, foreigner, key) = (process(&world).await, world.foreigner().await, fresh());
        ork.spawn_worker();
        let job = ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        // Ten minutes by the clock of the worker.
        Fast::new().pause(Duration::from_mins(10)).await;
        assert_eq!(ork.why(job.id()).await.unwrap().waits_for, WaitsFor::Run);
        sent(&world, &foreigner, "plain", 0).await;
        Gate::of(&key).open();
        job.result().await.unwrap();
        assert_eq!(calls(&key), 1);
        ork.shutdown().await;
    });
}
