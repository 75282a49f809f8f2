//! A long job that says how far it is and stops when nobody wants it any more, and a program that follows it.
//!
//! Without arguments it shows both: one climb that is followed to the top, one that is cancelled half-way. With
//! arguments it is an ordinary program of ork: `progress run climb steps=20` draws a bar on a terminal.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt as _;
use ork::{ClientError, Context, Ork, Result, task};
use ork_examples::say;

/// Climbs a stair, one step after the other.
#[task]
async fn climb(steps: u32, context: Context) -> Result<String> {
    for step in 0..steps {
        context.progress(f64::from(step) * 100.0 / f64::from(steps), format!("step {step}"));
        tokio::select! {
            // The work of one step.
            () = tokio::time::sleep(Duration::from_millis(25)) => {}
            // Here a task would put away its tools. What it returns is not read any more.
            () = context.cancelled().cancelled() => {
                context.log(format!("turned back at step {step}"));
                return Err("turned back".into());
            }
        }
    }
    Ok(format!("on top after {steps} steps"))
}

async fn show() -> Result<(), Box<dyn std::error::Error>> {
    let ork = Ork::builder().store("memory:").build().await?;
    ork.start_worker();

    let job = ork.submit(climb { steps: 20 }).await?;
    let mut progress = std::pin::pin!(job.progress());
    while let Some(status) = progress.next().await {
        let status = status?;
        let info = status.progress.as_ref().map_or("", |progress| progress.info.as_str());
        say(&format!("{} {:.0} % {info}", status.state, status.percent().unwrap_or(0.0)));
    }
    say(&job.wait().await?);

    let job = ork.submit(climb { steps: 100_000 }).await?;
    let mut progress = std::pin::pin!(job.progress());
    while let Some(status) = progress.next().await {
        if status?.progress.is_some() {
            job.cancel().await?;
            break;
        }
    }
    match job.wait().await {
        Err(ClientError::Cancelled { .. }) => say("the second climb was cancelled"),
        other => say(&format!("unexpected: {other:?}")),
    }
    ork.shutdown().await;
    Ok(())
}

fn main() -> ExitCode {
    ork_examples::main(show())
}
