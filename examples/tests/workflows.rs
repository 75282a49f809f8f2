//! The workflows of the examples: checked, drawn, run locally and by workers, and scheduled; and the messages for
//! invalid ones.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]

use ork_test_support::{installed, node, postgres};
#[path = "workflows/parameters.rs"]
mod parameters;
mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Ended, Place, Process, exe};

const WORKFLOWS: &str = exe!("workflows");

/// A place with the example workflows, and environment variables for every process.
struct Setting {
    place: Place,
    variables: Vec<(&'static str, String)>,
}

impl Setting {
    fn embedded() -> Self {
        Self::with(Vec::new())
    }

    /// A setting with RabbitMQ and PostgreSQL; `None` if one of them is neither available nor required.
    fn cluster() -> Option<Self> {
        let url = node::shared_node()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = runtime.block_on(postgres::database())?;
        let prefix = format!("w{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
        Some(Self::with(vec![("ORK_BROKER", url.to_owned()), ("ORK_STORE", database), ("ORK_PREFIX", prefix)]))
    }

    fn with(mut variables: Vec<(&'static str, String)>) -> Self {
        variables.extend(installed::python().map(|python| ("ORK_PYTHON", python)));
        let place = Place::new();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows"), &place.path().join("workflows"));
        Self { place, variables }
    }

    fn start(&self, args: &str) -> Process {
        let args: Vec<_> = args.split_whitespace().collect();
        let mut command = self.place.command(WORKFLOWS, &args);
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

/// Each workflow file, the name of its workflow, and the expected result.
fn workflows() -> Vec<(&'static str, &'static str, Value)> {
    let region = |region: &str| (0..4).map(|n| json!(format!("{region} {n}/4"))).collect::<Vec<_>>();
    let regions = json!([region("eu"), region("us"), region("asia")].concat());
    let mut all = vec![
        ("files", "files", json!({ "total_rows": 1200, "files_processed": 5 })),
        ("shares", "shares", json!(vec![json!({ "processed": 25 }); 4])),
        ("count", "count", json!(vec![json!({ "processed": 20 }); 5])),
        ("regions", "regions", regions.clone()),
    ];
    if installed::python().is_some() {
        all.extend([
            ("python/shares/static", "static", json!(vec![json!({ "processed": 25 }); 4])),
            ("python/shares/count", "count", json!(vec![json!({ "processed": 20 }); 5])),
            ("python/foreach/flow", "flow", json!({ "total_rows": 288, "files_processed": 12 })),
            ("python/combined/flow", "flow", regions),
            ("mixed", "mixed", json!("5 short names")),
        ]);
    }
    all
}

#[test]
fn every_workflow_runs_locally() {
    let setting = Setting::embedded();
    for (file, name, expected) in workflows() {
        let run = setting.run(&format!("run workflows/{file}.yaml --json")).json();
        assert_eq!((&run["state"], &run["result"]), (&json!("succeeded"), &expected), "{run}");
        let id = run["run"].as_str().unwrap();
        let shown = setting.run(&format!("jobs show {id}")).ok();
        assert!(shown.contains(&format!("task       {name} (ork.run)")), "{shown}");
        let tree = setting.run(&format!("jobs tree {id}")).ok();
        assert!(tree.starts_with(&format!("{name} (ork.run) {id} succeeded")), "{tree}");
    }
    let ended = setting.run("run workflows/files.yaml --input prefix=raw/x");
    assert!(ended.err.contains("\u{2713} process                  succeeded, 5 of 5 in "), "{ended:?}");
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
        let run = setting.run(&format!("submit workflows/{file}.yaml --wait --json")).json();
        assert_eq!((&run["state"], &run["result"]), (&json!("succeeded"), &expected), "{run}");
    }
    for worker in workers {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }
}

/// The tree consists of the example workflows, with a hidden file and a symbolic link that must be ignored.
#[test]
fn a_tree_is_counted_the_same_in_rust_and_python() {
    let setting = Setting::embedded();
    let folder = setting.place.path().join("workflows");
    setting.place.write("workflows/.hidden/a.py", "no");
    setting.place.write("workflows/no utf8 \u{e4}.bin", "one two\n\nthree");
    std::os::unix::fs::symlink(&folder, folder.join("python/link")).unwrap();
    let wc = "find . -name '.?*' -prune -o -type f -exec cat {} + | wc -lc";
    let counted = std::process::Command::new("sh").args(["-c", wc]).current_dir(&folder).output().unwrap();
    let expected: Vec<u64> =
        String::from_utf8(counted.stdout).unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
    let run = |file: &str| setting.run(&format!("run {file} --json --input folder={}", folder.display())).json();
    let result = run("workflows/tree.yaml")["result"].clone();
    let sum =
        |what: &str| -> u64 { result.as_object().unwrap().values().map(|counts| counts[what].as_u64().unwrap()).sum() };
    assert_eq!([sum("lines"), sum("bytes")], expected[..], "{result}");
    assert_eq!(result["bin"], json!({ "files": 1, "bytes": 14, "lines": 2, "words": 3 }));
    assert!(result["yaml"]["files"].as_u64() > Some(5) && result["py"]["words"].as_u64() > Some(100), "{result}");
    if installed::python().is_some() {
        assert_eq!(run("workflows/python/tree/flow.yaml")["result"], result);
    }
}

#[test]
fn workflows_are_checked_and_drawn_without_running_anything() {
    let setting = Setting::embedded();
    let output = setting.run("check workflows/files.yaml workflows/shares.yaml").ok();
    assert_eq!(output, "workflows/files.yaml: 3 tasks, ok\nworkflows/shares.yaml: 1 task, ok\n");
    let drawn = setting.run("graph workflows/files.yaml").ok();
    assert!(drawn.contains("2  process    rust  each of discover.files, 8 at once  <- discover"), "{drawn}");
    assert!(setting.run("graph workflows/files.yaml --format mermaid").ok().starts_with("flowchart"));
    assert!(setting.run("graph workflows/files.yaml --format dot").ok().starts_with("digraph"));
    assert_eq!(setting.run("jobs list --json").json(), json!([]), "nothing was started");
}

#[test]
fn an_invalid_workflow_starts_nothing_and_all_errors_are_reported() {
    let setting = Setting::embedded();
    let broken = "tasks:\n  discovr: {}\n  process:\n    foreach: discover.file\n  discover:\n    input: {prefix: 3}\n";
    setting.place.write("workflows/broken.yaml", broken);
    let expected =
        ["the program has no task `discovr`", "did you mean", "has no field `file`", "workflows/broken.yaml:2:3"];
    for command in ["run", "submit", "graph"] {
        let ended = setting.run(&format!("{command} workflows/broken.yaml"));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for expected in expected {
            assert!(ended.err.contains(expected), "no `{expected}` in {}", ended.err);
        }
    }
    let found = setting.run("check workflows/broken.yaml --json");
    assert_eq!(found.code, Some(2));
    let found: Value = serde_json::from_str(&found.out).unwrap();
    let codes: Vec<_> = found.as_array().unwrap().iter().map(|found| found["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["no-such-task", "unknown-field", "constant-type"]);
    assert_eq!(setting.run("jobs list --json").json(), json!([]));
    setting.run("run workflows/none.yaml").fails(2, &["the workflow workflows/none.yaml cannot be read"]);
    let ended = setting.run("run workflows/files.yaml --input prefx=a");
    assert!(ended.err.contains("`prefx`") && ended.err.contains("`prefix`"), "{ended:?}");
}

#[test]
fn a_workflow_is_scheduled_triggered_and_removed() {
    let setting = Setting::embedded();
    let added = setting.run("schedules add workflows/regions.yaml").ok();
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
    setting.run("schedules trigger regions").fails(2, &["there is no schedule `regions`; there are no schedules"]);
    setting.run("schedules add workflows/files.yaml").fails(2, &["has no schedule", "0 6 * * *"]);
    worker.signal("TERM");
    worker.end();
}

#[test]
fn a_scheduled_run_receives_its_date_and_a_manual_run_requires_it() {
    let setting = Setting::embedded();
    let daily = "schedule: {cron: \"0 6 * * *\", date_as: prefix}\ninput: {prefix: }\ntasks:\n  discover:\n";
    setting.place.write("daily.yaml", daily);
    setting.place.write("wrong.yaml", daily.replace("date_as: prefix", "date_as: prefx"));
    let wrong = setting.run("schedules add wrong.yaml");
    assert_eq!(wrong.err.matches("the workflow has no parameter `prefx`").count(), 1, "{wrong:?}");
    wrong.fails(2, &["did you mean `prefix`?"]);
    setting.run("run daily.yaml").fails(2, &["the parameter `prefix` has no value", "`prefix=..`"]);
    assert_eq!(setting.run("schedules add daily.yaml").ok(), "daily is scheduled: 0 6 * * * (UTC)\n");
    let worker = setting.place.worker(WORKFLOWS);
    let run = setting.run("schedules trigger daily").ok();
    setting.run(&format!("jobs watch {}", run.trim())).ok();
    let found = setting.run(&format!("jobs output {}.discover --json", run.trim())).json().to_string();
    let created = setting.run(&format!("jobs show {} --json", run.trim())).json()["created"].clone();
    let day = ork::Timestamp::from_millis(created.as_i64().unwrap()).to_string();
    assert!(found.contains(&day[..10]), "{found} of {day}");
    worker.signal("TERM");
    worker.end();
}

/// Returns how many parts of the oldest job of the task `share` have succeeded.
fn settled(setting: &Setting) -> u64 {
    let jobs = setting.run("jobs list --task share --json").json();
    let parts = &jobs.as_array().unwrap().last().map(|job| job["parts"].clone()).unwrap_or_default();
    parts["succeeded"].as_u64().unwrap_or_default()
}

#[test]
fn a_local_run_takes_precedence_over_earlier_unfinished_runs() {
    const MANY: u64 = 100_000;
    let setting = Setting::embedded();
    setting.place.write("workflows/big.yaml", format!("tasks:\n  share:\n    parallel: {MANY}\n"));
    setting.run("submit workflows/big.yaml").ok();
    let worker = setting.start("worker");
    // Another process gives no sign, so that the store is asked.
    while settled(&setting) == 0 {}
    // A graceful stop releases the remaining parts at once; a killed worker would hold them until it is presumed
    // dead.
    worker.signal("TERM");
    worker.end();
    assert!(settled(&setting) < MANY);
    assert_eq!(setting.run("run workflows/shares.yaml --json").json()["state"], "succeeded");
    assert!(settled(&setting) < MANY, "it has waited for all remaining parts");
}

/// A workflow that needs nothing but a shell: one task returns three items, and one needs a file that does not exist
/// yet.
const TROUBLE: &str = r#"
name: trouble
tasks:
  list:
    executor: process
    command: [sh, -c, 'echo "{\"items\": [1, 2, 3]}"']
  each:
    executor: process
    command: [sh, -c, "echo $ORK_PARALLEL_INDEX"]
    foreach: list.items
  broken:
    executor: process
    command: [sh, -c, "test -e luck || { echo no luck >&2; exit 3; }; echo 7"]
    depends_on: [each]
  after:
    executor: process
    command: [cat]
    depends_on: [broken]
"#;

#[test]
fn a_run_is_watched_drawn_read_by_task_and_retried() {
    let setting = Setting::embedded();
    setting.place.write("workflows/trouble.yaml", TROUBLE);
    let run = setting.run("submit workflows/trouble.yaml").ok();
    let run = run.trim();
    setting.run(&format!("jobs output {run}")).fails(2, &["is ready, and has no output yet", "jobs watch"]);
    setting.run(&format!("jobs output {run}.list")).fails(2, &["step `list` of run", "has not started"]);
    let mut watch = setting.start(&format!("jobs watch {run} --json"));
    // The watch reports the state at once, and not only at the end.
    assert_eq!(watch.out_json(|line| line["id"] == run)["state"], "ready");
    let mut worker = setting.start("worker");
    worker.err_line(|line| line.contains("worker ready"));
    let status = watch.out_json(|line| line["id"] == run && line["state"] == "failed");
    assert_eq!(status["run"]["steps"][3]["state"], "skipped", "{status}");
    assert_eq!(watch.out_json(|line| line["run"] == run)["state"], "failed");
    watch.end();

    let tree = setting.run(&format!("jobs tree {run}")).ok();
    let lines: Vec<_> = tree.lines().collect();
    let id = |line: &str| line.split_whitespace().find(|word| word.len() == 36).unwrap().to_owned();
    assert!(lines[0].starts_with(&format!("trouble (ork.run) {run} failed (3 of 3 descendants ended): ")), "{tree}");
    assert!(lines[1].starts_with("\u{251c}\u{2500} list (process) ") && lines[1].ends_with(" succeeded"), "{tree}");
    assert!(lines[2].starts_with("\u{251c}\u{2500} each (process) ") && lines[2].ends_with(" succeeded 3/3"), "{tree}");
    assert!(lines[3].starts_with("\u{251c}\u{2500} broken (process) ") && lines[3].contains(" failed: "), "{tree}");
    assert_eq!(lines[4..], ["\u{2514}\u{2500} after skipped"], "{tree}");
    let broken = id(lines[3]);
    let shown = setting.run(&format!("jobs show {broken}")).ok();
    for row in [
        "task       broken (process)",
        "workflow   trouble, step 3 of 4: `broken`",
        r#"details    {"exit_code":3,"stderr":["no luck"]}"#,
    ] {
        assert!(shown.lines().any(|line| line == row), "no `{row}` in {shown}");
    }
    let why = setting.run(&format!("jobs why {broken}")).ok();
    assert!(why.starts_with("broken (process) is failed: "), "{why}");

    assert_eq!(setting.run(&format!("jobs output {run}.list")).ok(), "{\"items\": [1, 2, 3]}\n");
    assert_eq!(setting.run(&format!("jobs output {run}.each")).json(), json!([0, 1, 2]));
    setting.run(&format!("jobs output {run}")).fails(1, &["(trouble (ork.run)) failed, so it has no output", ".STEP`"]);
    setting.run(&format!("jobs output {run}.broken")).fails(1, &["(broken (process)) failed", "no luck"]);
    setting.run(&format!("jobs output {broken}")).fails(1, &["failed, so it has no output"]);
    setting.run(&format!("jobs output {run}.after")).fails(1, &["step `after` of run", "was skipped"]);
    setting.run(&format!("jobs output {run}.none")).fails(2, &["has no step `none`", "list, each, broken, after"]);
    setting.run(&format!("jobs output {broken}.list")).fails(2, &["is not a workflow run"]);
    setting.run("jobs output 17").fails(2, &["17", "RUN.STEP"]);

    setting.run(&format!("jobs retry {run} --wait")).fails(1, &["(trouble (ork.run)) failed", "`broken`"]);
    // A signal ends the waiting command, but not the run.
    worker.signal("TERM");
    worker.end();
    let mut waiting = setting.start(&format!("jobs retry {run} --wait"));
    waiting.err_line(|line| line == format!("job {run}"));
    waiting.signal("INT");
    let ended = waiting.end();
    assert_eq!(ended.code, Some(130));
    assert!(ended.err.contains(&format!("job {run} continues; `jobs watch {run}` follows it")), "{ended:?}");
    let mut worker = setting.start("worker");
    worker.err_line(|line| line.contains("worker ready"));
    setting.run(&format!("jobs watch {run}")).fails(1, &["`broken`"]);
    setting.place.write("workflows/luck", "");
    assert_eq!(setting.run(&format!("jobs retry {run} --wait --json")).json()["result"], json!({ "broken": 7 }));
    assert_eq!(setting.run(&format!("jobs output {run}")).json(), json!({ "broken": 7 }));
    setting.run(&format!("jobs retry {run} --wait")).fails(2, &["is succeeded and cannot be retried"]);
    worker.signal("TERM");
    worker.end();
}

#[test]
fn an_on_failure_task_runs_again_with_the_output_of_the_retry() {
    let setting = Setting::embedded();
    let task = |name: &str, command: &str| format!("  {name}:\n    executor: process\n    command: {command}\n");
    let broken = task("broken", "[sh, -c, 'test -e luck && echo 7']");
    let tidy = task("tidy", "[cat]") + "    depends_on: broken\n    on_failure: run\n";
    setting.place.write("workflows/tidy.yaml", format!("tasks:\n{broken}{tidy}"));
    setting.run("run workflows/tidy.yaml").fails(1, &["`broken`"]);
    let run = setting.run("jobs list --task ork.run --json").json()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(setting.run(&format!("jobs output {run}.tidy")).json(), json!({ "broken": null }));
    setting.place.write("workflows/luck", "");
    let worker = setting.start("worker");
    assert_eq!(setting.run(&format!("jobs retry {run} --wait --json")).json()["result"], json!({ "broken": 7 }));
    let tree = setting.run(&format!("jobs tree {run}")).ok();
    let lines: Vec<_> = tree.lines().collect();
    assert!(lines[2].contains(" tidy (process) ") && lines[2].ends_with(" succeeded"), "{tree}");
    assert!(lines[3].contains(" tidy (process) ") && lines[3].ends_with(" succeeded (replaced)"), "{tree}");
    worker.signal("TERM");
    worker.end();
}

#[test]
fn non_files_and_non_executables_are_reported_without_blocking() {
    let setting = Setting::embedded();
    let fifo = setting.place.path().join("workflows/pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for command in ["check", "run", "submit", "graph", "schedules add"] {
        setting
            .run(&format!("{command} workflows/pipe.yaml"))
            .fails(2, &["workflows/pipe.yaml is a named pipe: expected a YAML file"]);
    }
    setting.place.write("workflows/folder.yaml/file", "");
    setting.run("check workflows/folder.yaml").fails(2, &["workflows/folder.yaml is a folder: expected a YAML file"]);
    let text = "tasks:\n  a:\n    executor: python\n    file: pipe.yaml\n  b:\n    executor: process\n    command: [./plain.sh]\n  c:\n    executor: python\n    file: python\n";
    setting.place.write("workflows/odd.yaml", text);
    setting.place.write("workflows/plain.sh", "#!/bin/sh\necho 1\n");
    let expected = [
        "error[not-a-file]: `pipe.yaml` is a named pipe",
        "error[not-executable]: `./plain.sh` is not executable",
        "`chmod +x ./plain.sh`",
        "error[not-a-file]: `python` is a folder",
        "workflows/odd.yaml:7:15",
    ];
    setting.run("check workflows/odd.yaml").fails(2, &expected);
    setting.run("run workflows/odd.yaml").fails(2, &expected);
}

#[test]
fn metrics_are_shown_by_task_name_and_labels() {
    let setting = Setting::embedded();
    let run = setting.run("run workflows/files.yaml --json").json();
    let id = run["run"].as_str().unwrap();
    let metrics = setting.run(&format!("jobs metrics {id} --json")).json();
    let [rows] = &metrics.as_array().unwrap()[..] else { panic!("{metrics}") };
    assert_eq!(
        (&rows["task"], &rows["step"], &rows["name"]),
        (&json!("process"), &json!("process"), &json!("rows_processed"))
    );
    assert_eq!((&rows["count"], &rows["sum"]), (&json!(5), &json!(1200.0)), "one from each instance: {rows}");
    let table = setting.run(&format!("jobs metrics {id}")).ok();
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["job", "task", "name", "labels", "count", "mean", "min", "max", "last", "sum"]);
    assert_eq!(
        (lines[1][1..5].join(" "), *lines[1].last().unwrap()),
        ("process rows_processed 5 240".to_owned(), "1200")
    );
    let quiet = setting.run("run workflows/shares.yaml --json").json();
    let none = setting.run(&format!("jobs metrics {}", quiet["run"].as_str().unwrap()));
    assert_eq!((none.err.as_str(), none.out.as_str(), none.code), ("no metrics\n", "", Some(0)));
    setting.run("jobs metrics 0190a6a8-7d5f-7c3a-9b1e-3f1d2c4b5a69").fails(2, &["there is no job"]);
}

/// A Python function that sleeps for hours, and a worker that gets two signals: it does not wait for the grace
/// period.
#[test]
fn a_second_signal_ends_a_worker_without_waiting_for_python() {
    let mut setting = Setting::embedded();
    if installed::python().is_none() {
        return;
    }
    setting.variables.push(("ORK_CANCEL_GRACE", "1h".into()));
    let text = "import time\ndef main(ctx):\n    ctx.log.warning('started')\n    time.sleep(10000)\n";
    setting.place.write("workflows/nap.py", text);
    setting.place.write("workflows/nap.yaml", "tasks:\n  nap:\n    executor: python\n    file: nap.py\n");
    let run = setting.run("submit workflows/nap.yaml").ok();
    let mut worker = setting.start("worker");
    let logged = worker.err_line(|line| line.contains("started"));
    assert!(logged.contains("task=\"nap\"") && !logged.contains("ork.python"), "{logged}");
    worker.signal("TERM");
    worker.err_line(|line| line.contains("a second signal stops the worker now"));
    worker.signal("TERM");
    assert_eq!(worker.end().code, Some(0));
    let step = setting.run(&format!("jobs show {} --json", run.trim())).json()["run"]["steps"][0]["job"].clone();
    let job = setting.run(&format!("jobs show {} --json", step.as_str().unwrap())).json();
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("ready"), &json!(1)),
        "it is requeued, and has not failed: {job}"
    );
}

#[test]
fn details_of_a_failure_are_shown() {
    let setting = Setting::embedded();
    if installed::python().is_none() {
        return;
    }
    let text = "from ork import TaskError\ndef main(ctx):\n    raise TaskError('the album is empty', details={'album': ctx.parallel_index}, retry=False)\n";
    setting.place.write("workflows/fail.py", text);
    let tasks = "tasks:\n  one:\n    executor: python\n    file: fail.py\n  two:\n    executor: python\n    file: fail.py\n    parallel: 2\n";
    setting.place.write("workflows/fail.yaml", tasks);
    let ended = setting.run("run workflows/fail.yaml --json");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let run: Value = serde_json::from_str(&ended.out).unwrap();
    let show = |at: usize| setting.run(&format!("jobs show {}", run["steps"][at]["job"].as_str().unwrap())).ok();
    let (one, two) = (show(0), show(1));
    assert!(one.contains("the album is empty\ndetails    {\"album\":0}\n"), "{one}");
    assert!(one.contains("task       one (python)\nworkflow   fail, step 1 of 2: `one`\n"), "{one}");
    assert!(two.contains("the album is empty\n     details {\"album\":1}\n"), "{two}");
}
