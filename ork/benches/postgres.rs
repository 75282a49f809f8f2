//! Benchmark of fan-out and fan-in over one `PostgreSQL` server: parts per second of one job, from the submission to
//! the result of the join, with 1, 2 and 4 worker processes. It is compared to a raw program that does the same row
//! operations with `UNNEST` in batches of 1,000.
//!
//! `cargo bench -p ork --features postgres --bench postgres [-- PARTS]` starts a private server with `fsync` on, and
//! otherwise with its default settings. Each measurement is made with the default `concurrency` and with 1,000, which
//! is the number of parts that a process runs at once, and so the most that one transaction can hold.
//!
//! The last line is one JSON object. `ratio` is ork's parts/s with one worker and the default `concurrency` over those
//! of the raw program, and `ratio_wide` the same with 1,000.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unused_async,
    clippy::needless_pass_by_value,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "a benchmark prints figures, and stops at the first thing that is wrong"
)]

mod nothing;
use ork_test_support::postgres;
mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use nothing::nothing_part;
use ork::Ork;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{Row as _, raw_sql};
use support::{now, rate, round};

async fn process(url: &str, concurrency: &str) -> Ork {
    let config = ork::Config::from(Some("/dev/null".as_ref()), []).unwrap();
    let builder = ork::builder().config(config).store(url);
    let builder = if concurrency == "default" { builder } else { builder.set("concurrency", concurrency) };
    builder.build().await.unwrap()
}

/// Runs a worker until its standard input ends.
async fn work(url: &str, concurrency: &str) {
    let ork = process(url, concurrency).await;
    ork.spawn_worker();
    println!("ready");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    ended.await.unwrap().unwrap();
    ork.shutdown().await;
}

fn worker(url: &str, concurrency: &str) -> Child {
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new(me);
    command.args(["--worker", url, concurrency]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut worker = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(worker.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    worker
}

/// Measures parts and commits per second of one job with this many workers.
async fn measure(server: &str, (workers, concurrency): (usize, &str), count: u64) -> serde_json::Value {
    let url = postgres::create(server).await;
    let mut children: Vec<_> = (0..workers).map(|_| worker(&url, concurrency)).collect();
    let ork = process(&url, concurrency).await;
    let start = now();
    let sum = ork.submit(nothing_part { count }).result().await.unwrap();
    let took = start.elapsed();
    assert_eq!(sum, count * count.saturating_sub(1) / 2);
    ork.shutdown().await;
    for child in &mut children {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    // The server adds the commits of a connection to its statistics when the connection ends.
    let commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let row = sqlx::query(commits).fetch_one(&mut postgres::connect(&url).await).await.unwrap();
    let commits: i64 = row.get(0);
    json!({
        "workers": workers,
        "concurrency": concurrency,
        "parts_per_s": round(rate(count, took)),
        "commits_per_s": round(rate(commits as u64, took)),
    })
}

async fn commit(connection: &mut PgConnection) {
    raw_sql("COMMIT").execute(connection).await.unwrap();
}

/// Runs the raw program, which does the row operations of ork by hand. Parts are inserted, read and marked as started
/// in a bitmap; they get their outputs and are marked as done in the bitmap; at the end they are read in order. One
/// connection, and 1,000 parts for each transaction; the commits that mark parts as started are not synchronous.
async fn raw(server: &str, count: u64) -> f64 {
    const BATCH: u64 = 1_000;
    let mut connection = postgres::connect(&postgres::create(server).await).await;
    let db = &mut connection;
    raw_sql(
        "CREATE TABLE part (job bigint, index bigint, input bytea, output bytea, PRIMARY KEY (job, index));
         CREATE TABLE shard (job bigint, number bigint, sets bytea NOT NULL, PRIMARY KEY (job, number)) WITH (fillfactor = 50);",
    )
    .execute(&mut *db)
    .await
    .unwrap();
    let mark = "INSERT INTO shard VALUES (1, $1, $2) ON CONFLICT (job, number) DO UPDATE SET sets = excluded.sets";
    let start = now();
    for first in (0..count).step_by(BATCH as usize) {
        let numbers: Vec<_> = (first..(first + BATCH).min(count)).map(|number| number as i64).collect();
        let inputs: Vec<_> = numbers.iter().map(|number| format!("{{\"number\":{number}}}").into_bytes()).collect();
        raw_sql("BEGIN").execute(&mut *db).await.unwrap();
        let insert = "INSERT INTO part (job, index, input) SELECT 1, * FROM unnest($1::bigint[], $2::bytea[])";
        sqlx::query(insert).bind(numbers).bind(inputs).execute(&mut *db).await.unwrap();
        commit(db).await;
    }
    for first in (0..count).step_by(BATCH as usize) {
        raw_sql("BEGIN; SET LOCAL synchronous_commit = off").execute(&mut *db).await.unwrap();
        let read = "SELECT index, input FROM part WHERE job = 1 AND index >= $1 AND index < $2";
        let rows = sqlx::query(read).bind(first as i64).bind((first + BATCH) as i64).fetch_all(&mut *db).await.unwrap();
        let (mut numbers, mut outputs) = (Vec::new(), Vec::new());
        for row in rows {
            let body: serde_json::Value = serde_json::from_slice(row.get(1)).unwrap();
            numbers.push(row.get::<i64, _>(0));
            outputs.push(body["number"].to_string().into_bytes());
        }
        let set = vec![0_u8; 64];
        sqlx::query(mark).bind((first >> 16) as i64).bind(&set).execute(&mut *db).await.unwrap();
        commit(db).await;
        raw_sql("BEGIN").execute(&mut *db).await.unwrap();
        let settle = "UPDATE part SET input = NULL, output = n.output FROM unnest($1::bigint[], $2::bytea[]) AS n (index, output) \
                      WHERE part.job = 1 AND part.index = n.index";
        sqlx::query(settle).bind(numbers).bind(outputs).execute(&mut *db).await.unwrap();
        sqlx::query(mark).bind((first >> 16) as i64).bind(&set).execute(&mut *db).await.unwrap();
        commit(db).await;
    }
    let mut sum = 0_u64;
    for first in (0..count).step_by(4_096) {
        let read = "SELECT output FROM part WHERE job = 1 AND index >= $1 AND index < $2 ORDER BY index";
        let rows = sqlx::query(read).bind(first as i64).bind((first + 4_096) as i64).fetch_all(&mut *db).await.unwrap();
        sum += rows.iter().map(|row| serde_json::from_slice::<u64>(row.get(0)).unwrap()).sum::<u64>();
    }
    assert_eq!(sum, count * count.saturating_sub(1) / 2);
    rate(count, start.elapsed())
}

#[tokio::main]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, url, concurrency] = args.as_slice()
        && flag == "--worker"
    {
        return work(url, concurrency).await;
    }
    let count = args.first().map_or(100_000, |arg| arg.parse().unwrap());
    let settings = ["fsync=on", "max_wal_size=4GB"].map(str::to_owned).to_vec();
    let private = postgres::Server::start_with(|_| settings);
    let server = private.url("postgres");
    let raw = raw(&server, count).await;
    println!("{count} parts of one job");
    println!("raw, one connection: {raw:>8.0} parts/s");
    let mut rows = Vec::new();
    let all = ["default", "1000"].into_iter().flat_map(|concurrency| [1, 2, 4].map(|workers| (workers, concurrency)));
    for (workers, concurrency) in all {
        let row = measure(&server, (workers, concurrency), count).await;
        let of = |key: &str| row[key].as_f64().unwrap();
        println!(
            "ork, {workers} workers, concurrency {concurrency:>7}: {:>8.0} parts/s, {:>6.0} commits/s",
            of("parts_per_s"),
            of("commits_per_s")
        );
        rows.push(row);
    }
    let ratio = |row: usize| round(rows[row]["parts_per_s"].as_f64().unwrap() / raw);
    let (ratio, wide) = (ratio(0), ratio(3));
    println!(
        "{}",
        json!({ "bench": "postgres", "ratio": ratio, "ratio_wide": wide, "parts": count, "raw_parts_per_s": round(raw), "rows": rows })
    );
}
