//! The workflows of the examples: checked, drawn, run here and by workers, scheduled; and what is said of broken ones.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the services' share that other tests use")]

#[path = "../../ork-runtime/tests/support/python.rs"]
mod interpreter;
#[path = "../../ork-runtime/tests/support/node.rs"]
mod node;
#[path = "../../ork-runtime/tests/support/postgres.rs"]
mod postgres;
#[path = "../../ork-runtime/tests/support/rabbit.rs"]
mod rabbit;
mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Ended, Place, Process, exe};

const FLOWS: &str = exe!("flows");

/// A place with the workflows in it, and what is set for every process.
struct Setting {
    place: Place,
    variables: Vec<(&'static str, String)>,
}

impl Setting {
    fn embedded() -> Self {
        Self::with(Vec::new())
    }

    /// Over RabbitMQ, with jobs in a database; `None` if there is neither, and none is required.
    fn cluster() -> Option<Self> {
        let url = node::shared_node()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = runtime.block_on(postgres::database())?;
        let prefix = format!("w{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
        Some(Self::with(vec![("ORK_BROKER", url.to_owned()), ("ORK_STORE", database), ("ORK_PREFIX", prefix)]))
    }

    fn with(mut variables: Vec<(&'static str, String)>) -> Self {
        variables.extend(interpreter::python().map(|python| ("ORK_PYTHON", python)));
        let place = Place::new();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("flows"), &place.path().join("flows"));
        Self { place, variables }
    }

    fn start(&self, args: &str) -> Process {
        let args: Vec<_> = args.split_whitespace().collect();
        let mut command = self.place.command(FLOWS, &args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Process::start(command)
    }

    fn run(&self, args: &str) -> Ended {
        self.start(args).end()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

/// Each workflow, what it is called and what it comes to.
fn workflows() -> Vec<(&'static str, &'static str, Value)> {
    let region = |region: &str| (0..4).map(|n| json!(format!("{region} {n}/4"))).collect::<Vec<_>>();
    let regions = json!([region("eu"), region("us"), region("asia")].concat());
    let mut all = vec![
        ("files", "files", json!({ "total_rows": 1200, "files_processed": 5 })),
        ("shares", "shares", json!(vec![json!({ "processed": 25 }); 4])),
        ("count", "count", json!(vec![json!({ "processed": 20 }); 5])),
        ("regions", "regions", regions.clone()),
    ];
    if interpreter::python().is_some() {
        all.extend([
            ("python/static/flow", "flow", json!(vec![json!({ "processed": 25 }); 4])),
            ("python/count/flow", "flow", json!(vec![json!({ "processed": 20 }); 5])),
            ("python/foreach/flow", "flow", json!({ "total_rows": 288, "files_processed": 12 })),
            ("python/combined/flow", "flow", regions),
            ("mixed", "mixed", json!("5 short names")),
        ]);
    }
    all
}

#[test]
fn every_workflow_runs_here() {
    let setting = Setting::embedded();
    for (file, name, expected) in workflows() {
        let run = setting.run(&format!("run flows/{file}.yaml --json")).json();
        assert_eq!((&run["state"], &run["result"]), (&json!("success"), &expected), "{run}");
        let id = run["run"].as_str().unwrap();
        let shown = setting.run(&format!("jobs show {id}")).ok();
        assert!(shown.contains(&format!("task       {name} (ork.run)")), "{shown}");
        let tree = setting.run(&format!("jobs tree {id}")).ok();
        assert!(tree.starts_with(&format!("{name} (ork.run) {id} success")), "{tree}");
    }
    let ended = setting.run("run flows/files.yaml --input prefix=raw/x");
    assert!(ended.err.contains("\u{2713} process                  success, 5 of 5 in "), "{ended:?}");
    let result: Value = serde_json::from_str(&ended.ok()).unwrap();
    assert_eq!(result, json!({ "total_rows": 750, "files_processed": 5 }));
}

#[test]
fn every_workflow_runs_on_a_cluster_of_two_workers() {
    let Some(setting) = Setting::cluster() else { return };
    let workers = [(); 2].map(|()| {
        let mut worker = setting.start("worker");
        worker.err_line(|line| line.contains("worker ready"));
        worker
    });
    for (file, _, expected) in workflows() {
        let run = setting.run(&format!("submit flows/{file}.yaml --wait --json")).json();
        assert_eq!((&run["state"], &run["result"]), (&json!("success"), &expected), "{run}");
    }
    for worker in workers {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }
}

#[test]
fn workflows_are_checked_and_drawn_without_running_anything() {
    let setting = Setting::embedded();
    let said = setting.run("check flows/files.yaml flows/shares.yaml").ok();
    assert_eq!(said, "flows/files.yaml: 3 tasks, fine\nflows/shares.yaml: 1 task, fine\n");
    let drawn = setting.run("graph flows/files.yaml").ok();
    assert!(drawn.contains("2  process    rust  each of discover.files, 8 at once  <- discover"), "{drawn}");
    assert!(setting.run("graph flows/files.yaml --format mermaid").ok().starts_with("flowchart"));
    assert!(setting.run("graph flows/files.yaml --format dot").ok().starts_with("digraph"));
    assert_eq!(setting.run("jobs list --json").json(), json!([]), "nothing was started");
}

#[test]
fn a_broken_workflow_starts_nothing_and_all_that_is_wrong_is_said() {
    let setting = Setting::embedded();
    let broken = "tasks:\n  discovr: {}\n  process:\n    foreach: discover.file\n  discover:\n    input: {prefix: 3}\n";
    setting.place.write("flows/broken.yaml", broken);
    let words = ["the program has no task `discovr`", "did you mean", "has no field `file`", "flows/broken.yaml:2:3"];
    for command in ["run", "submit", "graph"] {
        let ended = setting.run(&format!("{command} flows/broken.yaml"));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for words in words {
            assert!(ended.err.contains(words), "no `{words}` in {}", ended.err);
        }
    }
    let found = setting.run("check flows/broken.yaml --json");
    assert_eq!(found.code, Some(2));
    let found: Value = serde_json::from_str(&found.out).unwrap();
    let codes: Vec<_> = found.as_array().unwrap().iter().map(|found| found["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["no-such-task", "unknown-field", "constant-type"]);
    assert_eq!(setting.run("jobs list --json").json(), json!([]));
    setting.run("run flows/none.yaml").fails(2, &["the workflow flows/none.yaml cannot be read"]);
    let ended = setting.run("run flows/files.yaml --input prefx=a");
    assert!(ended.err.contains("`prefx`") && ended.err.contains("`prefix`"), "{ended:?}");
}

#[test]
fn a_workflow_is_scheduled_triggered_and_forgotten() {
    let setting = Setting::embedded();
    let added = setting.run("schedules add flows/regions.yaml").ok();
    assert_eq!(added, "regions is scheduled: 0 6 * * 1-5 (Europe/Berlin)\n");
    let mut worker = setting.start("worker");
    worker.err_line(|line| line.contains("worker ready"));
    let run = setting.run("schedules trigger regions").ok();
    let watched = setting.run(&format!("jobs watch {}", run.trim())).ok();
    assert!(watched.contains("\"eu 0/4\""), "{watched}");
    assert_eq!(setting.run("schedules pause regions").ok(), "regions paused\n");
    let list = setting.run("schedules list").ok();
    assert!(list.contains("Europe/Berlin") && list.contains("paused"), "{list}");
    assert_eq!(setting.run("schedules resume regions").ok(), "regions resumed\n");
    let next = setting.run("schedules list --json").json()[0]["next"].as_i64().unwrap();
    assert!(next > 1_700_000_000_000);
    assert_eq!(setting.run("schedules remove regions").ok(), "regions removed\n");
    setting.run("schedules trigger regions").fails(2, &["there is no schedule `regions`: there are none"]);
    setting.run("schedules add flows/files.yaml").fails(2, &["has no schedule", "0 6 * * *"]);
    worker.signal("TERM");
    worker.end();
}

/// How many parts of the job of this task have ended, the oldest one of its kind.
fn settled(setting: &Setting) -> u64 {
    let jobs = setting.run("jobs list --task share --json").json();
    let parts = &jobs.as_array().unwrap().last().map(|job| job["parts"].clone()).unwrap_or_default();
    parts["ok"].as_u64().unwrap_or_default()
}

#[test]
fn what_is_run_here_goes_before_what_is_left_of_earlier_runs() {
    const MANY: u64 = 100_000;
    let setting = Setting::embedded();
    setting.place.write("flows/big.yaml", format!("tasks:\n  share:\n    parallel: {MANY}\n"));
    setting.run("submit flows/big.yaml").ok();
    let worker = setting.start("worker");
    while settled(&setting) == 0 {}
    worker.kill();
    assert_eq!(setting.run("run flows/shares.yaml --json").json()["state"], "success");
    assert!(settled(&setting) < MANY, "it has waited for all that was left");
}
