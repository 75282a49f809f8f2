//! What the examples say of their tasks: kept as files, the same every time, and held against the tools of those who
//! made the formats. `ORK_BLESS=1` writes the files; look at the difference.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../ork-runtime/tests/support/installed.rs"]
#[expect(unreachable_pub, reason = "each test program uses its own share of it")]
mod installed;
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Place, Process, exe};

/// Every example, and what it is called.
const EXAMPLES: &[(&str, &str)] = &[
    ("album", exe!("album")),
    ("big_job", exe!("big_job")),
    ("flows", exe!("flows")),
    ("greeting", exe!("greeting")),
    ("hello", exe!("hello")),
    ("loc", exe!("loc")),
    ("progress", exe!("progress")),
    ("retries", exe!("retries")),
    ("shapes", exe!("shapes")),
    ("submit_large_sheet", exe!("submit_large_sheet")),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// Holds a text against a file, or writes it there.
#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
fn golden(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("ORK_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let place = kept.lines().zip(text.lines()).position(|(kept, now)| kept != now);
    assert!(kept == text, "{name} is not what it was, first at line {place:?}: ORK_BLESS=1 writes it anew");
}

#[test]
fn the_schemas_of_every_example_are_those_of_the_files() {
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
fn a_program_says_the_same_bytes_wherever_it_runs() {
    for format in ["json", "yaml", "draft7", "asyncapi", "asyncapi-yaml"] {
        let args = format!("schema export --format {format}");
        let (here, there) = (Place::new(), Place::new());
        let first = here.run(exe!("flows"), &args).ok();
        let second = there.run_with(exe!("flows"), &args, ("ORK_BROKER", "amqp://ada:s3cret@rabbit.example/jobs")).ok();
        assert!(first == second && first.len() > 1_000, "{format}");
        assert_eq!(here.run(exe!("flows"), &format!("{args} --output tasks")).ok(), "");
        assert_eq!(std::fs::read_to_string(here.path().join("tasks")).unwrap(), first, "{format}");
    }
}

#[test]
fn every_document_is_a_json_schema() {
    for (name, exe) in EXAMPLES {
        let place = Place::new();
        for (format, draft) in [("json", "2020-12"), ("draft7", "draft-07")] {
            let document = place.run(exe, &format!("schema export --format {format}")).json();
            assert!(document["$schema"].as_str().unwrap().contains(draft), "{document}");
            if let Err(error) = jsonschema::meta::validate(&document) {
                panic!("{name}: {error} at {}", error.instance_path());
            }
            // Every reference leads somewhere: the whole document is a schema that can be used.
            jsonschema::validator_for(&document).unwrap();
        }
    }
}

#[test]
fn yaml_says_what_json_says() {
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
fn every_asyncapi_document_is_one_to_its_own_parser() {
    let Some(packages) = installed::installed("node") else { return };
    let place = Place::new();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/asyncapi.mjs");
    let mut args = vec![program.to_str().unwrap().to_owned()];
    args.extend(EXAMPLES.iter().map(|(name, _)| folder().join(format!("{name}.asyncapi.yaml")).display().to_string()));
    // One that is none, so that silence means something.
    let broken = place.write("broken.yaml", "asyncapi: \"3.0.0\"\ninfo:\n  title: \"no version\"\nchannels: 7\n");
    args.push(broken.display().to_string());
    let mut command = place.command("node", &args);
    command.env("ORK_TEST_NODE", packages);
    let said = Process::start(command).end();
    let wrong: Vec<_> = said.out.lines().filter(|line| !line.starts_with(broken.to_str().unwrap())).collect();
    assert!(wrong.is_empty() && said.code == Some(0), "{said:?}");
    assert!(said.out.contains("version"), "{said:?}");
    assert!(said.err.contains("album.asyncapi.yaml: 4 operations"), "{said:?}");
}

#[test]
fn one_task_is_shown_with_the_types_that_it_names() {
    let place = Place::new();
    let shown = place.run(exe!("flows"), "schema show process").json();
    assert_eq!(shown["required"], serde_json::json!(["process"]));
    assert!(shown["$defs"]["Processed"].is_object() && shown["$defs"].get("Total").is_none(), "{shown}");
    place.run(exe!("flows"), "schema show proces").fails(2, &["there is no task `proces`, did you mean `process`?"]);
}

#[test]
fn a_document_names_no_user_and_the_server_that_it_is_given() {
    let place = Place::new();
    let at = |server: &str| place.run(exe!("hello"), &format!("schema export --format asyncapi --server {server}"));
    let document: Value = at("amqps://rabbit.example:5671/jobs").json();
    let server = &document["servers"]["rabbitmq"];
    assert_eq!((&server["protocol"], &server["pathname"]), (&"amqps".into(), &"/jobs".into()), "{server}");
    assert_eq!(document["channels"]["hello"]["bindings"]["amqp"]["exchange"]["vhost"], "jobs");
    for server in ["amqp://ada:s3cret@rabbit", "http://ada:s3cret@rabbit", "ada:s3cret@rabbit"] {
        let ended = at(server);
        assert!(!ended.err.contains("s3cret"), "{ended:?}");
        ended.fails(2, &["the server has a user in it", "hint: leave out"]);
    }
    at("rabbit").fails(2, &["`rabbit` is no server: expected `amqp://HOST:PORT/VHOST`"]);
}

/// What `greeting` exports, as another version of it might.
fn changed(place: &Place, change: impl Fn(&mut Value)) {
    let mut bundle: Value = place.run(exe!("greeting"), "schema export").json();
    change(&mut bundle);
    place.write("ork.schema.json", bundle.to_string());
}

#[test]
fn a_change_that_breaks_others_fails_in_ci_and_says_whom() {
    let place = Place::new();
    // The version before took a number for a language, and returned more.
    changed(&place, |bundle| {
        bundle["$defs"]["GreetInput"]["properties"]["language"] = serde_json::json!({ "type": "integer" });
        bundle["properties"]["greet"]["properties"]["output"] = serde_json::json!({ "type": ["string", "null"] });
    });
    let said = place.run(exe!("greeting"), "schema diff ork.schema.json");
    assert_eq!(said.code, Some(1), "{said:?}");
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
    assert_eq!(said.out, expected);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/other-languages.md");
    assert!(std::fs::read_to_string(document).unwrap().contains(expected), "the document shows it");
    let json = place.run(exe!("greeting"), "schema diff ork.schema.json --json");
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let change = &json["changes"][0];
    assert_eq!((&change["queued"]["verdict"], &change["fields"][0]["before"]), (&"breaks".into(), &"integer".into()));

    // The other way round nothing takes less, but who reads the output may meet what he does not know.
    place.write("new.json", place.run(exe!("greeting"), "schema export").ok());
    let said = place.run(exe!("greeting"), "schema diff new.json ork.schema.json");
    assert!(said.code == Some(1) && said.out.contains("`output`: null where string is expected"), "{said:?}");
    assert!(place.run(exe!("greeting"), "schema diff new.json").ok().starts_with("no task takes"));
}

#[test]
fn a_revision_is_read_from_a_pipe() {
    let place = Place::new();
    changed(&place, |bundle| bundle["properties"] = serde_json::json!({}));
    let line = format!("cat ork.schema.json | {} schema diff -", exe!("greeting"));
    let said = Process::start(place.command("sh", &["-c", &line])).end().ok();
    assert!(said.starts_with("task `greet` is new\n  queued messages: compatible"), "{said}");
}

#[test]
fn a_program_is_held_against_the_file_that_it_keeps() {
    let place = Place::new();
    let greeting = exe!("greeting");
    place.run(greeting, "schema check").fails(2, &["ork.schema.json cannot be read", "hint: `schema export --output"]);
    place.run(greeting, "schema export --output ork.schema.json").ok();
    assert_eq!(place.run(greeting, "schema check").ok(), "");
    // What changes nothing for others is to be seen in the file, too.
    changed(&place, |bundle| bundle["$defs"]["GreetInput"]["title"] = "Other".into());
    let said = place.run(greeting, "schema check");
    assert!(said.code == Some(1) && said.err.contains("is not what this program says: `schema export"), "{said:?}");
    changed(&place, |bundle| bundle["$defs"]["GreetInput"]["required"] = serde_json::json!([]));
    let said = place.run(greeting, "schema check");
    assert!(said.code == Some(1) && said.err.contains("and the change breaks others"), "{said:?}");
    assert!(said.out.contains("input.name  string, may be missing → string"), "{said:?}");

    place.write("other.json", "{}");
    place.run(greeting, "schema check other.json").fails(2, &["other.json cannot be compared: it is not what"]);
    place.write("other.json", "no");
    place.run(greeting, "schema diff other.json").fails(2, &["other.json is no JSON"]);
}

#[test]
fn every_header_that_a_document_names_is_one_of_the_wire() {
    let wire = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/wire.md")).unwrap();
    let document = Place::new().run(exe!("album"), "schema export --format asyncapi").json();
    let messages = document["components"]["messages"].as_object().unwrap();
    let headers = messages.values().flat_map(|message| message["headers"]["properties"].as_object().unwrap().keys());
    let headers: std::collections::BTreeSet<_> = headers.collect();
    for header in &headers {
        assert!(wire.contains(&format!("`{header}`")), "docs/wire.md does not know `{header}`");
    }
    assert!(headers.len() >= 8, "{headers:?}");
}
