//! A big job that submits small jobs as its children. Only one big job runs at a time, one of the small jobs is
//! invalid, and a report follows when the whole tree has ended.
//!
//! Without arguments, this program demonstrates all of that. With arguments it is an ordinary ork program: run
//! `big_job worker`, then `big_job submit big_job small_jobs='["a","b"]' --unique big_job` and
//! `big_job jobs tree ID`.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt as _;
use ork::{ClientError, Context, Error, Result, task};
use ork_examples::print_line;

/// Submits the small jobs: all of them are in the store before the first one starts.
#[task]
async fn big_job(small_jobs: Vec<String>, context: Context) -> Result<String> {
    let n = small_jobs.len();
    for data in small_jobs {
        context.submit(small_job { data }).await?;
    }
    Ok(format!("{n} small jobs submitted"))
}

/// Runs one small job, if its data are valid.
#[task]
async fn small_job(data: String) -> Result<String> {
    if data.contains('!') {
        return Err(Error::permanent(format!("invalid data: {data:?}")));
    }
    // A stand-in for the real work.
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(data.to_uppercase())
}

/// Follows the big job.
#[task]
fn report(title: String) -> String {
    title + ": reported"
}

async fn show() -> Result<(), Box<dyn std::error::Error>> {
    let ork = ork::builder().store("memory:").build().await?;
    let small_jobs = ["one", "two!", "three"].map(str::to_owned).to_vec();
    let big = ork.submit(big_job { small_jobs }).unique("big_job").await?;
    let report = ork.submit(report { title: "big job".into() }).after(big.id()).await?;

    // Only one job at a time can hold a unique key.
    match ork.submit(big_job { small_jobs: Vec::new() }).unique("big_job").await {
        Err(ClientError::KeyTaken { by, .. }) if by == big.id() => print_line("a second big job was refused"),
        other => print_line(&format!("unexpected: {other:?}")),
    }

    ork.spawn_worker();
    let mut progress = std::pin::pin!(big.watch());
    let mut last = None;
    while let Some(status) = progress.next().await {
        let status = status?;
        if last.replace(status.state) != Some(status.state) {
            print_line(&format!("big job {}", status.state));
        }
    }
    for (depth, job) in ork.tree(big.id()).await? {
        let why = job.failure.map(|failure| format!(": {failure}")).unwrap_or_default();
        print_line(&format!("{}{} {}{why}", "  ".repeat(depth), job.task, job.state));
    }
    print_line(&report.result().await?);
    ork.shutdown().await;
    Ok(())
}

fn main() -> ExitCode {
    ork_examples::main(show())
}
