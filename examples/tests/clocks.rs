//! Two real workers over PostgreSQL, the clock of one of which is 40 seconds ahead.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the server's share that other tests use")]

#[path = "../../ork-runtime/tests/support/postgres.rs"]
mod postgres;
mod support;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::Command;

use sqlx::Row as _;
use support::{Place, Process, exe};

const FLOWS: &str = exe!("flows");

/// A workflow of one program, which notes that it was called and runs until it is told to end.
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

/// The library that shows a process another time; `None` if it is not installed and not required.
fn library() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = found.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    assert!(
        found.is_some() || !required().contains("postgres"),
        "libfaketime is not installed: run `.ci/services install`"
    );
    found
}

/// Waits until two processes have each written two more signs of life than their first one.
async fn both_beat(url: &str) {
    let mut connection = postgres::connect(url).await;
    let mut seen: HashMap<String, HashSet<i64>> = HashMap::new();
    while seen.values().filter(|signs| signs.len() > 2).count() < 2 {
        let rows = sqlx::query("SELECT boot::text, until FROM ork.worker").fetch_all(&mut connection).await.unwrap();
        for row in rows {
            seen.entry(row.get(0)).or_default().insert(row.get(1));
        }
    }
}

/// Fails on the code before: the worker whose clock is ahead takes the other one for dead, and calls the task once more.
#[test]
fn worker_whose_clock_is_ahead_says_so_and_leaves_the_others_their_work() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (Some(url), Some(library)) = (runtime.block_on(postgres::database()), library()) else { return };
    let place = Place::new();
    place.write("slow.yaml", SLOW.replace("PATH", &place.path().display().to_string()));
    let ork = |args: &[&str]| {
        let mut command: Command = place.command(FLOWS, args);
        command.env("ORK_STORE", &url);
        command
    };
    let mut right = Process::start(ork(&["worker"]));
    right.err_line(|line| line.contains("worker ready"));
    let job = Process::start(ork(&["submit", "slow.yaml"])).end().ok();
    let calls = || std::fs::read_to_string(place.path().join("calls")).unwrap_or_default().lines().count();
    while calls() == 0 {
        // The program is in another process, and has no other sign.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut ahead = ork(&["worker"]);
    ahead.env("LD_PRELOAD", library).env("FAKETIME", "+40s").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut ahead = Process::start(ahead);
    let warning = ahead.err_line(|line| line.contains("the clock of this computer"));
    assert!(warning.contains("is 40 s ahead of the clock of the store"), "{warning}");
    ahead.err_line(|line| line.contains("worker ready"));
    // By its own clock the second one would have found the first one dead.
    runtime.block_on(both_beat(&url));
    place.write("go", "");
    let shown = Process::start(ork(&["jobs", "watch", job.trim()])).end();
    assert_eq!((shown.code, calls()), (Some(0), 1), "{shown:?}");
    for worker in [ahead, right] {
        worker.signal("TERM");
        assert_eq!(worker.end().code, Some(0));
    }
}
