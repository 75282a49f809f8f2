//! Runs programs as processes in a temporary folder, with a deadline on every operation.

#![allow(dead_code, reason = "each test file uses its share")]

pub(crate) mod blocks;
pub(crate) mod clients;
pub(crate) mod meeting;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// The deadline of an operation; a process that exceeds it is stuck.
const DEADLINE: Duration = Duration::from_mins(2);

/// Returns the path of a built example.
macro_rules! exe {
    ($name:literal) => {
        env!(concat!("CARGO_BIN_EXE_", $name))
    };
}
pub(crate) use exe;

/// A temporary folder in which programs run; it also holds their store.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, and creates its parent folders.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Creates a command with these arguments. `ORK_*` variables of the environment are removed, so that all settings
    /// have their default.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, exe: &str, args: &[A]) -> Command {
        let mut command = Command::new(exe);
        command.args(args).current_dir(self.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ORK_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a program to its end. The arguments are split at spaces.
    pub(crate) fn run(&self, exe: &str, args: &str) -> Ended {
        let args: Vec<_> = args.split_whitespace().collect();
        Process::start(self.command(exe, &args)).end()
    }

    /// Runs a program to its end, with one environment variable set.
    pub(crate) fn run_with(&self, exe: &str, args: &str, (name, value): (&str, &str)) -> Ended {
        let args: Vec<_> = args.split_whitespace().collect();
        let mut command = self.command(exe, &args);
        Process::start({
            command.env(name, value);
            command
        })
        .end()
    }

    /// Starts a program and leaves it running.
    pub(crate) fn start(&self, exe: &str, args: &str) -> Process {
        let args: Vec<_> = args.split_whitespace().collect();
        Process::start(self.command(exe, &args))
    }

    /// Starts a worker, and waits until it is ready.
    pub(crate) fn worker(&self, exe: &str) -> Process {
        let mut worker = self.start(exe, "worker");
        worker.err_line(|line| line.contains("worker ready"));
        worker
    }
}

/// The exit code and the output of a program.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal killed the process.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Returns the standard output, and asserts that the exit code is 0.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Returns the standard output parsed as JSON, and asserts that the exit code is 0.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Asserts an exit code, phrases on stderr, and an empty standard output.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, expected: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for expected in expected {
            assert!(self.err.contains(expected), "no `{expected}` in:\n{}", self.err);
        }
        assert_eq!(self.out, "", "a failed program prints no result");
    }
}

/// A running program. It is killed when the value is dropped.
pub(crate) struct Process {
    pid: u32,
    out: Lines,
    err: Lines,
    code: Receiver<Option<i32>>,
    ended: bool,
}

struct Lines {
    receiver: Receiver<String>,
    seen: String,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver): (Sender<String>, _) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { receiver, seen: String::new() }
    }

    fn next(&mut self) -> Option<String> {
        let line = self.receiver.recv_timeout(DEADLINE).ok()?;
        self.seen.push_str(&line);
        self.seen.push('\n');
        Some(line)
    }
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        let pid = child.id();
        let (sender, code) = channel();
        thread::spawn(move || {
            let status = child.wait().unwrap();
            // The test may not have waited for the process.
            let _gone = sender.send(status.code());
        });
        Self { pid, out, err, code, ended: false }
    }

    /// Waits for a line on stderr that matches.
    #[track_caller]
    pub(crate) fn err_line(&mut self, is: impl Fn(&str) -> bool) -> String {
        while let Some(line) = self.err.next() {
            if is(&line) {
                return line;
            }
        }
        panic!("the line is missing; stderr:\n{}", self.err.seen);
    }

    /// Waits for a line on stdout that matches.
    #[track_caller]
    pub(crate) fn out_line(&mut self, is: impl Fn(&str) -> bool) -> String {
        while let Some(line) = self.out.next() {
            if is(&line) {
                return line;
            }
        }
        panic!("the line is missing; stdout:\n{}", self.out.seen);
    }

    /// Waits for a line of JSON on stdout that matches.
    #[track_caller]
    pub(crate) fn out_json(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        while let Some(line) = self.out.next() {
            let value: Value = serde_json::from_str(&line).unwrap();
            if is(&value) {
                return value;
            }
        }
        panic!("the line is missing; stdout:\n{}", self.out.seen);
    }

    /// Sends a signal, given by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    /// Waits until the process has ended.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let code = self.code.recv_timeout(DEADLINE).expect("the program should have ended");
        self.ended = true;
        while self.out.next().is_some() {}
        while self.err.next().is_some() {}
        let (out, err) = (std::mem::take(&mut self.out.seen), std::mem::take(&mut self.err.seen));
        Ended { code, out, err }
    }

    /// Kills the process with SIGKILL, like a power failure.
    pub(crate) fn kill(self) {
        self.signal("KILL");
        assert_eq!(self.end().code, None);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            self.signal("KILL");
        }
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(sent.success() || thread::panicking(), "signal {name} was not sent to {pid}");
}

/// Writes a source tree of `files` files, each in its own folder, and returns the JSON that `loc` prints for it.
pub(crate) fn tree(place: &Place, files: usize, lines: usize) -> Value {
    let (mut rust, mut python) = (0, 0);
    for file in 0..files {
        if file % 3 == 0 {
            place.write(&format!("tree/d{file}/a.py"), "# a comment\nprint(1)\n\n".repeat(lines));
            python += 1;
        } else {
            place.write(&format!("tree/d{file}/a.rs"), "// a comment\nfn f() {}\n\n".repeat(lines));
            rust += 1;
        }
    }
    let row = |language: &str, files: usize| {
        let each = files * lines;
        serde_json::json!({
            "language": language, "files": files, "lines": 3 * each, "code": each, "comments": each, "blanks": each,
        })
    };
    Value::Array(vec![row("Rust", rust), row("Python", python), row("total", files)])
}
