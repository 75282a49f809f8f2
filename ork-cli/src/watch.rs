//! Follows a job or a workflow run until it has ended, in whichever process it runs. Used by `jobs watch`, `run`, and
//! the option `--wait`.

use std::process::ExitCode;

use super::progress::{self, Updates};
use super::signals::Signals;
use super::{Failure, Output, finish};
use ork_core::id::JobId;
use ork_core::workflow_run::RUN;
use ork_runtime::app::Ork;

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

/// Waits for a job that other processes run. After a signal it stops waiting, and the job continues.
pub(super) async fn wait(ork: &Ork, id: JobId, signals: &mut Signals, output: &Output) -> Result<ExitCode, Failure> {
    output.note(format_args!("job {id}"));
    tokio::select! {
        ended = until_ended(ork, id, Updates::End, output) => ended,
        () = signals.next() => {
            output.note(format!("job {id} continues; `jobs watch {id}` follows it"));
            Ok(ExitCode::from(130))
        }
    }
}
