//! Messages and exit codes for invalid input, invalid settings, and unusable stores.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Place, exe};

const HELLO: &str = exe!("hello");
const PROGRESS: &str = exe!("progress");
const EMPTY: &str = exe!("empty");

#[test]
fn invalid_input_is_rejected_with_a_message() {
    let place = Place::new();
    place.run(HELLO, "run helo name=Ada").fails(2, &["there is no task `helo`, did you mean `hello`?"]);
    place.run(HELLO, "submit helo name=Ada").fails(2, &["did you mean `hello`?"]);
    place.run(HELLO, "run hello nam=Ada").fails(2, &["unknown input `nam`", "did you mean `name`?"]);
    place.run(HELLO, "run hello").fails(2, &["`name` is missing: expected"]);
    place.run(HELLO, "run hello Ada").fails(2, &["invalid input `Ada`", "KEY=VALUE"]);
    place.run(HELLO, "run hello name=a name=b").fails(2, &["`name` was given twice"]);
    place.run(HELLO, r#"run hello --input {"name":1}"#).fails(2, &["`name`", "expected", "string"]);
    place.run(HELLO, "run hello --input {").fails(2, &["not JSON"]);
    place.run(HELLO, "run hello --input @nowhere.json").fails(2, &["nowhere.json cannot be read"]);
    place.run(PROGRESS, "run climb steps=many").fails(2, &["steps", "many"]);
    place.run(PROGRESS, "run climb steps=-1").fails(2, &["steps", "-1"]);
    place.run(HELLO, "fly").fails(2, &["fly"]);
    place.run(HELLO, "jobs watch").fails(2, &["<ID>"]);
    place.run(HELLO, "jobs watch --events").fails(2, &["without a broker", "`jobs watch ID`"]);
    let error = place.run(HELLO, "run helo --json");
    let json: Value = serde_json::from_str(error.err.trim()).unwrap();
    assert!(json["error"].as_str().unwrap().contains("no task `helo`"), "{json}");
    assert_eq!(place.run(HELLO, "jobs list --json").json(), json!([]), "an invalid job is not submitted");
}

#[test]
fn unknown_jobs_are_reported_by_id() {
    let place = Place::new();
    let id = "01890000-0000-7000-8000-000000000000";
    for command in ["show", "parts", "watch", "cancel", "retry"] {
        place.run(HELLO, &format!("jobs {command} {id}")).fails(2, &[&format!("there is no job {id}"), "jobs list"]);
    }
    place.run(HELLO, "jobs show 17").fails(2, &["17"]);
    place.run(HELLO, "jobs list --state late").fails(2, &["unknown state `late`", "ready, running"]);
}

#[test]
fn a_program_without_tasks_is_reported() {
    let place = Place::new();
    let tasks = place.run(EMPTY, "tasks");
    assert_eq!((tasks.code, tasks.out.as_str()), (Some(0), ""));
    assert!(tasks.err.contains("this program has no tasks"), "{}", tasks.err);
    place.run(EMPTY, "worker").fails(2, &["this program has no tasks"]);
    place.run(EMPTY, "run hello").fails(2, &["there is no task `hello`; no tasks are linked in"]);
    assert_eq!(place.run(EMPTY, "doctor").code, Some(4));
}

#[test]
fn invalid_settings_are_rejected() {
    let place = Place::new();
    place.run_with(HELLO, "run hello name=a", ("ORK_STOR", "memory:")).fails(3, &["ORK_STOR", "did you mean `store`?"]);
    place
        .run_with(HELLO, "worker", ("ORK_CONCURRENCY", "many"))
        .fails(3, &["invalid value `many` for `concurrency`: expected a number"]);
    place
        .run_with(HELLO, "run hello name=a", ("ORK_CONFIG", "nowhere.toml"))
        .fails(3, &["nowhere.toml cannot be read"]);
    let ended = place.run_with(HELLO, "submit hello name=a", ("ORK_STORE", "none"));
    ended.fails(3, &["set ORK_BROKER"]);
    place.write("ork.toml", "stoer = \"memory:\"\n");
    place.run(HELLO, "run hello name=a").fails(3, &["ork.toml", "did you mean `store`?"]);
    place.write("ork.toml", "store = \"memory:\"\n");
    assert_eq!(place.run(HELLO, "run hello name=a").ok(), "hello a\n");
    let doctor = place.run(HELLO, "doctor --json").json();
    let store = doctor["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == "store").unwrap();
    assert_eq!(store["value"], "memory:");
    assert!(store["source"].as_str().unwrap().contains("ork.toml"), "{store}");
}

#[test]
fn an_unusable_store_is_reported_by_name() {
    let place = Place::new();
    place.write("broken.db", "this is no database, and long enough to be read as one".repeat(100));
    for command in ["run hello name=a", "worker", "jobs list"] {
        let ended = place.run_with(HELLO, command, ("ORK_STORE", "sqlite:broken.db"));
        ended.fails(4, &["broken.db is not an SQLite file", "ORK_STORE"]);
    }
    let doctor = place.run_with(HELLO, "doctor", ("ORK_STORE", "sqlite:broken.db"));
    assert_eq!(doctor.code, Some(4));
    assert!(doctor.out.contains("FAIL") && doctor.out.contains("broken.db"), "{}", doctor.out);
    // A file system where no user can create files, not even root.
    let ended = place.run_with(HELLO, "run hello name=a", ("ORK_STORE", "sqlite:/proc/ork/ork.db"));
    assert!(matches!(ended.code, Some(3 | 4)), "{ended:?}");
    assert!(ended.err.contains("/proc/ork"), "{ended:?}");
}

#[test]
fn a_read_only_store_is_reported() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    assert_eq!(place.run(HELLO, "run hello name=a").ok(), "hello a\n");
    let read_only = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let (folder, file) = (place.path().join(".ork"), place.path().join(".ork/ork.db"));
    read_only(&file, 0o444);
    read_only(&folder, 0o555);
    // Root can write everywhere.
    let is_root = std::fs::write(folder.join("probe"), "").is_ok();
    let ended = place.run(HELLO, "run hello name=a");
    read_only(&folder, 0o755);
    if !is_root {
        ended.fails(4, &["read-only"]);
    }
}
