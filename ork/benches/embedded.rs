//! Benchmark of fan-out and fan-in in one process: parts per second, from the submission to the result of the join.
//!
//! It compares ork over `SQLite` (`synchronous=FULL`) and in memory to a raw `SQLite` program that does the same row
//! operations in batches of 1,000. It also measures ork over `SQLite` with a concurrency limit that is never reached,
//! and with four such limits, one for each value of a key.
//!
//! `cargo bench -p ork --bench embedded [-- SIZE ..]`. Sizes are numbers of parts; the default is 1,000 to
//! 1,000,000. The last line is one JSON object, with ratios at 10^5 parts: `ratio` is ork's rate over that of the raw
//! program, `limited` the rate with the limit over the rate without one, and `keyed` the same for limits by key.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unused_async,
    clippy::needless_pass_by_value,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a benchmark prints figures, and stops at the first thing that is wrong"
)]

mod nothing;
mod support;

use std::process::Command;

use nothing::{keyed_part, limited_part, nothing_part};
use rusqlite::{Connection, params};
use serde_json::json;
use support::{now, peak_mib, rate, round};

/// Makes one measurement. Each runs in a separate process, so that the peak memory is that of the measurement alone.
fn measure(what: &str, count: u64) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.db");
    let start = now();
    match what {
        "raw" => raw(&path, count),
        "memory" => ork("memory:", count, what),
        _ => ork(&format!("sqlite:{}", path.display()), count, what),
    }
    let took = start.elapsed();
    json!({ "parts_per_s": round(rate(count, took)), "peak_mib": round(peak_mib()) })
}

fn ork(store: &str, count: u64, what: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = ork::Config::from(Some("/dev/null".as_ref()), []).unwrap();
        let ork = ork::builder().config(config).store(store).build().await.unwrap();
        ork.spawn_worker();
        let sum = match what {
            "limited" => ork.submit(limited_part { count }).result().await.unwrap(),
            "keyed" => ork.submit(keyed_part { count }).result().await.unwrap(),
            _ => ork.submit(nothing_part { count }).result().await.unwrap(),
        };
        assert_eq!(sum, count * count.saturating_sub(1) / 2);
        ork.shutdown().await;
    });
}

/// Runs the raw program, which does the row operations of ork by hand. Parts are inserted, read and marked as started
/// in a bitmap; they get their outputs and are marked as done in the bitmap; at the end they are read in order. One
/// thread, 1,000 parts for each transaction, and statements that are prepared once.
fn raw(path: &std::path::Path, count: u64) {
    const BATCH: u64 = 1_000;
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 4096;
         CREATE TABLE part (id INTEGER PRIMARY KEY, input BLOB, output BLOB);
         CREATE TABLE shard (id INTEGER PRIMARY KEY, sets BLOB NOT NULL);",
    )
    .unwrap();
    let mut insert = db.prepare("INSERT INTO part (id, input) VALUES (?1, ?2)").unwrap();
    let mut read = db.prepare("SELECT id, input FROM part WHERE id BETWEEN ?1 AND ?2").unwrap();
    let mut shard = db.prepare("INSERT OR REPLACE INTO shard VALUES (?1, ?2)").unwrap();
    let mut settle = db.prepare("UPDATE part SET input = NULL, output = ?2 WHERE id = ?1").unwrap();
    let begin = || db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commit = || db.execute_batch("COMMIT").unwrap();
    for first in (0..count).step_by(BATCH as usize) {
        begin();
        for number in first..(first + BATCH).min(count) {
            insert.execute(params![number as i64, format!("{{\"number\":{number}}}").as_bytes()]).unwrap();
        }
        commit();
    }
    for first in (0..count).step_by(BATCH as usize) {
        let last = (first + BATCH).min(count) - 1;
        begin();
        let mut inputs = read.query(params![first as i64, last as i64]).unwrap();
        let mut outputs = Vec::new();
        while let Some(row) = inputs.next().unwrap() {
            let body: serde_json::Value = serde_json::from_slice(row.get_ref(1).unwrap().as_blob().unwrap()).unwrap();
            outputs.push((row.get::<_, i64>(0).unwrap(), body["number"].to_string()));
        }
        drop(inputs);
        shard.execute(params![(first >> 16) as i64, vec![0_u8; 64]]).unwrap();
        commit();
        begin();
        for (id, output) in outputs {
            settle.execute(params![id, output.as_bytes()]).unwrap();
        }
        shard.execute(params![(first >> 16) as i64, vec![0_u8; 64]]).unwrap();
        commit();
    }
    let mut all = db.prepare("SELECT output FROM part ORDER BY id").unwrap();
    let mut rows = all.query([]).unwrap();
    let mut sum = 0_u64;
    while let Some(row) = rows.next().unwrap() {
        sum += serde_json::from_slice::<u64>(row.get_ref(0).unwrap().as_blob().unwrap()).unwrap();
    }
    assert_eq!(sum, count * count.saturating_sub(1) / 2);
}

fn child(what: &str, count: u64) -> serde_json::Value {
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me).args(["--measure", what, &count.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, what, count] = args.as_slice()
        && flag == "--measure"
    {
        println!("{}", measure(what, count.parse().unwrap()));
        return;
    }
    let mut sizes: Vec<u64> = args.iter().map(|arg| arg.parse().expect("a number of parts")).collect();
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000, 100_000, 1_000_000];
    }
    println!(
        "{:>9}  {:>22}  {:>22}  {:>22}  {:>22}  {:>22}  {:>6}  {:>7}  {:>5}",
        "parts",
        "raw sqlite",
        "ork sqlite",
        "with a limit",
        "with limits by key",
        "ork memory",
        "ratio",
        "limited",
        "keyed"
    );
    let mut rows = Vec::new();
    let (mut ratio, mut limited_ratio, mut keyed_ratio) = (0.0, 0.0, 0.0);
    for count in sizes {
        let names = ["raw", "sqlite", "limited", "keyed", "memory"];
        let [raw, sqlite, limited, keyed, memory] = names.map(|what| child(what, count));
        let of = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap();
        let show = |value: &serde_json::Value| {
            format!("{:>8.0}/s {:>6.0} MiB", of(value, "parts_per_s"), of(value, "peak_mib"))
        };
        let this = of(&sqlite, "parts_per_s") / of(&raw, "parts_per_s");
        let [with_limit, with_keys] = [&limited, &keyed].map(|it| of(it, "parts_per_s") / of(&sqlite, "parts_per_s"));
        let shown = [&raw, &sqlite, &limited, &keyed, &memory].map(|value| format!("  {:>22}", show(value))).concat();
        println!("{count:>9}{shown}  {this:>6.2}  {with_limit:>7.2}  {with_keys:>5.2}");
        if ratio == 0.0 || count == 100_000 {
            (ratio, limited_ratio, keyed_ratio) = (this, with_limit, with_keys);
        }
        rows.push(json!({
            "parts": count, "raw": raw, "sqlite": sqlite, "limited": limited, "keyed": keyed, "memory": memory,
            "ratio": round(this), "limited_ratio": round(with_limit), "keyed_ratio": round(with_keys),
        }));
    }
    let [ratio, limited, keyed] = [ratio, limited_ratio, keyed_ratio].map(round);
    println!("{}", json!({ "bench": "embedded", "ratio": ratio, "limited": limited, "keyed": keyed, "rows": rows }));
}
