//! Messages from programs that do not use ork, or use it wrongly: each is run and replied to, or moved to the dead
//! letters with a visible reason.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use ork::{Filter, JobId, JobState};

use super::tasks::*;
use super::world::{each, fresh, header, on, once, why};

#[test]
fn body_and_routing_key_are_enough_to_submit_a_job() {
    each(|world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        foreigner.publish("hello", br#"{"name": "Ada"}"#, foreigner.requesting("first")).await;
        let (correlation, reply) = foreigner.reply().await;
        assert_eq!(correlation, "first");
        assert_eq!((&reply["state"], &reply["output"]), (&"succeeded".into(), &"hello Ada".into()), "{reply}");
        let id: JobId = reply["job"].as_str().unwrap().parse().unwrap();
        assert_eq!(ork.status(id).await.unwrap().state, JobState::Succeeded);

        let message = br#"{"count": 100, "run": "foreign", "hold": 1000, "failing": []}"#;
        foreigner.publish("count", message, foreigner.requesting("second")).await;
        let (correlation, reply) = foreigner.reply().await;
        assert_eq!((correlation.as_str(), &reply["output"]), ("second", &4950.into()), "{reply}");
        ork.shutdown().await;
    });
}

#[test]
fn message_sent_twice_with_one_id_runs_once() {
    each(|world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        let key = fresh();
        Gate::of(&key).open();
        let body = format!(r#"{{"key": "{key}"}}"#);
        let named =
            |foreigner: &super::world::Foreigner| foreigner.requesting("named").with_message_id("order-7".into());
        for _ in 0..2 {
            foreigner.publish("gated", body.as_bytes(), named(&foreigner)).await;
        }
        // It is one job, and each message that requests its outcome gets a reply.
        for _ in 0..2 {
            assert_eq!(foreigner.reply().await.1["output"], key.as_str());
        }
        foreigner.publish("hello", br#"{"name": "Ada"}"#, foreigner.requesting("after")).await;
        assert_eq!(foreigner.reply().await.0, "after");
        let id = JobId::from_foreign("order-7");
        assert_eq!(ork.status(id).await.unwrap().state, JobState::Succeeded);
        // After the worker has drained, everything delivered before has been handled.
        ork.shutdown().await;
        assert_eq!(calls(&key), 1);
    });
}

#[test]
fn outcome_for_a_missing_reply_queue_is_dropped() {
    each(|world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        let nowhere = foreigner.requesting("x").with_reply_to("gone".into());
        foreigner.publish("hello", br#"{"name": "Bob"}"#, nowhere).await;
        // Nor must an outcome run as work, or fill the dead letters.
        let loops = foreigner.requesting("y").with_reply_to(format!("{}.task.plain", world.prefix).into());
        foreigner.publish("hello", br#"{"name": "Eve"}"#, loops).await;
        foreigner.publish("hello", br#"{"name": "Ada"}"#, foreigner.requesting("z")).await;
        assert_eq!(foreigner.reply().await.1["output"], "hello Ada");
        ork.shutdown().await;
    });
}

#[test]
fn message_for_an_unknown_task_becomes_a_dead_letter() {
    each(|world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        foreigner.publish("nonesuch", b"5", BasicProperties::default()).await;
        assert_eq!(foreigner.dead().await.routing_key.as_str(), "nonesuch");

        let id = JobId::new();
        let named = foreigner.requesting("c").with_message_id(id.to_string().into()).with_type("helo".into());
        foreigner.publish("hello", br#"{"name": "Ada"}"#, named).await;
        let dead = foreigner.dead().await;
        assert_eq!(header(&dead, "x-ork-reason"), "unknown-task");
        let message = header(&dead, "x-ork-detail");
        assert!(message.contains("no task `helo`, did you mean `hello`?"), "{message}");
        let (_, reply) = foreigner.reply().await;
        assert_eq!((&reply["state"], &reply["job"]), (&"failed".into(), &id.to_string().into()));
        assert!(why(&ork.wait(id).await.unwrap()).contains("no task `helo`"));
        ork.shutdown().await;
    });
}

/// The unique key belongs to the task. A message with an id becomes a job when it is first claimed, one without an id
/// when it is adopted.
#[test]
fn message_with_a_taken_unique_key_gets_a_reply_and_its_job_fails() {
    each(|world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        let key = fresh();
        let first = ork.submit(lone { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        let body = format!(r#"{{"key": "{key}"}}"#);
        for named in [true, false] {
            let mut properties = foreigner.requesting("c");
            if named {
                properties = properties.with_message_id(JobId::new().to_string().into());
            }
            foreigner.publish("lone", body.as_bytes(), properties).await;
            let (_, reply) = foreigner.reply().await;
            assert_eq!((&reply["state"], &reply["error"]["kind"]), (&"failed".into(), &"taken".into()));
            let id: JobId = reply["job"].as_str().unwrap().parse().unwrap();
            let message = format!("the unique key `lone` is taken by job {}, which has not ended", first.id());
            assert_eq!(why(&ork.wait(id).await.unwrap()), format!("taken key: {message}"));
        }
        Gate::of(&key).open();
        first.result().await.unwrap();
        foreigner.publish("lone", body.as_bytes(), foreigner.requesting("d")).await;
        assert_eq!(foreigner.reply().await.1["state"], "succeeded");
        ork.shutdown().await;
    });
}

#[test]
fn wrong_input_is_replied_to_recorded_and_dead_lettered() {
    each(|world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        for (named, body, expected) in [
            (true, r#"{"a": 1, "b": "x"}"#, "`b`: invalid type: string \"x\", expected i64"),
            (false, r#"{"a": 1, "b": "x"}"#, "`b`: invalid type: string \"x\", expected i64"),
            (true, r#"{"a": 1}"#, "`b` is missing: expected integer"),
            (false, r#"{"a": 1, "b": 2"#, "the body is not JSON"),
            (true, "", "the body is not JSON"),
        ] {
            let correlation = fresh();
            let mut properties = foreigner.requesting(&correlation);
            if named {
                properties = properties.with_message_id(correlation.as_str().into());
            }
            foreigner.publish("add", body.as_bytes(), properties).await;
            let (correlates, reply) = foreigner.reply().await;
            assert_eq!((correlates.as_str(), &reply["state"]), (correlation.as_str(), &"failed".into()), "{reply}");
            let message = reply["error"]["message"].as_str().unwrap();
            assert!(message.contains(expected), "{message}");
            let id: JobId = reply["job"].as_str().unwrap().parse().unwrap();
            assert!(!named || id.to_string() == correlation);
            assert!(why(&ork.wait(id).await.unwrap()).contains(expected));
            let dead = foreigner.dead().await;
            assert_eq!(header(&dead, "x-ork-reason"), "wrong-input");
            assert!(header(&dead, "x-ork-detail").contains(expected));
            assert_eq!(dead.data, body.as_bytes());
        }
        assert_eq!(ork.submit(add { a: 1, b: 1 }).result().await.unwrap(), 2);
        ork.shutdown().await;
    });
}

#[test]
fn invalid_message_is_replied_to_and_dead_lettered() {
    once(|world| async move {
        let ork = world.builder().set("max_message_bytes", "1000").build().await.unwrap();
        ork.spawn_worker();
        let mut foreigner = world.foreigner().await;
        let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(1_000));
        let deep = format!(r#"{{"name": {}1{}}}"#, "[".repeat(100), "]".repeat(100));
        let plain = |foreigner: &super::world::Foreigner, id: &str| foreigner.requesting(id).with_message_id(id.into());
        let part = FieldTable::from(std::collections::BTreeMap::from([(
            "ork-kind".into(),
            AMQPValue::LongString("part".into()),
        )]));
        for (reason, expected, body, change) in [
            ("oversized", "max_message_bytes", large.as_str(), None),
            ("oversized", "nested deeper than 64 levels", &deep, None),
            ("undecodable", "the content type is `text/xml`", "<a/>", Some("text/xml")),
            ("undecodable", "the header `ork-job` is missing", "{}", Some("part")),
        ] {
            for named in [true, false] {
                let correlation = fresh();
                let mut properties =
                    if named { plain(&foreigner, &correlation) } else { foreigner.requesting(&correlation) };
                properties = match change {
                    Some("part") => properties.with_headers(part.clone()),
                    Some(content) => properties.with_content_type(content.into()),
                    None => properties,
                };
                foreigner.publish("hello", body.as_bytes(), properties).await;
                let dead = foreigner.dead().await;
                assert_eq!(header(&dead, "x-ork-reason"), reason);
                let message = header(&dead, "x-ork-detail");
                assert!(message.contains(expected), "{message}");
                assert_eq!(dead.data, body.as_bytes());
                let (correlates, reply) = foreigner.reply().await;
                assert_eq!((correlates.as_str(), &reply["state"]), (correlation.as_str(), &"failed".into()), "{reply}");
                assert!(reply["error"]["message"].as_str().unwrap().contains(expected), "{reply}");
                if named {
                    let id = correlation.parse().unwrap();
                    assert!(why(&ork.wait(id).await.unwrap()).contains(expected));
                }
            }
        }
        assert_eq!(ork.submit(hello { name: "Ada".into() }).result().await.unwrap(), "hello Ada");
        ork.shutdown().await;
    });
}

#[test]
fn rejected_message_does_not_affect_an_existing_job() {
    once(|world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        let key = fresh();
        let job = ork.submit(gated { key: key.clone() }).await.unwrap();
        Gate::of(&key).entered(1).await;
        let named = foreigner.requesting("c").with_message_id(job.id().to_string().into()).with_type("helo".into());
        foreigner.publish("hello", br#"{"name": "Ada"}"#, named).await;
        assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), "unknown-task");
        Gate::of(&key).open();
        assert_eq!(job.result().await.unwrap(), key);
        ork.shutdown().await;
    });
}

#[test]
fn wrong_message_is_replied_to_and_dead_lettered_without_a_store() {
    on("none", "quorum", |world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        foreigner.publish("hello", br#"{"name": "Ada"}"#, foreigner.requesting("good")).await;
        assert_eq!(foreigner.reply().await.1["output"], "hello Ada");
        for (reason, kind, body) in [("wrong-input", "add", "{}"), ("unknown-task", "nonesuch", "{}")] {
            foreigner.publish("add", body.as_bytes(), foreigner.requesting(reason).with_type(kind.into())).await;
            let (correlates, reply) = foreigner.reply().await;
            assert_eq!((correlates.as_str(), &reply["state"]), (reason, &"failed".into()), "{reply}");
            assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), reason);
        }
        ork.shutdown().await;
    });
}

#[test]
fn rejected_message_without_id_leaves_only_a_dead_letter() {
    once(|world| async move {
        let ork = world.worker().await;
        let mut foreigner = world.foreigner().await;
        let xml = BasicProperties::default().with_content_type("text/xml".into());
        foreigner.publish("hello", b"<a/>", xml).await;
        assert_eq!(header(&foreigner.dead().await, "x-ork-reason"), "undecodable");
        assert!(ork.jobs(Filter { limit: 10, ..Filter::default() }).await.unwrap().is_empty());
        ork.shutdown().await;
    });
}

#[test]
fn input_that_violates_a_schema_rule_is_wrong_input() {
    for store in ["sqlite", "none"] {
        on(store, "quorum", |world| async move {
            let ork = world.worker().await;
            let mut foreigner = world.foreigner().await;
            foreigner.publish("percent", br#"{"share": 0.5}"#, foreigner.requesting("good")).await;
            assert_eq!(foreigner.reply().await.1["output"], 50.0);
            foreigner.publish("percent", br#"{"share": 1.5}"#, foreigner.requesting("wrong")).await;
            let (correlates, reply) = foreigner.reply().await;
            assert_eq!((correlates.as_str(), &reply["error"]["kind"]), ("wrong", &"input".into()), "{reply}");
            let dead = foreigner.dead().await;
            assert_eq!(header(&dead, "x-ork-reason"), "wrong-input");
            assert!(header(&dead, "x-ork-detail").contains("`share`: 1.5 is greater than the maximum of 1"));
            ork.shutdown().await;
        });
    }
}

/// The job that must be cancelled is the only one that can run at a time.
#[test]
fn plain_amqp_client_cancels_a_job_by_its_message_id() {
    each(|world| async move {
        let ork = world.builder().set("concurrency", "1").build().await.unwrap();
        ork.spawn_worker();
        let mut foreigner = world.foreigner().await;
        let key = fresh();
        let body = format!(r#"{{"key": "{key}"}}"#);
        let named = foreigner.requesting("long").with_message_id("order-8".into());
        foreigner.publish("gated", body.as_bytes(), named).await;
        let id = JobId::from_foreign("order-8");
        Gate::of(&key).entered(1).await;

        foreigner.publish("ork.cancel", br#"{"job": "order-8"}"#, foreigner.requesting("cancel")).await;
        let replies = [foreigner.reply().await, foreigner.reply().await];
        let state = |of: &str| replies.iter().find(|(name, _)| name == of).map(|(_, reply)| reply["state"].clone());
        assert_eq!(
            (state("cancel"), state("long")),
            (Some("succeeded".into()), Some("cancelled".into())),
            "{replies:?}"
        );
        assert_eq!(ork.status(id).await.unwrap().state, JobState::Cancelled);

        for (body, expected) in [
            (r#"{"job": "order-8"}"#, "is cancelled: only a job that has not ended"),
            (r#"{"job": "order-9"}"#, "there is no job"),
            (r#"{"id": 7}"#, "expected {\"job\": ID}"),
        ] {
            foreigner.publish("ork.cancel", body.as_bytes(), foreigner.requesting(body)).await;
            let message = foreigner.reply().await.1["error"]["message"].clone();
            assert!(message.as_str().is_some_and(|message| message.contains(expected)), "{message}");
        }
        ork.shutdown().await;
    });
}
