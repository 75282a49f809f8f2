//! `submit`: hand a job over to the workers, and wait for it if asked.

use std::process::ExitCode;

use super::input::Input;
use super::run::finish;
use super::signals::Signals;
use super::{Failure, Output};
use crate::app::{Ork, OrkBuilder};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task
    task: String,
    #[command(flatten)]
    input: Input,
    /// Wait for the result and print it
    #[arg(long)]
    wait: bool,
}

pub(super) async fn submit(builder: OrkBuilder, args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let ork = builder.build().await?;
    let done = hand_over(&ork, &args, &mut signals, output).await;
    ork.shutdown().await;
    done
}

async fn hand_over(ork: &Ork, args: &Args, signals: &mut Signals, output: &Output) -> Result<ExitCode, Failure> {
    let body = args.input.read(ork.entry(&args.task)?)?;
    if args.wait && !ork.keeps_jobs() {
        let result = tokio::select! {
            result = ork.submit_json_and_wait(&args.task, body) => result?,
            () = signals.next() => return Ok(ExitCode::from(130)),
        };
        output.result(result.get().as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let id = ork.submit_json(&args.task, body).await?;
    if !args.wait {
        if output.is_json() {
            output.json(&serde_json::json!({ "id": id }));
        } else {
            output.line(id);
        }
        return Ok(ExitCode::SUCCESS);
    }
    output.note(format!("job {id}"));
    tokio::select! {
        outcome = ork.wait(id) => finish(&outcome?, output),
        () = signals.next() => {
            output.note(format!("job {id} goes on; `jobs watch {id}` follows it"));
            Ok(ExitCode::from(130))
        }
    }
}
