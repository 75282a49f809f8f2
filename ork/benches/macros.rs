//! Benchmark of the compile time of `#[task]`, and the number of lines that a task expands to.
//!
//! Two crates of 200 functions each are rebuilt after a change of the file time. One has the functions with `#[task]`,
//! the other has them with the input types as structs and only the derives that such types need anyway.
//!
//! `cargo bench -p ork --bench macros [-- ROUNDS]`. The last line is one JSON object. `ratio` is the median
//! time with `#[task]` over the median time with the derives alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unused_async,
    clippy::disallowed_methods,
    missing_docs,
    dead_code,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::as_conversions,
    reason = "figures for people; the numbers are small"
)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::{median, now, round};

const TASKS: usize = 200;

/// Returns the source of the functions as tasks.
fn with_tasks() -> String {
    let mut source = "//! Generated: functions as tasks.\nuse ork::{Result, task};\n".to_owned();
    for n in 0..TASKS {
        writeln!(
            source,
            "/// Task {n}.\n#[task(retries = 3)]\nasync fn task_{n}(path: String, width: u32, names: Vec<String>) -> Result<u64> {{\n    \
             Ok(path.len() as u64 + u64::from(width) + names.len() as u64 + {n})\n}}"
        )
        .unwrap();
    }
    source
}

/// Returns the source of the functions without `#[task]`, each with a struct for its input. The struct has the derives
/// that are needed to send it.
fn with_derives() -> String {
    let mut source = "//! Generated: functions and derives.\nuse ork::Result;\nuse schemars::JsonSchema;\nuse serde::{Deserialize, Serialize};\n".to_owned();
    for n in 0..TASKS {
        writeln!(
            source,
            "/// Task {n}.\n#[derive(Debug, Serialize, Deserialize, JsonSchema)]\npub struct Task{n} {{\n    pub path: String,\n    pub width: u32,\n    \
             pub names: Vec<String>,\n}}\npub async fn task_{n}(path: String, width: u32, names: Vec<String>) -> Result<u64> {{\n    \
             Ok(path.len() as u64 + u64::from(width) + names.len() as u64 + {n})\n}}"
        )
        .unwrap();
    }
    source
}

struct Generated<'a> {
    folder: &'a Path,
    target: &'a Path,
    name: &'static str,
}

impl Generated<'_> {
    fn new<'a>(root: &'a Path, folder: &'a Path, target: &'a Path, name: &'static str, source: &str) -> Generated<'a> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
             ork = {{ path = {:?}, default-features = false }}\nschemars = \"1\"\n\
             serde = {{ version = \"1\", features = [\"derive\"] }}\n",
            package.display().to_string()
        );
        assert!(folder.starts_with(root));
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        // With the versions that this workspace was built with, no network is needed.
        fs::copy(package.join("../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        fs::write(folder.join("src/lib.rs"), source).unwrap();
        Generated { folder, target, name }
    }

    fn cargo(&self, args: &[&str]) -> String {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(args).args(["--offline", "--quiet"]).current_dir(self.folder);
        let output = cargo.env("CARGO_TARGET_DIR", self.target).env_remove("RUSTFLAGS").output().unwrap();
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Rebuilds the crate, but not its dependencies, and returns the time in seconds.
    fn rebuild(&self) -> f64 {
        let path = self.folder.join("src/lib.rs");
        let source = fs::read(&path).unwrap();
        fs::write(&path, source).unwrap();
        let start = now();
        self.cargo(&["build"]);
        start.elapsed().as_secs_f64()
    }
}

/// Counts the lines of a case of the expansion tests. These tests keep the case up to date.
fn lines(case: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ork-derive-tests/tests/expand").join(case);
    fs::read_to_string(path).unwrap().lines().filter(|line| !line.trim().is_empty()).count()
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(5_usize);
    let root = tempfile::tempdir().unwrap();
    let [tasks, derives, target] = ["tasks", "derives", "target"].map(|name| root.path().join(name));
    let tasks = Generated::new(root.path(), &tasks, &target, "with-tasks", &with_tasks());
    let derives = Generated::new(root.path(), &derives, &target, "with-derives", &with_derives());
    println!("building the dependencies once");
    let programs = [&tasks, &derives];
    for program in programs {
        program.cargo(&["build"]);
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (program, times) in programs.iter().zip(&mut times) {
            times.push(program.rebuild());
        }
    }
    let [with_tasks, with_derives] = times.map(median);
    println!(
        "{TASKS} tasks: {with_tasks:.2} s; the same types with their derives: {with_derives:.2} s (medians of {rounds})"
    );
    let added = lines("whole.expanded.rs") - lines("whole.rs");
    println!("a task with two inputs adds {added} lines");
    let line = json!({
        "bench": "macros",
        "ratio": round(with_tasks / with_derives),
        "tasks": TASKS,
        "tasks_s": round(with_tasks),
        "derives_s": round(with_derives),
        "lines_per_task": added,
    });
    println!("{line}");
}
