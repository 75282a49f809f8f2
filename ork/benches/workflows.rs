//! Benchmark of workflows in one process: instances per second of a fan-out step, from the submission to the end of the
//! workflow run.
//!
//! The step fans out by a number, by a list, and by a number with a measurement recorded by each instance. It is
//! compared to a plain job with as many parts, over `SQLite` and `PostgreSQL`. A Python step with up to 100,000
//! instances is compared to a Python that echoes as many lines.
//!
//! `cargo bench -p ork --features postgres,workflow --bench workflows [-- SIZE ..]`. Sizes are numbers of instances;
//! the default is 1,000 to 100,000. The benchmark starts a private `PostgreSQL` server with `fsync` on. It runs
//! `python3`, or the program that `ORK_TEST_PYTHON` names.
//!
//! The last line is one JSON object. `counted`, `listed` and `recorded` are instances/s over the parts/s of the plain
//! job, at the largest size over `SQLite`. `python` is instances/s of the Python step over echoed lines/s. `growth` is
//! the time per instance of a fan-out by a number at the largest size, over that at the smallest size of at least
//! 10,000.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unused_async,
    clippy::needless_pass_by_value,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::as_conversions,
    reason = "a benchmark prints figures, and stops at the first thing that is wrong"
)]

mod nothing;
use ork_test_support::postgres;
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use nothing::nothing_part;
use ork::workflow::{Count, FanOut, Plan, Reference, Runs, Source, Step};
use ork::{Context, JobState, task};
use serde_json::{Value, json};
use support::{now, peak_mib, rate, round};

#[task]
async fn flow_list(n: u64) -> Vec<u64> {
    (0..n).collect()
}

/// A task with many instances, which returns the index of its instance.
#[task]
async fn flow_counted(context: Context) -> u64 {
    context.parallel_index()
}

/// A task with many instances, which returns its item.
#[task]
async fn flow_listed(item: u64) -> u64 {
    item
}

/// A task with many instances, each of which records a measurement.
#[task]
async fn flow_recorded(context: Context) -> u64 {
    context.metrics().record("index", 1.0, &[]);
    context.parallel_index()
}

#[task]
async fn flow_sum(all: Vec<u64>) -> u64 {
    all.into_iter().sum()
}

const PYTHON: &str = "def main(item: int) -> int:\n    return item\n";

/// A workflow of three steps: a list of `n` numbers, a step that fans out, and the sum of its outputs.
fn plan(many: Runs, fan_out: FanOut, n: u64, folder: &std::path::Path) -> Plan {
    let rust = |task: &str| Runs::Rust { task: task.into() };
    let whole = |step| Reference { step, path: Vec::new() };
    let mut list = Step::new("list", rust("flow_list"));
    list.input.insert("n".into(), Source::Value(json!(n)));
    let many = Step { needs: vec![0], fan_out: Some(fan_out), ..Step::new("many", many) };
    let mut sum = Step { needs: vec![1], ..Step::new("sum", rust("flow_sum")) };
    sum.input.insert("all".into(), Source::Output(whole(1)));
    Plan { name: "bench".into(), folder: folder.to_str().map(Into::into), steps: vec![list, many, sum] }
}

/// Makes one measurement. Each runs in a separate process, so that the peak memory is that of the measurement alone.
async fn measure(what: &str, store: &str, count: u64) -> Value {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("task.py"), PYTHON).unwrap();
    let store = store.replace("FOLDER", folder.path().to_str().unwrap());
    let config = ork::Config::from(Some("/dev/null".as_ref()), []).unwrap();
    let ork = ork::builder().config(config).store(&store).set("python", python()).build().await.unwrap();
    ork.spawn_worker();
    let expected = count * count.saturating_sub(1) / 2;
    let start = now();
    if what == "plain" {
        assert_eq!(ork.submit(nothing_part { count }).result().await.unwrap(), expected);
    } else {
        let by_number = FanOut { foreach: None, parallel: Some(Count::Fixed(count)) };
        let by_list = FanOut { foreach: Some(Reference { step: 0, path: Vec::new() }), parallel: None };
        let rust = |task: &str| Runs::Rust { task: task.into() };
        let (many, fan_out, listed) = match what {
            "counted" => (rust("flow_counted"), by_number, 1),
            "recorded" => (rust("flow_recorded"), by_number, 1),
            "listed" => (rust("flow_listed"), by_list, count),
            _ => (Runs::Python { file: "task.py".into() }, by_list, count),
        };
        let run = ork.workflows().submit(&plan(many, fan_out, listed, folder.path())).await.unwrap();
        let outcome = run.wait().await.unwrap();
        assert_eq!(outcome.status().state, JobState::Succeeded, "{outcome:?}");
        assert_eq!(ork.workflows().step_output(run.id(), "sum").await.unwrap(), Some(json!(expected)));
    }
    let took = start.elapsed();
    ork.shutdown().await;
    json!({ "per_s": round(rate(count, took)), "peak_mib": round(peak_mib()) })
}

fn python() -> String {
    std::env::var("ORK_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// Returns how many lines per second a Python process echoes.
fn echo(count: u64) -> f64 {
    let code = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)";
    let mut child = Command::new(python())
        .args(["-c", code])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let (mut to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut line = String::new();
    let start = now();
    for at in 0..count {
        writeln!(to, "{at}").unwrap();
        from.read_line(&mut line).unwrap();
    }
    let took = start.elapsed();
    drop(to);
    child.wait().unwrap();
    rate(count, took)
}

fn child(what: &str, store: &str, count: u64) -> Value {
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me).args(["--measure", what, store, &count.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn per_s(value: &Value) -> f64 {
    value["per_s"].as_f64().unwrap()
}

#[tokio::main]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, what, store, count] = args.as_slice()
        && flag == "--measure"
    {
        println!("{}", measure(what, store, count.parse().unwrap()).await);
        return;
    }
    let mut sizes: Vec<u64> = args.iter().map(|arg| arg.parse().expect("a number of instances")).collect();
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000, 100_000];
    }
    let names = ["plain", "counted", "listed", "recorded"];
    let server = postgres::Server::start_with(|_| ["fsync=on", "max_wal_size=4GB"].map(str::to_owned).to_vec());
    println!("instances a second, and the largest memory of the process");
    println!("{:>10} {:>10}{}", "", "instances", names.map(|what| format!("{what:>22}")).concat());
    let mut rows = Vec::new();
    for store in ["sqlite", "postgres"] {
        for count in &sizes {
            let mut row = json!({ "store": store, "instances": count });
            print!("{store:>10} {count:>10}");
            for what in names {
                let url = match store {
                    "sqlite" => "sqlite:FOLDER/bench.db".to_owned(),
                    _ => postgres::create(&server.url("postgres")).await,
                };
                row[what] = child(what, &url, *count);
                print!("{:>11.0}/s {:>5.0} MiB", per_s(&row[what]), row[what]["peak_mib"].as_f64().unwrap());
            }
            println!();
            rows.push(row);
        }
    }
    println!("{:>10} {:>10}{:>22}{:>22}", "python", "instances", "echoed lines", "workflow");
    let mut pythons = Vec::new();
    for count in sizes.iter().filter(|count| **count <= 100_000) {
        let (echo, flow) = (echo(*count), child("python", "sqlite:FOLDER/bench.db", *count));
        println!("{:>10} {count:>10}{echo:>20.0}/s{:>20.0}/s", "", per_s(&flow));
        pythons.push(json!({ "instances": count, "echo_per_s": round(echo), "workflow": flow }));
    }
    let largest = &rows[sizes.len() - 1];
    let of = |what: &str| round(per_s(&largest[what]) / per_s(&largest["plain"]));
    let small = rows.iter().find(|row| row["instances"].as_u64() >= Some(10_000)).unwrap_or(largest);
    let python = pythons.last().map(|last| round(per_s(&last["workflow"]) / last["echo_per_s"].as_f64().unwrap()));
    println!(
        "{}",
        json!({
            "bench": "workflows", "counted": of("counted"), "listed": of("listed"), "recorded": of("recorded"),
            "python": python,
            "growth": round(per_s(&small["counted"]) / per_s(&largest["counted"])),
            "rows": rows, "pythons": pythons,
        })
    );
}
