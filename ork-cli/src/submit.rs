//! The command `submit`: submits a job or a workflow run, and optionally waits for it.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::signals::Signals;
use super::work::{Work, WorkArgs};
use super::{Failure, Output, watch};
use ork_core::id::JobId;
use ork_core::job::UniqueKey;
use ork_runtime::app::{Ork, OrkBuilder};
use ork_runtime::client::ClientError;
use ork_runtime::client::SubmitOptions;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    work: WorkArgs,
    /// Wait for the result and print it
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    options: SubmitArgs,
}

/// The options of a submission.
#[derive(Debug, clap::Args)]
struct SubmitArgs {
    /// Hold this unique key until the job and its descendants end; fail if another job holds it
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// Cancel the holder of the key and take the key if it has not been active for this long, e.g. 2h; waiting does
    /// not count as activity
    #[arg(long, value_name = "DURATION", requires = "unique", value_parser = humantime::parse_duration)]
    stale_after: Option<Duration>,
    /// If another job holds the key, print its id or, with --wait, wait for it
    #[arg(long, requires = "unique")]
    or_existing: bool,
    /// Start after this job and its descendants have ended; may be repeated
    #[arg(long, value_name = "ID")]
    after: Vec<JobId>,
}

impl SubmitArgs {
    fn options(&self) -> SubmitOptions {
        let unique = |key: &String| UniqueKey { key: key.as_str().into(), stale_after: self.stale_after };
        SubmitOptions {
            after: self.after.clone(),
            unique: self.unique.as_ref().map(unique),
            ..SubmitOptions::default()
        }
    }
}

pub(super) async fn submit(builder: OrkBuilder, args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    check_outlives_command(&builder)?;
    let ork = builder.build().await?;
    let done = hand_over(&ork, args, &mut signals, output).await;
    ork.shutdown().await;
    done
}

/// Returns an error if the job would be lost when this command ends: with a store in memory and without a broker, no
/// other process can see it. Without a store and a broker no process can be built in the first place.
pub(super) fn check_outlives_command(builder: &OrkBuilder) -> Result<(), Failure> {
    let config = builder.resolve()?;
    if config.broker != "embedded" || config.store != "memory:" {
        return Ok(());
    }
    let (store, broker) = (&config.store, &config.broker);
    let message = format!(
        "no worker could see the job: with ORK_STORE={store} and ORK_BROKER={broker} it is lost when this command ends"
    );
    Err(Failure::config(message)
        .hint("`run` runs it in this process")
        .hint("for workers, set ORK_STORE to a store that processes share, e.g. sqlite:.ork/ork.db"))
}

async fn hand_over(ork: &Ork, args: Args, signals: &mut Signals, output: &Output) -> Result<ExitCode, Failure> {
    let Args { work, wait, options: submit_args } = args;
    let (work, options) = (Work::read(ork, work, output).await?, submit_args.options());
    if let (Work::Task { name, input }, true) = (&work, wait && !ork.has_store() && options.are_plain()) {
        let result = tokio::select! {
            result = ork.submit_json_for_result(name, input.clone()) => result?,
            () = signals.next() => return Ok(ExitCode::from(130)),
        };
        output.result(result.get().as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let id = match work.submit(ork, options).await {
        Err(ClientError::KeyTaken { by, .. }) if submit_args.or_existing => by,
        submitted => submitted?,
    };
    if wait {
        return watch::wait(ork, id, signals, output).await;
    }
    output.print_result(json!({ "id": id }), id);
    Ok(ExitCode::SUCCESS)
}
