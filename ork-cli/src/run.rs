//! The command `run`: runs a task or a workflow in this process to its end, and prints the result.

use std::process::ExitCode;

use super::progress::Updates;
use super::signals::Signals;
use super::watch;
use super::work::{Work, WorkArgs};
use super::{Failure, Output};
use ork_runtime::app::{Ork, OrkBuilder};
use ork_runtime::client::SubmitOptions;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    work: WorkArgs,
}

pub(super) async fn run(builder: OrkBuilder, args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let mut builder = builder.broker("embedded");
    // An embedded process needs a store, and without one configured nothing may be left behind.
    if builder.resolve()?.store == "none" {
        builder = builder.store("memory:");
    }
    let ork = builder.build().await?;
    let ended = run_to_end(&ork, args.work, &mut signals, output).await;
    ork.shutdown().await;
    ended
}

async fn run_to_end(
    ork: &Ork,
    work_args: WorkArgs,
    signals: &mut Signals,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let work = Work::read(ork, work_args, output).await?;
    // With the highest priority, so that it goes before the jobs that earlier runs have left in the store.
    let id = work.submit(ork, SubmitOptions { first: true, ..SubmitOptions::default() }).await?;
    ork.spawn_worker();
    let failed = ork.failed();
    tokio::select! {
        ended = watch::until_ended(ork, id, Updates::End, output) => ended,
        () = failed.cancelled() => Err(Failure::internal("the worker stopped", "a service failed; see the log")),
        () = signals.next() => {
            output.note(format!("interrupted; job {id} continues when a worker starts; `jobs cancel {id}` cancels it"));
            ork.worker().kill();
            Ok(ExitCode::from(130))
        }
    }
}
