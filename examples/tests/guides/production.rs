//! Runs the commands of the guide for production. In the guide, `app` is the program of the reader; here it is the
//! example `retries`.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::support::blocks::{Block, blocks};
use super::support::{Ended, Place, Process, exe};
use super::{PRODUCTION, first_id, normal, prefix, services};

const APP: &str = exe!("retries");

/// The blocks of the guide with this info string, below this heading.
fn found(heading: &str, info: &str) -> Vec<Block> {
    let all = blocks(PRODUCTION).into_iter();
    let found: Vec<_> = all.filter(|block| block.heading == heading && block.info == info).collect();
    assert!(!found.is_empty(), "{heading}: {info}");
    found
}

fn only(heading: &str, info: &str) -> Block {
    let mut found = found(heading, info);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// A folder in which the program can be called by its name.
fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path().join("bin")).unwrap();
    symlink(APP, place.path().join("bin/app")).unwrap();
    place
}

fn shell(place: &Place, script: &str) -> Command {
    place.command("sh", &["-ec", &format!("exec 2>&1; PATH=$PWD/bin:$PATH; {script}")])
}

fn run(place: &Place, script: &str) -> Ended {
    Process::start(shell(place, script)).end()
}

#[track_caller]
fn prints(ended: &Ended, expected: &Block) {
    assert_eq!(normal(&ended.out), normal(&expected.text()), "{ended:?}");
}

/// Asserts that a job is stored and has not started.
#[track_caller]
fn is_ready(store: &str, place: &Place, id: &str) {
    let shown = place.run_with(APP, &format!("jobs show {id}"), ("ORK_STORE", store)).ok();
    assert!(shown.contains("state      ready"), "{shown}");
}

#[test]
fn every_block_is_tested() {
    let known = ["sh", "text", "toml", "rust,no_run"];
    let special = ["sh code 4", "sh schema", "sh ci", "sh sqlite", "sh postgres", "sh worker", "sh amqp"];
    for block in blocks(PRODUCTION) {
        assert!(known.contains(&block.info) || special.contains(&block.info), "{block:?}");
    }
    let n_commands = blocks(PRODUCTION).iter().filter(|block| block.info == "sh").count();
    assert_eq!(n_commands, 4, "retention, restore, watching, security");
}

#[test]
fn a_worker_without_its_broker_ends_with_exit_code_4() {
    let ended = run(&place(), &only("Deploying workers", "sh code 4").text());
    assert_eq!(ended.code, Some(4), "{ended:?}");
    prints(&ended, &only("Deploying workers", "text"));
}

#[test]
fn schemas_are_exported_and_compared_in_ci() {
    let place = place();
    let git = "git -c user.name=a -c user.email=a@example";
    run(&place, &only("Upgrading", "sh schema").text()).ok();
    run(&place, &format!("git init -q -b main; git add ork.schema.json; {git} commit -q -m one")).ok();
    let ci = only("Upgrading", "sh ci").text();
    run(&place, &ci).ok();
    // A program whose tasks differ fails.
    std::fs::remove_file(place.path().join("bin/app")).unwrap();
    symlink(exe!("hello"), place.path().join("bin/app")).unwrap();
    for line in ci.lines() {
        assert_eq!(run(&place, line).code, Some(1), "{line}");
    }
}

#[test]
fn old_jobs_are_removed() {
    let place = place();
    place.write("ork.toml", only("Retention", "toml").text());
    prints(&run(&place, &only("Retention", "sh").text()), &only("Retention", "text"));
    let settings = place.run(APP, "doctor --json").json();
    let retention = settings["settings"].as_array().unwrap().iter().find(|it| it["key"] == "retention").unwrap();
    assert_eq!(retention["value"], "30days");
}

/// Runs the command `sqlite3 FILE "SQL"`.
fn sqlite(place: &Place, block: &Block) {
    let [line] = block.lines[..] else { panic!("{block:?}") };
    let (file, sql) = line.strip_prefix("sqlite3 ").unwrap().split_once(' ').unwrap();
    let sql = sql.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
    let connection = rusqlite::Connection::open(place.path().join(file)).unwrap();
    let target = place.path().join("backup.db").display().to_string();
    connection.execute_batch(&sql.replace("backup.db", &target)).unwrap();
}

#[test]
fn a_backup_of_sqlite_is_restored() {
    let place = place();
    let open = place.run(APP, "submit fetch page=a busy=0").ok();
    let open = open.trim();
    // A worker of another program, which leaves this job alone.
    let other = place.worker(exe!("hello"));
    assert_eq!(place.run(exe!("hello"), "submit hello name=Ada --wait").ok(), "hello Ada\n");
    sqlite(&place, &only("Backup and restore", "sh sqlite"));
    let later = place.run(exe!("hello"), "submit hello name=Bob").ok();
    let worker = place.worker(APP);
    place.run(APP, &format!("jobs watch {open}")).ok();
    place.run(APP, &format!("jobs watch {}", later.trim())).ok();
    for worker in [other, worker] {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }

    run(&place, &only("Backup and restore", "sh").text()).ok();
    is_ready("sqlite:.ork/ork.db", &place, open);
    place.run(APP, &format!("jobs show {}", later.trim())).fails(2, &["there is no job"]);
    assert_eq!(place.run(APP, "jobs list --state succeeded --json").json().as_array().unwrap().len(), 1);
    let worker = place.worker(APP);
    assert_eq!(place.run(APP, &format!("jobs watch {open}")).ok(), "a, at attempt 1\n");
    drop(worker);
}

#[test]
fn a_backup_of_postgresql_is_restored() {
    let Some((_, url)) = services() else { return };
    let (server, _) = url.rsplit_once('/').unwrap();
    let restored = format!("restored_{}", uuid::Uuid::now_v7().simple());
    let place = place();
    let with = |store: &str, arguments: &str| place.run_with(APP, arguments, ("ORK_STORE", store));
    let open = with(&url, "submit fetch page=a busy=0").ok();
    for block in found("Backup and restore", "sh postgres") {
        let script = block.text().replace("postgres://ork:secret@127.0.0.1:5432/ork", &url);
        let script = script.replace("postgres://ork:secret@127.0.0.1:5432", server).replace("restored", &restored);
        run(&place, &script).ok();
    }
    let copy = format!("{server}/{restored}");
    let mut worker = place.command(APP, &["worker"]);
    let _worker = Process::start({
        worker.env("ORK_STORE", &copy);
        worker
    });
    assert_eq!(with(&copy, &format!("jobs watch {}", open.trim())).ok(), "a, at attempt 1\n");
    is_ready(&url, &place, open.trim());
}

#[test]
fn a_failed_job_is_found_and_run_again() {
    let place = place();
    place.run(APP, "run fetch page=a busy=9").fails(1, &["the server was busy at attempt 4"]);
    let id = place.run(APP, "jobs list").ok();
    let block = only("Watching", "sh").text().replace("ID", first_id(&id).unwrap());
    prints(&run(&place, &block), &only("Watching", "text"));

    // Without a shell in between, so that it is the worker that ends with this test.
    let script = only("Watching", "sh worker").text().replace("app ", "exec app ");
    let mut worker = Process::start(shell(&place, &script));
    let line = worker.out_json(|line| line["target"] == "ork::task");
    assert_eq!(line["fields"]["message"], "requesting a");
    for field in ["job", "task", "attempt"] {
        assert!(!line["fields"][field].is_null(), "{line}");
    }
}

#[test]
fn events_are_printed() {
    let Some((broker, _)) = services() else { return };
    let place = place();
    let prefix = prefix();
    let start = |script: &str| {
        let mut command = shell(&place, script);
        command.envs([("ORK_BROKER", broker), ("ORK_PREFIX", &prefix)]);
        Process::start(command)
    };
    let mut watch = start(&only("Watching", "sh amqp").text().replace("app ", "exec app "));
    watch.out_line(|line| line == "watching");
    let _worker = start("ORK_EVENTS=jobs exec app worker");
    start("ORK_EVENTS=jobs app submit fetch page=a busy=0").end().ok();
    watch.out_line(|line| line.contains("job.completed") && line.ends_with(" fetch"));
}

#[test]
fn passwords_are_not_printed() {
    let ended = run(&place(), &only("Security", "sh").text());
    prints(&ended, &only("Security", "text"));
    assert!(!ended.out.contains("s3cret"));
}
