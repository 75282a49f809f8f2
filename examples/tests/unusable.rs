//! Stores that are temporarily unusable or were written by a newer or a development version, full disks and read-only
//! file systems.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;
use support::{Place, exe};

const HELLO: &str = exe!("hello");

/// A place with a store in which one job has run.
fn used() -> Place {
    let place = Place::new();
    assert_eq!(place.run(HELLO, "run hello name=a").ok(), "hello a\n");
    place
}

fn connect(place: &Place) -> Connection {
    Connection::open(place.path().join(".ork/ork.db")).unwrap()
}

#[test]
fn a_locked_store_is_reported_and_works_again_later() {
    let place = used();
    let blocker = connect(&place);
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    for command in ["submit hello name=b", "run hello name=b"] {
        place.run(HELLO, command).fails(4, &["ork.db is locked: another program has kept a transaction open"]);
    }
    blocker.execute_batch("ROLLBACK").unwrap();
    assert_eq!(place.run(HELLO, "run hello name=c").ok(), "hello c\n");
}

#[test]
fn a_store_of_a_newer_version_is_not_changed() {
    let place = used();
    let version: i64 = connect(&place).pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    connect(&place).pragma_update(None, "user_version", 99).unwrap();
    for command in ["run hello name=b", "submit hello name=b", "worker", "jobs list"] {
        place.run(HELLO, command).fails(3, &["has schema version 99", "the newer version of ork that created it"]);
    }
    connect(&place).pragma_update(None, "user_version", version).unwrap();
    assert_eq!(place.run(HELLO, "jobs list --json").json().as_array().unwrap().len(), 1);
}

#[test]
fn a_store_of_a_development_version_is_rejected_with_exit_code_3() {
    let place = used();
    connect(&place).pragma_update(None, "application_id", 0x6f72_6b01).unwrap();
    for command in ["run hello name=b", "submit hello name=b", "worker", "jobs list"] {
        place.run(HELLO, command).fails(3, &["ork.db was made by a development version of ork before 0.1.0"]);
    }
}

#[test]
fn an_input_can_be_read_from_stdin() {
    let place = Place::new();
    let run = |input: &str| {
        let mut command = place.command(HELLO, &["run", "hello", "--input", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let well = run(r#"{"name": "Ada"}"#);
    assert_eq!((well.status.code(), &well.stdout[..]), (Some(0), &b"hello Ada\n"[..]), "{well:?}");
    for (input, expected) in [("", "not JSON"), (r#"{"name": 1}"#, "expected a string")] {
        let ended = run(input);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains(expected), "{ended:?}");
    }
}

/// Runs a script in a separate mount namespace, so that it can mount file systems that no other process sees. In
/// the script, `$0` is the program, and the working directory is that of the place. Returns `None` if mounting is not
/// allowed.
fn apart(place: &Place, script: &str) -> Option<Output> {
    let may = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !may.is_ok_and(|may| may.status.success()) {
        println!("skipped: only root with the right to mount can create such a file system");
        return None;
    }
    let mut command = place.command("unshare", &["-m", "sh", "-euc", script, HELLO]);
    Some(command.stdin(Stdio::null()).output().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_store_on_a_read_only_file_system_is_reported() {
    let place = used();
    let script = "mount --bind .ork .ork; mount -o remount,bind,ro .ork; exec \"$0\" run hello name=b";
    let Some(ended) = apart(&place, script) else { return };
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    let stderr = text(&ended.stderr);
    assert!(stderr.contains("ork.db") && stderr.contains("read-only"), "{stderr}");
    assert_eq!(place.run(HELLO, "run hello name=c").ok(), "hello c\n");
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let place = Place::new();
    place.write("large.json", format!(r#"{{"name": "{}"}}"#, "x".repeat(1_000_000)));
    place.write(".ork/keep", "");
    let script = "mount -t tmpfs -o size=1m tmpfs .ork
        \"$0\" run hello name=a
        if \"$0\" submit hello --input @large.json; then exit 50; else echo \"code $?\"; fi
        \"$0\" run hello name=b
        \"$0\" jobs list --json";
    let Some(ended) = apart(&place, script) else { return };
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let (out, err) = (text(&ended.stdout), text(&ended.stderr));
    assert!(out.starts_with("hello a\ncode 4\nhello b\n"), "{out}");
    assert!(err.contains("ork.db cannot grow: the disk is full"), "{err}");
    let jobs: serde_json::Value = serde_json::from_str(out.lines().nth(3).unwrap()).unwrap();
    assert_eq!(jobs.as_array().map(Vec::len), Some(2), "{out}");
}
