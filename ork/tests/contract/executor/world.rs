//! The setup of a test: an executor, a folder of files, and a listener that records the reports of calls.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ork::JobId;
use ork::workflow::Form;
use ork_core::clock::Clock;
use ork_executor::{Local, Settings};
use ork_ports::executor::{Call, CallObserver, Code, Executor as _, ExecutorError, Instance, Program, Signature};
use ork_runtime::clock::system::SystemClock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::clock::Manual;
use super::installed::python;

/// A time limit for each wait. It is reached only if something hangs, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// A call that runs concurrently with its test.
pub(crate) type Running = tokio::task::JoinHandle<Result<bytes::Bytes, ExecutorError>>;

/// A listener that records the reports of a call.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    lines: Mutex<Vec<String>>,
    news: Notify,
}

impl Recorder {
    fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
        self.news.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for the first line with this prefix, and returns the rest of it.
    pub(crate) async fn wait(&self, start: &str) -> String {
        let found = async {
            loop {
                let mut news = std::pin::pin!(self.news.notified());
                news.as_mut().enable();
                if let Some(rest) = self.all().iter().find_map(|line| line.strip_prefix(start)) {
                    return rest.to_owned();
                }
                news.await;
            }
        };
        within(found).await
    }

    /// Waits for the first line with this prefix, and returns the numbers after it.
    pub(crate) async fn pids(&self, start: &str) -> Vec<i32> {
        self.wait(start).await.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl CallObserver for Recorder {
    fn log(&self, level: Level, line: &str) {
        self.add(format!("{level} {line}"));
    }

    fn metric(&self, name: &str, value: f64, labels: &BTreeMap<String, String>) {
        self.add(format!("metric {name} {value} {labels:?}"));
    }

    fn progress(&self, percent: f64, info: &str) {
        self.add(format!("progress {percent} {info}"));
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.unwrap_or_else(|_| panic!("it takes too long"))
}

/// Returns settings for tests, with a short grace period.
pub(crate) fn settings(python: impl Into<PathBuf>, scratch: &Path) -> Settings {
    Settings {
        python: python.into(),
        interpreters: 2,
        grace: Duration::from_millis(50),
        scratch: scratch.to_owned(),
        ..Settings::default()
    }
}

pub(crate) struct World {
    pub(crate) local: Arc<Local>,
    pub(crate) folder: TempDir,
    pub(crate) scratch: TempDir,
    pub(crate) recorder: Arc<Recorder>,
}

impl World {
    /// Creates a world with Python. Returns `None` if Python is not installed and not required.
    pub(crate) fn new() -> Option<Self> {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Option<Self> {
        Some(Self::of(&python()?, Arc::new(SystemClock), change))
    }

    /// Creates a world in which time passes only when the test advances this clock.
    pub(crate) fn still(clock: &Arc<Manual>) -> Option<Self> {
        Some(Self::of(&python()?, Arc::<Manual>::clone(clock), |_| {}))
    }

    /// Creates a world without Python, for other programs only.
    pub(crate) fn without_python(change: impl FnOnce(&mut Settings)) -> Self {
        Self::of("python-that-is-not-there", Arc::new(SystemClock), change)
    }

    fn of(python: &str, clock: Arc<dyn Clock>, change: impl FnOnce(&mut Settings)) -> Self {
        let (folder, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut settings = settings(python, scratch.path());
        change(&mut settings);
        let local = Arc::new(Local::new(settings, clock));
        Self { local, folder, scratch, recorder: Arc::default() }
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn code(&self, program: Program) -> Code {
        Code { program, folder: self.folder.path().to_owned(), env: BTreeMap::new() }
    }

    pub(crate) fn call(&self, program: Program, input: &Value) -> Call {
        let (job, root) = (JobId::new(), JobId::new());
        let key = format!("{job}.1");
        let instance = Instance {
            job,
            root,
            task: "process".into(),
            workflow: Some("nightly".into()),
            attempt: 2,
            index: 1,
            count: 4,
            key,
        };
        let (input, cancelled) = (input.to_string().into(), CancellationToken::new());
        Call { code: self.code(program), input, form: Form::Whole, instance, timeout: None, cancelled }
    }

    pub(crate) fn python(&self, file: &str, input: &Value) -> Call {
        self.call(Program::Python { file: file.into() }, input)
    }

    pub(crate) fn program(&self, command: &[&str], input: &Value) -> Call {
        self.call(Program::Process { command: command.iter().map(|&word| word.into()).collect() }, input)
    }

    /// Makes a call and returns its output.
    pub(crate) async fn make(&self, call: Call) -> Result<Value, ExecutorError> {
        let listener = Arc::clone(&self.recorder);
        let output = within(self.local.run(call, listener)).await?;
        Ok(serde_json::from_slice(&output).unwrap())
    }

    /// Cancels a call once it has logged its process ids, and checks that none of these processes is left.
    pub(crate) async fn cancel_while_it_runs(&self, call: Call) {
        let cancelled = call.cancelled.clone();
        let running = self.start(call);
        let pids = self.recorder.pids("INFO pids ").await;
        cancelled.cancel();
        assert!(matches!(within(running).await.unwrap(), Err(ExecutorError::Interrupted)));
        wait_until_gone(&pids).await;
    }

    /// Starts a call and returns without waiting for it.
    pub(crate) fn start(&self, call: Call) -> Running {
        self.start_with_listener(call, &self.recorder)
    }

    /// Like [`World::start`], with another listener.
    pub(crate) fn start_with_listener(&self, call: Call, recorder: &Arc<Recorder>) -> Running {
        let (local, listener) = (Arc::clone(&self.local), Arc::clone(recorder));
        tokio::task::spawn(async move { local.run(call, listener).await })
    }

    /// Writes a Python file, calls its task, and returns the output.
    pub(crate) async fn run(&self, text: &str, input: Value) -> Result<Value, ExecutorError> {
        self.file("task.py", text);
        self.make(self.python("task.py", &input)).await
    }

    /// Writes a Python file, calls its task, and returns the message with which the call fails.
    pub(crate) async fn fails(&self, text: &str, input: Value) -> String {
        match self.run(text, input).await {
            Ok(output) => panic!("it returned {output}"),
            Err(error) => error.to_string(),
        }
    }

    pub(crate) async fn describe(&self, text: &str) -> Result<Arc<Signature>, ExecutorError> {
        self.file("task.py", text);
        within(self.local.describe(self.code(Program::Python { file: "task.py".into() }))).await
    }

    /// Shuts down the executor, and asserts that no interpreter and no file of ork is left.
    pub(crate) async fn end(self) {
        within(self.local.shutdown()).await;
        assert_eq!(self.local.interpreters(), 0);
        drop(self.local);
        let left: Vec<_> = self.scratch.path().read_dir().unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Returns whether a process is alive. A zombie is not.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']))
}

/// A handle that waits for the end of a process. Unlike a process id, it never refers to another process.
pub(crate) struct End(OwnedFd);

impl End {
    /// Returns `None` if the process is gone already.
    fn of(pid: i32) -> Option<Self> {
        match pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) {
            Ok(process) => Some(Self(process)),
            Err(Errno::SRCH) => None,
            Err(error) => panic!("process {pid} cannot be waited for: {error}"),
        }
    }

    /// Waits until the process has ended.
    async fn wait(self) {
        let long = Timespec { tv_sec: LONG.as_secs().try_into().unwrap(), tv_nsec: 0 };
        let wait = move || retry_on_intr(|| poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&long)));
        let ended = tokio::task::spawn_blocking(wait).await.unwrap().unwrap();
        assert_eq!(ended, 1, "it takes too long");
    }
}

/// Returns handles for those of the processes that still exist.
fn ends(pids: &[i32]) -> Vec<End> {
    pids.iter().filter_map(|pid| End::of(*pid)).collect()
}

/// Waits until none of these processes exists.
pub(crate) async fn wait_until_gone(pids: &[i32]) {
    for end in ends(pids) {
        end.wait().await;
    }
}

/// Returns the direct children of a process.
fn children(pid: u32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let pids = std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap();
        pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
    };
    threads.flat_map(of).collect()
}

/// Asserts that a message contains all of these texts.
#[track_caller]
pub(crate) fn assert_contains(message: &(impl Debug + ToString), expected: &[&str]) {
    let text = message.to_string();
    for word in expected {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// Starts an ignored test in another process, kills that process once it has printed the ids of its processes, and
/// waits until these are gone. Also asserts that no file of ork is left.
pub(crate) async fn killed(test: &str) {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]).env("TMPDIR", folder.path());
    let mut program = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let found = lines.find_map(|line| line.unwrap().strip_prefix("pids ").map(str::to_owned)).unwrap();
    let pids: Vec<i32> = found.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    let own = children(program.id());
    assert!(
        own.len() > 1 && pids.iter().any(|pid| own.contains(pid)),
        "{own:?}: the guard and its processes are expected"
    );
    let ends: Vec<_> = ends(&pids).into_iter().chain(ends(&own)).collect();
    program.kill().unwrap();
    program.wait().unwrap();
    for end in ends {
        end.wait().await;
    }
    // The guard ends last, after it has removed the package.
    assert_eq!(packages(folder.path()), 0);
}

/// Counts the copies of the Python package in the subfolders of a folder.
fn packages(folder: &Path) -> usize {
    let inside =
        |path: &Path| path.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let own = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("python-");
    inside(folder).iter().map(|path| inside(path).iter().filter(|path| own(path)).count()).sum()
}
