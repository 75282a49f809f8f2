//! Two worker processes on PostgreSQL, of which one has a clock that is 40 seconds ahead.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "other tests use the rest of it")]

use ork_test_support::postgres;
mod support;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::Command;

use sqlx::Row as _;
use support::{Place, Process, exe};

const WORKFLOWS: &str = exe!("workflows");

/// A workflow with one program, which records each call in a file and runs until the file `go` exists.
const SLOW: &str = "\
tasks:
  slow:
    executor: process
    command: [sh, -c, 'echo called >> $PLACE/calls; while [ ! -e $PLACE/go ]; do sleep 0.1; done']
    env:
      PLACE: PATH
";

#[expect(clippy::disallowed_methods, reason = "the tests' own switches are no configuration of ork")]
fn required() -> String {
    std::env::var("ORK_TEST_REQUIRE").unwrap_or_default()
}

/// Returns the libfaketime library, which changes the clock of a process; `None` if it is neither installed nor
/// required.
fn library() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = found.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    assert!(
        found.is_some() || !required().contains("postgres"),
        "libfaketime is not installed: run `.ci/services install`"
    );
    found
}

/// Waits until each of two processes has written at least two more heartbeats after its first one.
async fn both_beat(url: &str) {
    let mut connection = postgres::connect(url).await;
    let mut seen: HashMap<String, HashSet<i64>> = HashMap::new();
    while seen.values().filter(|signs| signs.len() > 2).count() < 2 {
        let rows =
            sqlx::query("SELECT boot::text, expires_at FROM ork.process").fetch_all(&mut connection).await.unwrap();
        for row in rows {
            seen.entry(row.get(0)).or_default().insert(row.get(1));
        }
    }
}

/// Regression test: the worker whose clock is ahead presumed the other one dead, and called the task a second time.
#[test]
fn worker_with_a_fast_clock_warns_and_takes_no_work_from_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (Some(url), Some(library)) = (runtime.block_on(postgres::database()), library()) else { return };
    let place = Place::new();
    place.write("slow.yaml", SLOW.replace("PATH", &place.path().display().to_string()));
    let ork = |args: &[&str]| {
        let mut command: Command = place.command(WORKFLOWS, args);
        command.env("ORK_STORE", &url);
        command
    };
    let mut right = Process::start(ork(&["worker"]));
    right.err_line(|line| line.contains("worker ready"));
    let job = Process::start(ork(&["submit", "slow.yaml"])).end().ok();
    let calls = || std::fs::read_to_string(place.path().join("calls")).unwrap_or_default().lines().count();
    while calls() == 0 {
        // The program runs in another process, so that polling the file is the only way to see the call.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut ahead = ork(&["worker"]);
    ahead.env("LD_PRELOAD", library).env("FAKETIME", "+40s").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut ahead = Process::start(ahead);
    let warning = ahead.err_line(|line| line.contains("the clock of this computer"));
    assert!(warning.contains("is 40 s ahead of the clock of the store"), "{warning}");
    ahead.err_line(|line| line.contains("worker ready"));
    // With its own clock alone, the second worker would have presumed the first one dead before this point.
    runtime.block_on(both_beat(&url));
    place.write("go", "");
    let shown = Process::start(ork(&["jobs", "watch", job.trim()])).end();
    assert_eq!((shown.code, calls()), (Some(0), 1), "{shown:?}");
    for worker in [ahead, right] {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }
}
