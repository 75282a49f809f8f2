//! A long job that reports its progress and stops when it is cancelled, and a program that watches it.
//!
//! Without arguments, this program demonstrates both: one climb is watched until it reaches the top, another one is
//! cancelled half-way. With arguments it is an ordinary ork program: `progress run climb steps=20` draws a progress
//! bar in a terminal.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt as _;
use ork::{CancelMode, ClientError, Context, Result, task};
use ork_examples::print_line;

/// Climbs a stair, one step after the other.
#[task]
async fn climb(steps: u32, context: Context) -> Result<String> {
    for step in 0..steps {
        context.report_progress(f64::from(step) * 100.0 / f64::from(steps), format!("step {step}"));
        tokio::select! {
            // A stand-in for the work of one step.
            () = tokio::time::sleep(Duration::from_millis(25)) => {}
            // A real task would clean up here. Its return value is ignored from now on.
            () = context.cancelled().cancelled() => {
                context.log(format!("turned back at step {step}"));
                return Err("turned back".into());
            }
        }
    }
    Ok(format!("on top after {steps} steps"))
}

async fn show() -> Result<(), Box<dyn std::error::Error>> {
    let ork = ork::builder().store("memory:").build().await?;
    ork.spawn_worker();

    let job = ork.submit(climb { steps: 20 }).await?;
    let mut progress = std::pin::pin!(job.watch());
    while let Some(status) = progress.next().await {
        let status = status?;
        let info = status.progress.as_ref().map_or("", |progress| progress.info.as_str());
        print_line(&format!("{} {:.0} % {info}", status.state, status.percent().unwrap_or(0.0)));
    }
    print_line(&job.result().await?);

    let job = ork.submit(climb { steps: 100_000 }).await?;
    let mut progress = std::pin::pin!(job.watch());
    while let Some(status) = progress.next().await {
        if status?.progress.is_some() {
            job.cancel(CancelMode::Immediate).await?;
            break;
        }
    }
    match job.result().await {
        Err(ClientError::Cancelled { .. }) => print_line("the second climb was cancelled"),
        other => print_line(&format!("unexpected: {other:?}")),
    }
    ork.shutdown().await;
    Ok(())
}

fn main() -> ExitCode {
    ork_examples::main(show())
}
