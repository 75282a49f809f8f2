//! The exported schemas of the examples: they match the golden files, are deterministic, and are accepted by the
//! reference tools of their formats. `ORK_BLESS=1` writes the golden files; review the difference.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use ork_test_support::installed;
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Place, Process, exe};

/// Every example program, with its name.
const EXAMPLES: &[(&str, &str)] = &[
    ("album", exe!("album")),
    ("big_job", exe!("big_job")),
    ("greeting", exe!("greeting")),
    ("hello", exe!("hello")),
    ("loc", exe!("loc")),
    ("progress", exe!("progress")),
    ("retries", exe!("retries")),
    ("shapes", exe!("shapes")),
    ("submit_large_sheet", exe!("submit_large_sheet")),
    ("workflows", exe!("workflows")),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// Compares a text with a golden file, or writes the file if `ORK_BLESS` is set.
#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
fn golden(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("ORK_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let place = kept.lines().zip(text.lines()).position(|(kept, now)| kept != now);
    assert!(kept == text, "{name} has changed, first at line {place:?}: ORK_BLESS=1 rewrites it");
}

#[test]
fn the_schemas_of_every_example_match_the_golden_files() {
    let place = Place::new();
    for (name, exe) in EXAMPLES {
        golden(&format!("{name}.schema.json"), &place.run(exe, "schema export").ok());
        golden(&format!("{name}.asyncapi.yaml"), &place.run(exe, "schema export --format asyncapi-yaml").ok());
    }
    let programs = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin")).unwrap();
    let mut programs: Vec<_> = programs.map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned()).collect();
    programs.sort();
    assert!(programs.iter().eq(EXAMPLES.iter().map(|(name, _)| *name)), "{programs:?}");
}

#[test]
fn exported_schemas_are_identical_in_every_environment() {
    for format in ["json", "yaml", "draft7", "asyncapi", "asyncapi-yaml"] {
        let args = format!("schema export --format {format}");
        let (here, there) = (Place::new(), Place::new());
        let first = here.run(exe!("workflows"), &args).ok();
        let second =
            there.run_with(exe!("workflows"), &args, ("ORK_BROKER", "amqp://ada:s3cret@rabbit.example/jobs")).ok();
        assert!(first == second && first.len() > 1_000, "{format}");
        assert_eq!(here.run(exe!("workflows"), &format!("{args} --output tasks")).ok(), "");
        assert_eq!(std::fs::read_to_string(here.path().join("tasks")).unwrap(), first, "{format}");
    }
}

#[test]
fn every_exported_document_is_a_valid_json_schema() {
    for (name, exe) in EXAMPLES {
        let place = Place::new();
        for (format, draft) in [("json", "2020-12"), ("draft7", "draft-07")] {
            let document = place.run(exe, &format!("schema export --format {format}")).json();
            assert!(document["$schema"].as_str().unwrap().contains(draft), "{document}");
            if let Err(error) = jsonschema::meta::validate(&document) {
                panic!("{name}: {error} at {}", error.instance_path());
            }
            // Building a validator fails if a reference has no target, so the whole document is a usable schema.
            jsonschema::validator_for(&document).unwrap();
        }
    }
}

#[test]
fn yaml_and_json_have_the_same_content() {
    let Some(python) = installed::python() else { return };
    let place = Place::new();
    for (json, yaml) in [("json", "yaml"), ("asyncapi", "asyncapi-yaml")] {
        let json = place.run(exe!("shapes"), &format!("schema export --format {json}")).json();
        let text = place.run(exe!("shapes"), &format!("schema export --format {yaml}")).ok();
        let file = place.write("text.yaml", text);
        let program = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
        let read = Process::start(place.command(&python, &["-c", program, file.to_str().unwrap()])).end().json();
        assert_eq!(read, json);
    }
}

#[test]
fn every_asyncapi_document_is_accepted_by_the_asyncapi_parser() {
    let Some(packages) = installed::installed("node") else { return };
    let place = Place::new();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/asyncapi.mjs");
    let mut args = vec![program.to_str().unwrap().to_owned()];
    args.extend(EXAMPLES.iter().map(|(name, _)| folder().join(format!("{name}.asyncapi.yaml")).display().to_string()));
    // An invalid document, so that the absence of errors for the others means something.
    let broken = place.write("broken.yaml", "asyncapi: \"3.0.0\"\ninfo:\n  title: \"no version\"\nchannels: 7\n");
    args.push(broken.display().to_string());
    let mut command = place.command("node", &args);
    command.env("ORK_TEST_NODE", packages);
    let ended = Process::start(command).end();
    let wrong: Vec<_> = ended.out.lines().filter(|line| !line.starts_with(broken.to_str().unwrap())).collect();
    assert!(wrong.is_empty() && ended.code == Some(0), "{ended:?}");
    assert!(ended.out.contains("version"), "{ended:?}");
    assert!(ended.err.contains("album.asyncapi.yaml: 4 operations"), "{ended:?}");
}

#[test]
fn the_schema_of_one_task_contains_the_types_that_it_refers_to() {
    let place = Place::new();
    let shown = place.run(exe!("workflows"), "schema show process").json();
    assert_eq!(shown["required"], serde_json::json!(["process"]));
    assert!(shown["$defs"]["Processed"].is_object() && shown["$defs"].get("Total").is_none(), "{shown}");
    place
        .run(exe!("workflows"), "schema show proces")
        .fails(2, &["there is no task `proces`, did you mean `process`?"]);
}

#[test]
fn a_document_contains_the_given_server_but_no_user() {
    let place = Place::new();
    let at = |server: &str| place.run(exe!("hello"), &format!("schema export --format asyncapi --server {server}"));
    let document: Value = at("amqps://rabbit.example:5671/jobs").json();
    let server = &document["servers"]["rabbitmq"];
    assert_eq!((&server["protocol"], &server["pathname"]), (&"amqps".into(), &"/jobs".into()), "{server}");
    assert_eq!(document["channels"]["hello"]["bindings"]["amqp"]["exchange"]["vhost"], "jobs");
    for server in ["amqp://ada:s3cret@rabbit", "http://ada:s3cret@rabbit", "ada:s3cret@rabbit"] {
        let ended = at(server);
        assert!(!ended.err.contains("s3cret"), "{ended:?}");
        ended.fails(2, &["the server URL contains a user", "hint: remove"]);
    }
    at("rabbit").fails(2, &["invalid server `rabbit`: expected `amqp://HOST:PORT/VHOST`"]);
}

/// Writes the exported schema of `greeting` with a change, as another version of the program might export it.
fn changed(place: &Place, change: impl Fn(&mut Value)) {
    let mut bundle: Value = place.run(exe!("greeting"), "schema export").json();
    change(&mut bundle);
    place.write("ork.schema.json", bundle.to_string());
}

#[test]
fn a_breaking_schema_change_fails_and_names_what_it_breaks() {
    let place = Place::new();
    // The previous version took an integer as the language, and its output was wider.
    changed(&place, |bundle| {
        bundle["$defs"]["GreetInput"]["properties"]["language"] = serde_json::json!({ "type": "integer" });
        bundle["properties"]["greet"]["properties"]["output"] = serde_json::json!({ "type": ["string", "null"] });
    });
    let ended = place.run(exe!("greeting"), "schema diff ork.schema.json");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = "task `greet` changed
  input.language  integer → string | null
  output          string | null → string
  queued messages: broken
    `input.language`: integer where string | null is expected
  clients: broken
    `input.language`: integer where string | null is expected
  workflows: broken
    `input.language`: integer where string | null is expected
";
    assert_eq!(ended.out, expected);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/other-languages.md");
    assert!(std::fs::read_to_string(document).unwrap().contains(expected), "the document shows it");
    let json = place.run(exe!("greeting"), "schema diff ork.schema.json --json");
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let change = &json["changes"][0];
    assert_eq!((&change["queued"]["verdict"], &change["fields"][0]["before"]), (&"breaks".into(), &"integer".into()));

    // In the other direction no input accepts less, but readers of the output may get a value that they do not know.
    place.write("new.json", place.run(exe!("greeting"), "schema export").ok());
    let ended = place.run(exe!("greeting"), "schema diff new.json ork.schema.json");
    assert!(ended.code == Some(1) && ended.out.contains("`output`: null where string is expected"), "{ended:?}");
    assert!(place.run(exe!("greeting"), "schema diff new.json").ok().starts_with("no schema changes"));
}

#[test]
fn a_schema_is_read_from_stdin() {
    let place = Place::new();
    changed(&place, |bundle| bundle["properties"] = serde_json::json!({}));
    let line = format!("cat ork.schema.json | {} schema diff -", exe!("greeting"));
    let output = Process::start(place.command("sh", &["-c", &line])).end().ok();
    assert!(output.starts_with("task `greet` added\n  queued messages: compatible"), "{output}");
}

#[test]
fn a_program_is_compared_with_its_stored_schema() {
    let place = Place::new();
    let greeting = exe!("greeting");
    place.run(greeting, "schema check").fails(2, &["ork.schema.json cannot be read", "hint: `schema export --output"]);
    place.run(greeting, "schema export --output ork.schema.json").ok();
    assert_eq!(place.run(greeting, "schema check").ok(), "");
    // A change that breaks nothing must be written to the file as well.
    changed(&place, |bundle| bundle["$defs"]["GreetInput"]["title"] = "Other".into());
    let ended = place.run(greeting, "schema check");
    assert!(ended.code == Some(1) && ended.err.contains("is out of date: run `schema export"), "{ended:?}");
    changed(&place, |bundle| bundle["$defs"]["GreetInput"]["required"] = serde_json::json!([]));
    let ended = place.run(greeting, "schema check");
    assert!(ended.code == Some(1) && ended.err.contains("and the change is breaking"), "{ended:?}");
    assert!(ended.out.contains("input.name  string, may be missing → string"), "{ended:?}");

    place.write("other.json", "{}");
    place
        .run(greeting, "schema check other.json")
        .fails(2, &["other.json cannot be compared: not a file written by `schema export`"]);
    place.write("other.json", "no");
    place.run(greeting, "schema diff other.json").fails(2, &["other.json is not JSON"]);
}

#[test]
fn every_header_in_a_document_is_documented_in_wire_md() {
    let wire = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/wire.md")).unwrap();
    let document = Place::new().run(exe!("album"), "schema export --format asyncapi").json();
    let messages = document["components"]["messages"].as_object().unwrap();
    let headers = messages.values().flat_map(|message| message["headers"]["properties"].as_object().unwrap().keys());
    let headers: std::collections::BTreeSet<_> = headers.collect();
    for header in &headers {
        assert!(wire.contains(&format!("`{header}`")), "docs/wire.md does not describe `{header}`");
    }
    assert!(headers.len() >= 8, "{headers:?}");
}
