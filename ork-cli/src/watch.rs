//! Follows a job or a workflow run until it has ended, in whichever process it runs. Used by `jobs watch`, `run`, and
//! the option `--wait`.

use std::process::ExitCode;
use std::time::Duration;

use super::progress::{self, Updates};
use super::signals::Signals;
use super::{Failure, Output, finish};
use ork_core::id::JobId;
use ork_core::workflow_run::RUN;
use ork_runtime::app::Ork;
use ork_runtime::client::{ClientError, WaitsFor};

/// The time after which a command that waits says what for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows a job until it has ended, and prints its outcome.
pub(super) async fn until_ended(ork: &Ork, id: JobId, updates: Updates, output: &Output) -> Result<ExitCode, Failure> {
    if ork.status(id).await?.task == RUN {
        let status = progress::run(ork, id, updates, output).await?;
        return finish::run(ork, &status, output).await;
    }
    // Nothing would be printed before the end, so the status need not be read.
    if updates == Updates::Each || output.is_interactive() {
        progress::job(ork, id, updates, output).await?;
    }
    finish::job(&ork.wait(id).await?, output)
}

/// Follows a job that other processes run until it has ended, and prints its outcome. While nothing runs, this prints
/// what the job waits for.
pub(super) async fn follow(ork: &Ork, id: JobId, updates: Updates, output: &Output) -> Result<ExitCode, Failure> {
    tokio::select! {
        ended = until_ended(ork, id, updates, output) => ended,
        error = explain(ork, id, output) => Err(error),
    }
}

/// Prints what the job waits for, if nothing runs: after two seconds, and whenever that has changed. Returns only if it
/// cannot be read.
async fn explain(ork: &Ork, id: JobId, output: &Output) -> Failure {
    let mut printed = None;
    loop {
        ork.clock().pause(PATIENCE).await;
        let why = match ork.why(id).await {
            Ok(why) => why,
            // The job has ended in the meantime, and was removed.
            Err(ClientError::JobNotFound { .. }) => continue,
            Err(error) => return error.into(),
        };
        let waits = match why.waits_for {
            WaitsFor::Broker | WaitsFor::Worker | WaitsFor::Permit | WaitsFor::Time | WaitsFor::Job => {
                Some(why.waits_for)
            }
            // Something runs, or the job has ended.
            _ => None,
        };
        if waits.is_some() && waits != printed {
            output.note(format_args!("job {id} is {}: {why}", why.state));
        }
        printed = waits;
    }
}

/// Waits for a job that other processes run. After a signal it stops waiting, and the job continues.
pub(super) async fn wait(ork: &Ork, id: JobId, signals: &mut Signals, output: &Output) -> Result<ExitCode, Failure> {
    output.note(format_args!("job {id}"));
    tokio::select! {
        ended = follow(ork, id, Updates::End, output) => ended,
        () = signals.next() => {
            output.note(format!("job {id} continues; `jobs watch {id}` follows it"));
            Ok(ExitCode::from(130))
        }
    }
}
