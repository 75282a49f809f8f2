//! `submit`: hand a job over to the workers, and wait for it if asked.

use std::process::ExitCode;
use std::time::Duration;

use super::input::Input;
use super::run::finish;
use super::signals::Signals;
use super::{Failure, Output};
use crate::app::{Ork, OrkBuilder};
use crate::client::ClientError;
use crate::engine::services::Terms;
use crate::id::JobId;
use crate::job::Unique;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task, or the file of a workflow
    #[arg(value_name = "TASK|FILE.yaml")]
    task: String,
    #[command(flatten)]
    input: Input,
    /// Wait for the result and print it
    #[arg(long)]
    wait: bool,
    /// Take this key: refused while another job has it that has not ended
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// Take the key over from a job that has had it for so long, such as 2h
    #[arg(long, value_name = "TIME", requires = "unique", value_parser = humantime::parse_duration)]
    stale_after: Option<Duration>,
    /// If another job has the key, print its id, or wait for it
    #[arg(long, requires = "unique")]
    or_join: bool,
    /// Begin when this job has ended, with all jobs below it
    #[arg(long, value_name = "ID")]
    after: Option<JobId>,
}

impl Args {
    fn terms(&self) -> Terms {
        let unique = |key: &String| Unique { key: key.as_str().into(), stale_after: self.stale_after };
        Terms { after: self.after, unique: self.unique.as_ref().map(unique), ..Terms::default() }
    }
}

pub(super) async fn submit(builder: OrkBuilder, args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let ork = builder.build().await?;
    let done = hand_over(&ork, &args, &mut signals, output).await;
    ork.shutdown().await;
    done
}

/// Hands a run of a workflow over.
#[cfg(feature = "workflow")]
async fn workflow(ork: &Ork, args: &Args, signals: &mut Signals, output: &Output) -> Result<ExitCode, Failure> {
    let parameters = args.input.parameters()?;
    let file =
        crate::app::workflows::check((ork.registry(), ork.executor()), args.task.as_ref(), Some(&parameters)).await?;
    let plan = super::workflow::plan(&file.workflow, file.checked, output)?;
    let id = match ork.submit_plan_on(&plan, args.terms()).await {
        Err(ClientError::Taken { by, .. }) if args.or_join => by,
        submitted => submitted?.id(),
    };
    if !args.wait {
        said(id, output);
        return Ok(ExitCode::SUCCESS);
    }
    output.note(format!("run {id}"));
    tokio::select! {
        status = super::progress::follow(ork, id, output) => super::run::finish_run(ork, &status?, &plan, output).await,
        () = signals.next() => {
            output.note(format!("run {id} goes on; `jobs watch {id}` follows it"));
            Ok(ExitCode::from(130))
        }
    }
}

fn said(id: JobId, output: &Output) {
    if output.is_json() {
        output.json(&serde_json::json!({ "id": id }));
    } else {
        output.line(id);
    }
}

async fn hand_over(ork: &Ork, args: &Args, signals: &mut Signals, output: &Output) -> Result<ExitCode, Failure> {
    let terms = args.terms();
    #[cfg(feature = "workflow")]
    if super::workflow::is_file(&args.task) {
        return workflow(ork, args, signals, output).await;
    }
    let body = args.input.read(ork.entry(&args.task)?)?;
    if args.wait && !ork.keeps_jobs() && terms.are_plain() {
        let result = tokio::select! {
            result = ork.submit_json_and_wait(&args.task, body) => result?,
            () = signals.next() => return Ok(ExitCode::from(130)),
        };
        output.result(result.get().as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let id = match ork.submit_json_on(&args.task, body, terms).await {
        Err(ClientError::Taken { by, .. }) if args.or_join => by,
        submitted => submitted?,
    };
    if !args.wait {
        said(id, output);
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
