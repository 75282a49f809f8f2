//! Inputs, outputs, outcomes and events of a program conform to its exported schemas, and different types with one name
//! stay distinct.

use futures_util::StreamExt as _;
use ork::{FailureKind, JobId, JobState, Registry, task};
use ork_core::job::ReplyTo;
use ork_core::message::Reply;
use ork_core::output::OutputRef;
use ork_runtime::schema;
use serde_json::{Value, json};

use super::tasks::*;
use super::world::World;

mod one {
    /// A row of one table.
    #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Namesake {
        pub(super) number: u32,
    }
}

mod other {
    /// A row of another table.
    #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    pub(super) struct Namesake {
        pub(super) text: String,
    }
}

/// Takes two types with one name.
#[task]
fn namesakes(one: one::Namesake, other: other::Namesake) -> String {
    format!("{} {}", one.number, other.text)
}

fn bundle() -> Value {
    schema::bundle(Registry::collect().unwrap().tasks())
}

/// Returns why a value does not conform to a type of the bundle, if it does not.
fn misfit(bundle: &Value, name: &str, value: &Value) -> Option<String> {
    let schema = json!({ "$ref": format!("#/$defs/{name}"), "$defs": bundle["$defs"] });
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    validator.validate(value).err().map(|error| format!("{error} at {}: {value}", error.instance_path()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_conforms_to_the_schema() {
    let (bundle, world) = (bundle(), World::new("memory:").await);
    let mut events = world.ork.events().await.unwrap();
    world.ork.submit(fails { message: "no".into() }).await.unwrap();
    let input = namesakes { one: one::Namesake { number: 1 }, other: other::Namesake { text: "a".into() } };
    world.ork.submit(input).await.unwrap();
    let (mut seen, mut ended, mut failed) = (0, 0, false);
    // Events of different jobs have no order.
    while ended < 2 {
        let event = events.next().await.unwrap().unwrap();
        let value: Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(misfit(&bundle, "OrkEvent", &value), None);
        seen += 1;
        failed |= event.error.is_some();
        ended += u32::from(event.state().is_final());
    }
    assert!(seen >= 6 && failed, "{seen} events");
    assert!(misfit(&bundle, "OrkEvent", &json!({ "specversion": "1.0" })).is_some());
    world.end().await;
}

#[test]
fn every_outcome_conforms_to_the_schema() {
    let bundle = bundle();
    let reply = Reply {
        to: ReplyTo { queue: "q".into(), correlation: "c".into() },
        job: JobId::new(),
        state: JobState::Succeeded,
        output: Some("[1]".into()),
        error: None,
    };
    let elsewhere = OutputRef { bytes: 7, object: Some("a/b".into()) }.to_row();
    let error = Some(Box::new(ork::Failure::new(FailureKind::Timeout, "no result after 1s")));
    let replies = [
        Reply { output: Some(elsewhere), ..reply.clone() },
        Reply { state: JobState::Failed, output: None, error, ..reply.clone() },
        Reply { state: JobState::Cancelled, output: None, ..reply.clone() },
        reply,
    ];
    for reply in replies {
        let value: Value = serde_json::from_slice(&reply.body()).unwrap();
        assert_eq!(misfit(&bundle, "OrkOutcome", &value), None);
    }
    assert!(misfit(&bundle, "OrkOutcome", &json!({ "job": JobId::new(), "state": "ready" })).is_some());
}

#[test]
fn types_with_the_same_name_are_distinguished_and_reported() {
    let bundle = bundle();
    let input = &bundle["$defs"]["NamesakesInput"]["properties"];
    assert_eq!(input["one"]["$ref"], "#/$defs/Namesake");
    assert_eq!(input["other"]["$ref"], "#/$defs/Namesake2");
    assert!(bundle["$defs"]["Namesake2"]["properties"]["text"].is_object());
    assert!(schema::namesakes(&bundle).contains(&("Namesake".to_owned(), "Namesake2".to_owned())));
}

#[test]
fn fingerprint_equals_that_of_the_bundle() {
    let bundle = bundle();
    for (name, task) in bundle["properties"].as_object().unwrap() {
        let own = schema::fingerprint(&task["properties"]["input"], &bundle);
        assert_eq!(task["x-ork-fingerprint"], own.to_string(), "{name}");
    }
    // This also holds for the bundle of a single task, in which its types may have other names.
    let registry = Registry::collect().unwrap();
    let alone = schema::bundle([&**registry.get("namesakes").unwrap()]);
    let of = |bundle: &Value| bundle["properties"]["namesakes"]["x-ork-fingerprint"].clone();
    assert_eq!(of(&alone), of(&bundle));
}
