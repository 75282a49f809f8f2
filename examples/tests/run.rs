//! Runs every example as a process, as a user would, in a temporary folder.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{Place, Process, exe, tree};

const HELLO: &str = exe!("hello");
const LOC: &str = exe!("loc");
const ALBUM: &str = exe!("album");
const RETRIES: &str = exe!("retries");
const PROGRESS: &str = exe!("progress");
const GREETING: &str = exe!("greeting");

#[test]
fn hello_prints_text_and_json() {
    let place = Place::new();
    assert_eq!(place.run(HELLO, "run hello name=Ada").ok(), "hello Ada\n");
    assert_eq!(place.run(HELLO, "run hello name=Ada --json").json(), json!("hello Ada"));
    assert_eq!(place.run(HELLO, r#"run hello --input {"name":"Ada"}"#).ok(), "hello Ada\n");
    place.write("input.json", r#"{"name": "Ada Lovelace"}"#);
    assert_eq!(place.run(HELLO, "run hello --input @input.json").ok(), "hello Ada Lovelace\n");
}

#[test]
fn tasks_are_listed_with_their_inputs() {
    let place = Place::new();
    let list = place.run(LOC, "tasks").ok();
    assert!(list.contains("loc   root    split, join  Counts lines of code"), "{list}");
    let tasks = place.run(LOC, "tasks --json").json();
    assert_eq!(tasks[0]["name"], "loc");
    assert_eq!(tasks[0]["input"]["properties"]["root"]["type"], "string");
    assert_eq!(tasks[0]["retries"], 2);
    let greet = place.run(GREETING, "tasks greet --json").json();
    assert_eq!(greet[0]["input"]["required"], json!(["name"]));
    assert_eq!(greet[0]["input"]["properties"]["name"]["description"], "The name of the person.");
}

#[test]
fn loc_counts_a_tree_and_the_job_is_stored() {
    let place = Place::new();
    let expected = tree(&place, 30, 2);
    assert_eq!(place.run(LOC, "run loc root=tree --json").json(), expected);
    let table = place.run(LOC, "run loc root=tree").ok();
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["language", "files", "lines", "code", "comments", "blanks"]);
    assert_eq!(rows[3], ["total", "30", "180", "60", "60", "60"]);

    let list = place.run(LOC, "jobs list --json").json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    // One part for the root, and one for each of the 30 folders below it.
    assert_eq!(list[0]["parts"]["succeeded"], 31);
    let id = list[0]["id"].as_str().unwrap();
    let shown = place.run(LOC, &format!("jobs show {id}")).ok();
    assert!(shown.contains("state      succeeded"), "{shown}");
    assert!(shown.contains("parts      31: 31 succeeded, 0 failed"), "{shown}");
    let row = place.run(LOC, "jobs list --task loc --state succeeded --limit 1").ok();
    assert!(row.contains(id) && row.contains("31/31") && row.lines().count() == 2, "{row}");
    assert_eq!(place.run(LOC, "jobs list --state failed --json").json(), json!([]));
    assert_eq!(place.run(LOC, &format!("jobs watch {id}")).ok(), table);
}

#[test]
fn loc_of_an_empty_folder_and_of_a_missing_one() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("nothing")).unwrap();
    let total = json!([{"language": "total", "files": 0, "lines": 0, "code": 0, "comments": 0, "blanks": 0}]);
    assert_eq!(place.run(LOC, "run loc root=nothing --json").json(), total);
    place.run(LOC, "run loc root=nowhere").fails(1, &["nowhere: No such file or directory", "jobs retry"]);
}

#[test]
fn album_makes_thumbnails_and_a_sheet() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("pictures")).unwrap();
    for (name, width, height) in [("a.png", 300, 200), ("b.jpg", 20, 400), ("c.png", 64, 64)] {
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([u8::try_from(x % 256).unwrap(), u8::try_from(y % 256).unwrap(), 7])
        });
        picture.save(place.path().join("pictures").join(name)).unwrap();
    }
    place.write("pictures/d.png", "no picture at all");
    place.write("pictures/notes.txt", "not looked at");
    let album = place.run(ALBUM, "run album folder=pictures size=50 --json").json();
    assert_eq!(album["pictures"][0], json!({"picture": "a.png", "size": "300 x 200"}));
    assert_eq!(album["pictures"][1], json!({"picture": "b.jpg", "size": "20 x 400"}));
    assert_eq!(album["pictures"].as_array().unwrap().len(), 4);
    let wrong = album["pictures"][3]["size"].as_str().unwrap();
    assert!(wrong.contains("Png"), "{wrong}");
    let sheet = image::open(album["sheet"].as_str().unwrap()).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (150, 50));
    let thumbnail = image::open(place.path().join("pictures/thumbnails/b.jpg.png")).unwrap();
    assert_eq!(thumbnail.height(), 50);
}

#[test]
fn retries_end_as_documented() {
    let place = Place::new();
    assert_eq!(place.run(RETRIES, "run fetch page=a busy=2").ok(), "a, at attempt 3\n");
    place.run(RETRIES, "run fetch page=a busy=9").fails(1, &["the server was busy at attempt 4"]);
    place.run(RETRIES, "run fetch page= busy=0").fails(1, &["the address of the page is empty"]);
    let empty = &place.run(RETRIES, "jobs list --task fetch --json").json()[0];
    assert_eq!((&empty["state"], &empty["attempt"]), (&json!("failed"), &json!(1)));
    assert_eq!(place.run(RETRIES, "run crawl pages=8").ok(), "6 of 8 parts succeeded\n");
    place.run(RETRIES, "run crawl pages=8 gone_every=2").fails(1, &["4 of 8 parts failed"]);
    let bad = &place.run(RETRIES, "jobs list --task crawl --state failed --json").json()[0];
    let shown = place.run(RETRIES, &format!("jobs show {} --parts 2", bad["id"].as_str().unwrap())).ok();
    assert!(shown.contains("part 1 failed page 2 is gone\npart 3 failed page 4 is gone"), "{shown}");
    let id = bad["id"].as_str().unwrap();
    let page = place.run(RETRIES, &format!("jobs parts {id} --limit 3"));
    assert!(page.err.contains(&format!("next page: jobs parts {id} --from 3 --limit 3\n")), "{}", page.err);
    let page = page.ok();
    let lines: Vec<Vec<_>> = page.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["index", "state", "attempts", "progress", "error"]);
    assert_eq!(lines[1], ["0", "succeeded", "1"]);
    assert_eq!(lines[2], ["1", "failed", "1", "page", "2", "is", "gone"]);
    assert_eq!(lines.len(), 4);
    let failed = format!("jobs parts {id} --state failed --from 4 --json");
    let found = place.run(RETRIES, &failed).json();
    let failure = |page: u32| json!({"kind": "task", "message": format!("page {page} is gone"), "retryable": false});
    let part = |index: u32, page: u32| json!({"index": index, "state": "failed", "attempts": 1, "failure": failure(page), "progress": null});
    assert_eq!(found, json!([part(5, 6), part(7, 8)]));
    let last = place.run(RETRIES, &format!("jobs parts {id} --from 7"));
    assert!(!last.err.contains("next page"), "{}", last.err);
    let none = place.run(RETRIES, &format!("jobs parts {id} --state skipped"));
    assert_eq!((none.err.trim(), none.code), ("no parts", Some(0)));
    place.run(RETRIES, &format!("jobs parts {id} --state ok")).fails(2, &["unknown part state `ok`", "succeeded"]);
}

#[test]
fn progress_is_watched_and_a_cancel_takes_effect() {
    let place = Place::new();
    let shown = place.run(PROGRESS, "").ok();
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("running ") && line.contains("% step ")), "{shown}");
    assert!(lines.contains(&"on top after 20 steps"), "{shown}");
    assert_eq!(lines.last(), Some(&"the second climb was cancelled"));
    assert_eq!(place.run(PROGRESS, "run climb steps=2").ok(), "on top after 2 steps\n");
}

#[test]
fn a_cancel_from_another_process_stops_the_task() {
    let place = Place::new();
    let mut command = place.command(PROGRESS, &["worker"]);
    command.env("ORK_LOG", "info");
    let mut worker = Process::start(command);
    worker.err_line(|line| line.contains("worker ready"));
    let id = place.run(PROGRESS, "submit climb steps=1000000").ok();
    let id = id.trim();
    let mut watch = place.start(PROGRESS, &format!("jobs watch {id} --json"));
    watch.out_json(|status| status["progress"]["info"].is_string());
    assert_eq!(place.run(PROGRESS, &format!("jobs cancel {id}")).ok(), format!("job {id} cancelled\n"));
    worker.err_line(|line| line.contains("turned back at step"));
    let watched = watch.end();
    assert_eq!(watched.code, Some(1), "{watched:?}");
    assert!(watched.err.contains("cancelled"), "{watched:?}");
    place.run(PROGRESS, &format!("jobs cancel {id}")).fails(2, &["is cancelled and cannot be cancelled"]);
    worker.signal("TERM");
    assert_eq!(worker.end().code, Some(0));
}

#[test]
fn greeting_uses_the_state_of_its_application() {
    let place = Place::new();
    assert_eq!(place.run(GREETING, "run greet name=Ada language=de").ok(), "hallo Ada\n");
    assert_eq!(place.run(GREETING, "run greet name=Ada").ok(), "hello Ada\n");
    let expected = "there is no greeting in `tlh`: expected one of de, en, fr";
    place.run(GREETING, "run greet name=Ada language=tlh").fails(1, &[expected]);
}

#[test]
fn a_worker_runs_a_job_that_another_process_submits() {
    let place = Place::new();
    let worker = place.worker(HELLO);
    assert_eq!(place.run(HELLO, "submit hello name=Ada --wait").ok(), "hello Ada\n");
    let id = place.run(HELLO, "submit hello name=Bob --json").json();
    let id = id["id"].as_str().unwrap();
    assert_eq!(place.run(HELLO, &format!("jobs watch {id}")).ok(), "hello Bob\n");
    worker.signal("TERM");
    let ended = worker.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_job_waits_for_its_worker() {
    let place = Place::new();
    let id = place.run(HELLO, "submit hello name=Ada").ok();
    let shown = place.run(HELLO, &format!("jobs show {}", id.trim())).ok();
    assert!(shown.contains("state      ready"), "{shown}");
    let worker = place.worker(HELLO);
    assert_eq!(place.run(HELLO, &format!("jobs watch {}", id.trim())).ok(), "hello Ada\n");
    drop(worker);
}

/// Returns how many parts of a job have ended, and whether the job has ended.
fn settled(status: &Value) -> (u64, bool) {
    let parts = &status["parts"];
    let settled = ["succeeded", "failed", "skipped", "cancelled"].iter().map(|how| parts[how].as_u64().unwrap()).sum();
    (settled, status["ended"].is_i64())
}

/// Kills a worker half-way through a job. The other worker starts before the job, or after the kill.
fn killed_half_way(other_is_there: bool) {
    for lines in [200, 2_000, 20_000] {
        let place = Place::new();
        let expected = tree(&place, 300, lines);
        let worker = place.worker(LOC);
        let mut other = other_is_there.then(|| place.worker(LOC));
        let id = place.run(LOC, "submit loc root=tree").ok();
        let id = id.trim();
        let mut watch = place.start(LOC, &format!("jobs watch {id} --json"));
        watch.out_json(|status| settled(status).0 > 20);
        worker.kill();
        let now = place.run(LOC, &format!("jobs show {id} --json")).json();
        let half_way = !settled(&now).1;
        other.get_or_insert_with(|| place.worker(LOC));
        let ended = watch.end();
        let result: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
        assert_eq!(result, expected);
        let shown = place.run(LOC, &format!("jobs show {id} --json")).json();
        assert_eq!(shown["parts"]["succeeded"], 301, "{shown}");
        if half_way {
            return;
        }
        // The machine was too fast for this tree; try a larger one.
    }
    panic!("no job was still running when its worker was killed");
}

#[test]
fn killing_a_worker_half_way_does_not_change_the_result() {
    killed_half_way(true);
}

#[test]
fn a_job_whose_only_worker_was_killed_is_finished_by_the_next_one() {
    killed_half_way(false);
}

#[test]
fn a_worker_finishes_running_jobs_when_it_gets_a_signal() {
    for signal in ["INT", "TERM"] {
        let place = Place::new();
        let worker = place.worker(PROGRESS);
        let id = place.run(PROGRESS, "submit climb steps=40").ok();
        let id = id.trim();
        let mut watch = place.start(PROGRESS, &format!("jobs watch {id} --json"));
        watch.out_json(|status| status["progress"]["info"].is_string());
        worker.signal(signal);
        let ended = worker.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.err.contains("draining for up to 30s"), "{ended:?}");
        let watched = watch.end().ok();
        assert_eq!(watched.lines().last(), Some("\"on top after 40 steps\""));
    }
}

#[test]
fn a_second_signal_requeues_the_running_job() {
    let place = Place::new();
    let mut worker = place.worker(PROGRESS);
    let id = place.run(PROGRESS, "submit climb steps=1000000").ok();
    let id = id.trim();
    let mut watch = place.start(PROGRESS, &format!("jobs watch {id} --json"));
    watch.out_json(|status| status["progress"]["info"].is_string());
    drop(watch);
    worker.signal("INT");
    worker.err_line(|line| line.contains("a second signal stops the worker now"));
    worker.signal("INT");
    assert_eq!(worker.end().code, Some(0));
    let shown = place.run(PROGRESS, &format!("jobs show {id} --json")).json();
    assert_eq!((&shown["state"], &shown["attempt"]), (&json!("ready"), &json!(1)), "interrupted is not failed");
}

#[test]
fn the_job_of_an_interrupted_run_stays_ready_for_a_worker() {
    let place = Place::new();
    let mut command = place.command(PROGRESS, &["run", "climb", "steps=1000000"]);
    command.env("ORK_LOG", "info");
    let mut run = Process::start(command);
    run.err_line(|line| line.contains("worker started"));
    run.signal("INT");
    let ended = run.end();
    assert_eq!((ended.code, ended.out.as_str()), (Some(130), ""), "{ended:?}");
    let jobs = place.run(PROGRESS, "jobs list --json").json();
    assert_eq!((&jobs[0]["state"], &jobs[0]["attempt"]), (&json!("ready"), &json!(1)));
    let id = jobs[0]["id"].as_str().unwrap();
    assert!(ended.err.contains(&format!("interrupted; job {id} continues when a worker starts")), "{}", ended.err);
    assert_eq!(place.run(PROGRESS, &format!("jobs cancel {id}")).ok(), format!("job {id} cancelled\n"));
}

#[test]
fn a_failed_job_can_be_retried() {
    let place = Place::new();
    place.run(LOC, "run loc root=tree").fails(1, &["No such file or directory"]);
    let jobs = place.run(LOC, "jobs list --state failed --json").json();
    let id = jobs[0]["id"].as_str().unwrap();
    let expected = tree(&place, 3, 1);
    let _worker = place.worker(LOC);
    assert_eq!(place.run(LOC, &format!("jobs retry {id}")).ok(), format!("job {id} retried\n"));
    let watched = place.run(LOC, &format!("jobs watch {id} --json")).ok();
    let result: Value = serde_json::from_str(watched.lines().last().unwrap()).unwrap();
    assert_eq!(result, expected);
    place.run(LOC, &format!("jobs retry {id}")).fails(2, &["is succeeded and cannot be retried"]);
}

/// Regression test: without a worker, a command that waits used to wait without a word.
#[test]
fn waiting_command_says_that_no_worker_is_running() {
    let place = Place::new();
    let mut submit = place.start(HELLO, "submit hello name=Ada --wait");
    let waits = submit.err_line(|line| line.contains("is ready"));
    assert!(waits.contains("no worker has taken its message; no other process is up: start a worker"), "{waits}");
    let _worker = place.worker(HELLO);
    assert_eq!(submit.end().out, "hello Ada\n");
}

/// Regression test: a worker used to log neither failures nor retries.
#[test]
fn worker_logs_each_failure_and_when_it_retries() {
    let place = Place::new();
    let mut worker = place.worker(RETRIES);
    let id = place.run(RETRIES, "submit fetch page=a busy=9").ok();
    for attempt in 1..=3 {
        let line = worker.err_line(|line| line.contains("failed, retry in "));
        assert!(line.contains(id.trim()) && line.contains(&format!("attempt={attempt}")), "{line}");
        assert!(line.contains(&format!("error=the server was busy at attempt {attempt}")), "{line}");
    }
    let line = worker.err_line(|line| line.contains("failed") && !line.contains("retry in"));
    assert!(line.contains(id.trim()) && line.contains("attempt=4"), "{line}");
    worker.signal("TERM");
    worker.end();
}

#[test]
fn completions_are_those_of_the_program_and_contain_the_commands() {
    let script = Place::new().run(HELLO, "completions bash").ok();
    assert!(script.contains("submit") && script.contains("jobs"), "{script}");
    assert!(
        script.lines().any(|line| line.starts_with("    complete -F _hello ") && line.ends_with(" hello")),
        "{script}"
    );
}

#[test]
fn version_names_the_program_and_the_version_of_ork() {
    let version = Place::new().run(HELLO, "--version").ok();
    assert_eq!(version, format!("hello (ork {})\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn jobs_why_explains_what_a_job_waits_for() {
    let place = Place::new();
    let id = place.run(HELLO, "submit hello name=Ada --json").json()["id"].as_str().unwrap().to_owned();
    let output = place.run(HELLO, &format!("jobs why {id}")).ok();
    let end = ", not started: no worker has taken its message; no other process is up: start a worker\n";
    assert!(output.starts_with("hello is ready: submitted ") && output.ends_with(end), "{output}");
    let why = place.run(HELLO, &format!("jobs why {id} --json")).json();
    assert_eq!((&why["id"], &why["state"], &why["waits_for"]), (&json!(id), &json!("ready"), &json!("worker")));
    assert!(why["sentence"].as_str().unwrap().ends_with(end.trim_end()), "{why}");
    place.run(HELLO, &format!("jobs cancel {id}")).ok();
    let output = place.run(HELLO, &format!("jobs why {id}")).ok();
    assert!(output.starts_with("hello is cancelled: cancelled "), "{output}");
    place.run(HELLO, &format!("jobs why {}", ork::JobId::new())).fails(2, &["there is no job"]);
}

#[test]
fn jobs_that_ended_long_ago_are_removed() {
    let place = Place::new();
    place.run(HELLO, "run hello name=Ada").ok();
    assert_eq!(place.run(HELLO, "jobs prune --older-than 7d").ok(), "0 jobs removed\n");
    assert_eq!(place.run(HELLO, "jobs prune --older-than 0s --json").json(), json!({"removed": 1}));
    assert_eq!(place.run(HELLO, "jobs list --json").json(), json!([]));
    place.run(HELLO, "jobs prune --older-than soon").fails(2, &["--older-than"]);
    assert!(place.run_with(HELLO, "doctor", ("ORK_RETENTION", "7d")).ok().contains("7days"));
    let wrong = place.run_with(HELLO, "doctor", ("ORK_RETENTION", "1s"));
    wrong.fails(3, &["invalid value `1s` for `retention`: expected `never`, or a duration of at least `1m`"]);
}

/// Regression test: each of these commands printed no error and exited with code 0.
#[cfg(target_os = "linux")]
#[test]
fn a_full_output_is_an_error_and_a_closed_pipe_is_not() {
    let place = Place::new();
    let id = place.run(HELLO, "submit hello name=Ada").ok();
    place.run(HELLO, "run hello name=Bob").ok();
    let full = |args: &str| {
        let args: Vec<_> = args.split(' ').collect();
        let device = std::fs::File::options().write(true).open("/dev/full").unwrap();
        place.command(HELLO, &args).stdout(device).output().unwrap()
    };
    let list = "jobs list --limit 1 --json";
    for args in [
        "tasks",
        "tasks --json",
        "run hello name=Ada",
        list,
        "jobs list",
        "completions bash",
        "--help",
        "schema export",
    ] {
        let ended = full(args);
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(4), "`{args}`: {stderr}");
        assert!(stderr.contains("cannot write to standard output"), "`{args}`: {stderr}");
    }
    let done = place.run(HELLO, list).json()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(full(&format!("jobs output {done}")).status.code(), Some(4), "{id}");
    for args in [&["tasks"][..], &["completions", "bash"], &["jobs", "list"]] {
        let mut command = place.command(HELLO, args);
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
    }
}

/// Regression test: `submit` printed an id, and the job was lost when the command ended; with `--wait` it waited
/// forever.
#[test]
fn a_job_that_would_be_lost_with_the_command_is_not_submitted() {
    let place = Place::new();
    for args in ["submit hello name=Ada", "submit hello name=Ada --wait"] {
        let expected = [
            "ORK_STORE=memory: and ORK_BROKER=embedded",
            "lost when this command ends",
            "`run` runs it in this process",
        ];
        place.run_with(HELLO, args, ("ORK_STORE", "memory:")).fails(3, &expected);
    }
    assert_eq!(place.run_with(HELLO, "run hello name=Ada", ("ORK_STORE", "memory:")).ok(), "hello Ada\n");
}
