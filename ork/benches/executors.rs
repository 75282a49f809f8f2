//! Benchmark of one call of a Python task: on a warm interpreter, on a new one, from several callers at once, and with
//! a large input. It is compared to a Python that is started to print one line, and to a Python that echoes lines,
//! which is as fast as pipes are.
//!
//! `cargo bench -p ork --features workflow --bench executors`. It runs `python3`, or the program that `ORK_TEST_PYTHON`
//! names. The last line is one JSON object. `warm` is the time of a warm call over that of an echoed line, `cold` the
//! time of a call on a new interpreter over that of a started Python, and `cold_over_warm` the time of a cold call over
//! that of a warm one.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints figures, and stops at the first thing that is wrong"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ork::workflow::Form;
use ork::{Context, JobId};
use ork_executor::{Local, Settings};
use ork_ports::executor::{Call, CallObserver, Code, Executor as _, Instance, Program};
use ork_runtime::clock::system::SystemClock;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const TASK: &str = "def main(text: str):\n    return len(text)\n";

const ECHO: &str = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)";

struct Bench {
    local: Local,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn call(&self, file: &str, input: &Value) {
        let job = JobId::new();
        let (task, key) = ("bench".into(), job.to_string());
        let instance = Instance { job, root: job, task, workflow: None, attempt: 1, index: 0, count: 1, key };
        let program = Program::Python { file: file.into() };
        let code = Code { program, folder: self.folder.path().to_owned(), env: BTreeMap::new() };
        let (input, cancelled) = (input.to_string().into(), CancellationToken::new());
        let listener: Arc<dyn CallObserver> = Arc::new(Context::for_test());
        self.local
            .run(Call { code, input, form: Form::Whole, instance, timeout: None, cancelled }, listener)
            .await
            .unwrap();
    }
}

/// Returns the average time of `count` operations.
fn each(start: Instant, count: u32) -> Duration {
    start.elapsed() / count
}

fn echo(python: &str, count: u32) -> Duration {
    let mut command = Command::new(python);
    let mut child = command.args(["-c", ECHO]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut line = String::new();
    let mut start = Instant::now();
    for at in 0..=count {
        writeln!(to, "{at}").unwrap();
        from.read_line(&mut line).unwrap();
        if at == 0 {
            start = Instant::now();
        }
    }
    let each = each(start, count);
    drop(to);
    child.wait().unwrap();
    each
}

fn start_python(python: &str, count: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        assert!(Command::new(python).args(["-c", "print(1)"]).stdout(Stdio::null()).status().unwrap().success());
    }
    each(start, count)
}

async fn measure(python: &str) {
    let folder = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let settings =
        Settings { python: python.into(), interpreters: 4, scratch: scratch.path().into(), ..Settings::default() };
    let bench = Bench { local: Local::new(settings, Arc::new(SystemClock)), folder };
    let small = json!({ "text": "small" });
    let mut cold = Duration::ZERO;
    for at in 0..20 {
        // Each call has another file, and therefore another interpreter.
        let name = format!("cold{at}.py");
        std::fs::write(bench.folder.path().join(&name), TASK).unwrap();
        let start = Instant::now();
        bench.call(&name, &small).await;
        cold += start.elapsed() / 20;
    }
    std::fs::write(bench.folder.path().join("task.py"), TASK).unwrap();
    bench.call("task.py", &small).await;
    let start = Instant::now();
    for _ in 0..2_000 {
        bench.call("task.py", &small).await;
    }
    let warm = each(start, 2_000);
    let start = Instant::now();
    futures_util::future::join_all((0..2_000).map(|_| bench.call("task.py", &small))).await;
    let four = each(start, 2_000);
    let large = json!({ "text": "x".repeat(32 * 1024 * 1024) });
    let start = Instant::now();
    bench.call("task.py", &large).await;
    let large = start.elapsed();
    bench.local.shutdown().await;
    let (echo, spawn) = (echo(python, 2_000), start_python(python, 20));
    println!("a line echoed by Python           {echo:?}");
    println!("a call of a warm interpreter      {warm:?}");
    println!("the same, four interpreters       {four:?}");
    println!("a Python started for one line     {spawn:?}");
    println!("a call of a new interpreter       {cold:?}");
    println!("a call with 32 MiB of input       {large:?}");
    let ratio = |a: Duration, b: Duration| (a.as_secs_f64() / b.as_secs_f64() * 100.0).round() / 100.0;
    println!(
        "{}",
        json!({ "warm": ratio(warm, echo), "cold": ratio(cold, spawn), "cold_over_warm": ratio(cold, warm) })
    );
}

fn main() {
    let python = std::env::var("ORK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&python));
}
