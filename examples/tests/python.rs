//! Programs in another language that submit jobs with a plain AMQP client: the programs in `docs/wire.md` are run
//! exactly as they are printed there.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]

use ork_test_support::{installed, node};
mod support;

use std::path::Path;
use std::process::Command;

use installed::python;
use serde_json::{Value, json};
use support::{Ended, Place, Process, exe};

const HELLO: &str = exe!("hello");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// Returns the programs in the document, in order.
fn programs() -> Vec<String> {
    let text = read("docs/wire.md");
    let blocks = text.split("```python\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// A worker of `hello` on the shared RabbitMQ node, and Python programs beside it.
struct World {
    place: Place,
    python: String,
    url: String,
    prefix: String,
    _worker: Process,
}

impl World {
    fn new() -> Option<Self> {
        Self::with(None)
    }

    /// Creates a world with this store; `None` for the default store.
    fn with(store: Option<&str>) -> Option<Self> {
        let (python, url) = (python()?, node::shared_node()?.to_owned());
        let place = Place::new();
        let prefix = format!("t{}", &ork::JobId::new().to_string()[20..]);
        let mut command = place.command(HELLO, &["worker"]);
        if let Some(store) = store {
            command.env("ORK_STORE", store);
        }
        let mut worker = Process::start(at(command, &url, &prefix));
        worker.err_line(|line| line.contains("worker ready"));
        Some(Self { place, python, url, prefix, _worker: worker })
    }

    fn ork(&self, args: &str) -> Value {
        let args: Vec<_> = args.split(' ').collect();
        Process::start(at(self.place.command(HELLO, &args), &self.url, &self.prefix)).end().json()
    }

    fn python(&self, args: &[&str]) -> Ended {
        Process::start(at(self.place.command(&self.python, args), &self.url, &self.prefix)).end()
    }

    fn submit(&self, input: &str, name: &str) -> (Option<i32>, Value) {
        let program = self.place.write("submit.py", &programs()[1]);
        let ended = self.python(&[program.to_str().unwrap(), &self.url, "hello", input, name]);
        let outcome = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        (ended.code, outcome)
    }
}

fn at(mut command: Command, url: &str, prefix: &str) -> Command {
    command.env("ORK_BROKER", url).env("ORK_PREFIX", prefix).env("ORK_EVENTS", "jobs");
    command
}

#[test]
fn the_document_contains_the_example_programs() {
    assert_eq!(programs()[1], read("examples/python/submit.py"));
    assert_eq!(programs()[2], read("examples/python/listen.py"));
}

#[test]
fn the_long_program_gets_its_reply() {
    let Some(world) = World::new() else { return };
    let (code, outcome) = world.submit(r#"{"name": "Ada"}"#, "order-7");
    assert_eq!((code, &outcome["output"]), (Some(0), &json!("hello Ada")), "{outcome}");
    let job = world.ork(&format!("jobs show {} --json", outcome["job"].as_str().unwrap()));
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(world.ork("jobs list --json").as_array().unwrap().len(), 1);
}

#[test]
fn a_listener_receives_the_events_of_another_programs_job() {
    let Some(world) = World::new() else { return };
    let program = world.place.write("listen.py", &programs()[2]);
    let queue = format!("{}.listener", world.prefix);
    let args = [program.to_str().unwrap(), &world.url, &queue, "job.completed"];
    let mut listener = Process::start(at(world.place.command(&world.python, &args), &world.url, &world.prefix));
    listener.err_line(|line| line == "listening");
    assert_eq!(world.submit(r#"{"name": "Ada"}"#, "order-8").0, Some(0));
    let received = listener.end();
    assert_eq!(
        received.out, "job.created hello ready\njob.ready hello ready\njob.completed hello succeeded\n",
        "{received:?}"
    );
}

#[test]
fn an_invalid_input_gets_an_error_reply() {
    let Some(world) = World::new() else { return };
    for (input, expected) in
        [("{}", "`name` is missing"), (r#"{"name": 7}"#, "expected a string"), ("hello", "not JSON")]
    {
        let (code, outcome) = world.submit(input, input);
        assert_eq!((code, &outcome["state"]), (Some(1), &json!("failed")), "{outcome}");
        let message = outcome["error"]["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
        let job = world.ork(&format!("jobs show {} --json", outcome["job"].as_str().unwrap()));
        assert_eq!(job["state"], "failed");
    }
}

#[test]
fn the_short_program_submits_a_job() {
    let Some(world) = World::new() else { return };
    let program = &programs()[0];
    assert_eq!(program.lines().count(), 4, "{program}");
    let here = program.replace("amqp://guest:guest@localhost/", &world.url);
    let here = here.replace("exchange=\"ork\"", &format!("exchange={:?}", world.prefix));
    assert_eq!(world.python(&["-c", &here]).ok(), "");
    // This job was sent later, so the first one is in the store when it ends.
    assert_eq!(world.submit(r#"{"name": "Bob"}"#, "after").0, Some(0));
    let job = &world.ork("jobs list --json")[1];
    assert_eq!(job["task"], "hello", "{job}");
    let watched = format!("jobs watch {} --json", job["id"].as_str().unwrap());
    let watched = Process::start(at(
        world.place.command(HELLO, &watched.split(' ').collect::<Vec<_>>()),
        &world.url,
        &world.prefix,
    ));
    assert_eq!(watched.end().ok().lines().last(), Some("\"hello Ada\""));
}

/// Runs a foreign program that creates the set of parts and its queue. Workers of ork process some of the parts, and
/// the program processes the others.
fn exchange(store: Option<&str>) {
    let Some(world) = World::with(store) else { return };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/parts.py");
    for (total, ours, order) in [("20", "7", "first"), ("20", "7", "last"), ("3", "0", "first"), ("1", "1", "first")] {
        let ended = world.python(&[program.to_str().unwrap(), &world.url, "hello", total, ours, order]);
        let state: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        let once = json!([{"id": state["expected"], "body": {"set": state["set"]}}]);
        assert_eq!((&state["followed"], &state["left"]), (&once, &Value::Null), "{total} {ours} {order}");
    }
}

#[test]
fn a_part_set_shared_with_storeless_workers_has_one_follower() {
    exchange(Some("none"));
}

#[test]
fn a_part_set_shared_with_workers_with_a_store_has_one_follower() {
    exchange(None);
}
