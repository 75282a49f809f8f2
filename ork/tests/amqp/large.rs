//! Outputs that are too large for a message: the outcome names their location, and clients with access read them.

use std::sync::Arc;

use ork::{ClientError, JobId};

use super::node::can_start_nodes;
use super::objects::Shelf;
use super::rabbit::Rabbit;
use super::tasks::*;
use super::world::{World, each, on, run};

/// Returns a name of this length; the output of `hello` is a few bytes longer.
fn name(length: usize) -> String {
    "x".repeat(length)
}

#[test]
fn outcome_names_the_location_of_a_large_output() {
    each(|world| async move {
        let shelf = Shelf::new();
        for shelved in [false, true] {
            let builder = world.builder().set("large_output_bytes", "1000");
            let builder = if shelved { builder.objects(Arc::<Shelf>::clone(&shelf)) } else { builder };
            let ork = builder.build().await.unwrap();
            ork.spawn_worker();
            assert_eq!(ork.submit(hello { name: name(1_000) }).result().await.unwrap().len(), 1_006);
            let mut foreigner = world.foreigner().await;
            for (length, correlation) in [(992, "small"), (993, "large")] {
                let body = format!(r#"{{"name": "{}"}}"#, name(length));
                foreigner.publish("hello", body.as_bytes(), foreigner.requesting(correlation)).await;
                let (correlates, reply) = foreigner.reply().await;
                assert_eq!((correlates.as_str(), &reply["state"]), (correlation, &"succeeded".into()));
                if length == 992 {
                    assert_eq!(reply["output"].as_str().unwrap().len(), 998);
                    continue;
                }
                let at = &reply["output_at"];
                assert_eq!((reply.get("output"), &at["bytes"]), (None, &1_001.into()), "{reply}");
                match at["object"].as_str() {
                    None => assert!(!shelved, "{reply}"),
                    Some(object) => assert!(shelved && shelf.names().iter().any(|name| name == object), "{reply}"),
                }
                let id: JobId = reply["job"].as_str().unwrap().parse().unwrap();
                assert_eq!(ork.wait(id).await.unwrap().into_output::<String>().unwrap().len(), 999);
            }
            ork.shutdown().await;
        }
    });
}

#[test]
fn storeless_client_reads_the_object_or_reports_what_is_missing() {
    on("memory:", "quorum", |world| async move {
        let shelf = Shelf::new();
        let builder = |store: &str| world.builder().store(store).set("large_output_bytes", "1000");
        let worker = builder("memory:").objects(Arc::<Shelf>::clone(&shelf)).build().await.unwrap();
        worker.spawn_worker();
        let client = builder("none").objects(Arc::<Shelf>::clone(&shelf)).build().await.unwrap();
        assert_eq!(client.submit(hello { name: name(1_000) }).result().await.unwrap().len(), 1_006);
        client.shutdown().await;

        let client = builder("none").build().await.unwrap();
        let ended = client.submit(hello { name: name(1_000) }).result().await;
        let Err(ClientError::Objects(error)) = ended else { panic!("{ended:?}") };
        assert!(error.to_string().contains("set ORK_LARGE_OUTPUTS"), "{error}");
        worker.shutdown().await;

        let worker = builder("memory:").build().await.unwrap();
        worker.spawn_worker();
        let ended = client.submit(hello { name: name(1_000) }).result().await;
        let Err(ClientError::Objects(error)) = ended else { panic!("{ended:?}") };
        assert!(error.to_string().contains("1008 bytes") && error.to_string().contains("ORK_STORE"), "{error}");
        worker.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn too_large_output_fails_the_job_without_a_store() {
    on("none", "quorum", |world| async move {
        // The input and the output have nearly the same size, so the client has a larger limit than the worker.
        let client = world.client().await;
        let worker = world.builder().set("max_message_bytes", "1000").build().await.unwrap();
        worker.spawn_worker();
        let ended = client.submit(hello { name: name(980) }).result().await;
        let Err(ClientError::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
        let message = failure.to_string();
        assert!(message.contains("988 bytes") && message.contains("max_message_bytes"), "{message}");
        assert_eq!(client.submit(hello { name: "Ada".into() }).result().await.unwrap(), "hello Ada");
        worker.shutdown().await;
        client.shutdown().await;
    });
}

#[test]
fn message_too_large_for_the_server_affects_no_other_job() {
    if !can_start_nodes() {
        return;
    }
    let node = Rabbit::start_with(|_| "max_message_size = 100000\n".to_owned());
    run(async {
        let world = World::new(&node.url(), "sqlite", "quorum");
        let ork = world.worker().await;
        // The input is too large for the server: this job fails with an explanation, and the jobs beside it succeed.
        let large = ork.submit(hello { name: name(200_000) }).await.unwrap();
        let beside = ork.submit_all((0..50).map(|a| add { a, b: 1 })).await.unwrap();
        for (a, job) in (0..).zip(beside) {
            assert_eq!(job.result().await.unwrap(), a + 1);
        }
        let message = super::world::why(&large.wait().await.unwrap());
        assert!(message.contains("configured max size 100000") && message.contains("max_message_size"), "{message}");
        // The output is too large for the server: the outcome is sent without it.
        let mut foreigner = world.foreigner().await;
        let body = format!(r#"{{"name": "{}"}}"#, name(99_980));
        foreigner.publish("hello", body.as_bytes(), foreigner.requesting("large")).await;
        assert_eq!(foreigner.reply().await.1["output_at"]["bytes"], 99_988);
        ork.shutdown().await;

        let storeless = World::new(&node.url(), "none", "quorum");
        let ork = storeless.worker().await;
        let ended = ork.submit(hello { name: name(99_980) }).result().await;
        let Err(ClientError::Failed { failure, .. }) = ended else { panic!("{ended:?}") };
        assert!(failure.to_string().contains("max_message_size"), "{failure}");
        let ended = ork.submit(hello { name: name(200_000) }).result().await;
        let Err(ClientError::Broker(error)) = ended else { panic!("{ended:?}") };
        assert!(error.to_string().contains("max_message_size"), "{error}");
        assert_eq!(ork.submit(hello { name: "Ada".into() }).result().await.unwrap(), "hello Ada");
        ork.shutdown().await;
    });
}
