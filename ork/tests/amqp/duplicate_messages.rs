//! Two copies of one message, as left by a process that was killed after publishing a message and before recording
//! that. While a live process runs the job, another process must not run it a second time.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use ork::{Clock as _, JobId};

use super::tasks::*;
use super::world::{Foreigner, fresh, shared};

/// Publishes another copy of the first message of a `gated` job, like a process that has found the first sender dead.
async fn send_again(foreigner: &Foreigner, id: JobId, key: &str) {
    let mut headers = FieldTable::default();
    headers.insert("ork-losses".into(), AMQPValue::LongLongInt(1));
    let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
    let properties = properties.with_message_id(id.to_string().as_str().into()).with_headers(headers);
    foreigner.publish("gated", format!(r#"{{"key":"{key}"}}"#).as_bytes(), properties).await;
}

/// Regression test: the second worker called the function while the first one was still running it, and the job was
/// counted as lost a second time.
#[test]
fn copy_of_a_job_running_in_a_live_process_waits_for_its_end() {
    shared(|world| async move {
        let first = world.worker().await;
        let (key, foreigner) = (fresh(), world.foreigner().await);
        let job = first.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        // The first worker takes nothing more, so that the copy goes to the second one.
        first.worker().stop();
        let second = world.worker().await;
        send_again(&foreigner, job.id(), &key).await;
        let called_again = tokio::time::timeout(Duration::from_secs(3), Gate::of(&key).entered(1)).await;
        assert!(called_again.is_err(), "it was called in two living processes at once");
        // Other work continues while the copy waits.
        assert_eq!(second.submit(add { a: 1, b: 2 }).result().await.unwrap(), 3);
        // A worker that stops requeues the copy, and the next worker waits in the same way.
        second.shutdown().await;
        let third = world.worker().await;
        assert_eq!(third.submit(add { a: 1, b: 2 }).result().await.unwrap(), 3);
        let called_again = tokio::time::timeout(Duration::from_secs(3), Gate::of(&key).entered(1)).await;
        assert!(called_again.is_err(), "it was called in two living processes at once");
        Gate::of(&key).open();
        assert_eq!(job.result().await.unwrap(), key);
        assert_eq!(calls(&key), 1);
        first.shutdown().await;
        third.shutdown().await;
    });
}

/// If the process that ran the job has died, the copy may be the only message that is left: then it is run.
#[test]
fn copy_of_a_job_of_a_dead_process_is_run() {
    shared(|world| async move {
        let worker = world.worker().await;
        let (key, foreigner) = (fresh(), world.foreigner().await);
        let doomed = super::rejections::DyingProcess::new(&world).await;
        let id = JobId::new();
        let until = doomed.beat(Duration::from_secs(4)).await;
        doomed.claim(id).await;
        send_again(&foreigner, id, &key).await;
        Gate::of(&key).entered(1).await;
        assert!(ork_runtime::clock::system::SystemClock.now() > until, "the work of a live process was taken over");
        Gate::of(&key).open();
        assert!(worker.wait(id).await.unwrap().output().is_some());
        assert_eq!(calls(&key), 1);
        worker.shutdown().await;
    });
}
