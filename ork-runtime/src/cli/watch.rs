//! A job or a run that is followed to its end, whoever works on it: `jobs watch`, `run`, and whatever takes `--wait`.

use std::process::ExitCode;

use super::signals::Signals;
use super::{Failure, Output, finish, progress};
use crate::app::Ork;
use crate::id::JobId;
use crate::workflow_run::RUN;

/// What is told of a job besides its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// How it stands, whenever that has changed.
    Each,
    /// Nothing but what a terminal shows, and how each task of a run has ended.
    End,
}

/// Follows a job to its end and prints what it has come to.
pub(super) async fn to_the_end(ork: &Ork, id: JobId, told: Told, output: &Output) -> Result<ExitCode, Failure> {
    if ork.status(id).await?.task == RUN {
        let status = progress::run(ork, id, told, output).await?;
        return finish::run(ork, &status, output).await;
    }
    // Who is told nothing need not look.
    if told == Told::Each || output.is_watched() {
        progress::job(ork, id, told, output).await?;
    }
    finish::job(&ork.wait(id).await?, output)
}

/// Waits for a job that others work on; it goes on when a signal ends the waiting.
pub(super) async fn wait(ork: &Ork, id: JobId, signals: &mut Signals, output: &Output) -> Result<ExitCode, Failure> {
    output.note(format_args!("job {id}"));
    tokio::select! {
        ended = to_the_end(ork, id, Told::End, output) => ended,
        () = signals.next() => {
            output.note(format!("job {id} goes on; `jobs watch {id}` follows it"));
            Ok(ExitCode::from(130))
        }
    }
}
