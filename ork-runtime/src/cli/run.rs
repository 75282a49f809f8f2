//! `run`: a task here, to its end, with its result on stdout.

use std::process::ExitCode;

use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::input::Input;
use super::output::printable;
use super::signals::Signals;
use super::{Failure, Output};
use crate::app::OrkBuilder;
use crate::client::Status;
use crate::engine::services::Terms;
use crate::job::State;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task, or the file of a workflow
    #[arg(value_name = "TASK|FILE.yaml")]
    task: String,
    #[command(flatten)]
    input: Input,
}

pub(super) async fn run(builder: OrkBuilder, args: Args, output: &Output) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let mut builder = builder.broker("embedded");
    // What runs here to its end needs a memory, and leaves no more of a trace than was asked for.
    if builder.resolve()?.store == "none" {
        builder = builder.store("memory:");
    }
    let ork = builder.build().await?;
    #[cfg(feature = "workflow")]
    if super::workflow::is_file(&args.task) {
        let ended = workflow(&ork, &args, &mut signals, output).await;
        ork.shutdown().await;
        return ended;
    }
    let submitted = async {
        let body = args.input.read(ork.entry(&args.task)?)?;
        Ok::<_, Failure>(ork.submit_json_on(&args.task, body, at_once()).await?)
    };
    let id = match submitted.await {
        Ok(id) => id,
        Err(failure) => {
            ork.shutdown().await;
            return Err(failure);
        }
    };
    ork.start_worker();
    let bar = Bar::new(output);
    let mut progress = std::pin::pin!(ork.follow(id));
    let failed = ork.failed();
    let ended = loop {
        tokio::select! {
            status = progress.next() => match status {
                Some(Ok(status)) => {
                    bar.show(&status);
                    if status.state.is_final() {
                        break Ok(true);
                    }
                }
                Some(Err(error)) => break Err(Failure::from(error)),
                None => break Ok(true),
            },
            () = signals.next() => break Ok(false),
            () = failed.cancelled() => {
                break Err(Failure::internal("the worker stopped", "the log says why"));
            }
        }
    };
    bar.end();
    let outcome = match ended {
        Ok(true) => ork.wait(id).await.map_err(Failure::from),
        Ok(false) => {
            output
                .note(format!("interrupted; job {id} goes on when a worker starts, or with `jobs cancel {id}` never"));
            ork.force_stop();
            ork.shutdown().await;
            return Ok(ExitCode::from(130));
        }
        Err(failure) => Err(failure),
    };
    ork.shutdown().await;
    finish(&outcome?, output)
}

/// What is run here goes before what is left in the store of earlier runs.
fn at_once() -> Terms {
    Terms { first: true, ..Terms::default() }
}

/// Runs a workflow to its end.
#[cfg(feature = "workflow")]
async fn workflow(ork: &crate::Ork, args: &Args, signals: &mut Signals, output: &Output) -> Result<ExitCode, Failure> {
    let parameters = args.input.parameters()?;
    let file =
        crate::app::workflows::check((ork.registry(), ork.executor()), args.task.as_ref(), Some(&parameters)).await?;
    let plan = super::workflow::plan(&file.workflow, file.checked, output)?;
    let run = ork.submit_plan_on(&plan, at_once()).await?;
    ork.start_worker();
    let failed = ork.failed();
    let status = tokio::select! {
        status = super::progress::follow(ork, run.id(), output) => status?,
        () = failed.cancelled() => return Err(Failure::internal("the worker stopped", "the log says why")),
        () = signals.next() => {
            let id = run.id();
            output.note(format!("interrupted; run {id} goes on when a worker starts, or with `jobs cancel {id}` never"));
            ork.force_stop();
            return Ok(ExitCode::from(130));
        }
    };
    finish_run(ork, &status, &plan, output).await
}

/// Prints what a run has come to.
#[cfg(feature = "workflow")]
pub(super) async fn finish_run(
    ork: &crate::Ork,
    status: &Status,
    plan: &ork_workflow::Plan,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let result = super::progress::result(ork, status.id, plan).await?;
    if output.is_json() {
        output.json(&super::progress::report(status, &result));
    }
    if status.state != State::Success {
        return Err(not_well(status));
    }
    if !output.is_json() {
        output.result(&serde_json::to_vec(&result).unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

fn not_well(status: &Status) -> Failure {
    let id = status.id;
    let why = status.failure.as_ref().map_or_else(|| "it was cancelled".into(), |why| printable(&why.to_string()));
    Failure::job(format!("job {id} ({}) {}: {why}", status.task, status.state))
        .hint(format!("`jobs show {id}` says more; `jobs retry {id}` tries what did not succeed again"))
}

/// Prints the outcome of a job.
pub(super) fn finish(outcome: &crate::JobOutcome, output: &Output) -> Result<ExitCode, Failure> {
    let status = outcome.status();
    match (status.state, outcome.output()) {
        (State::Success, Some(json)) => output.result(json),
        // A job with parts and without a join has no result but how they ended.
        (State::Success, None) if output.is_json() => output.json(&status.parts),
        (State::Success, None) => {
            output.line(format!("{} of {} parts ok", status.parts.ok, status.parts.settled()));
        }
        _ => return Err(not_well(status)),
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar on a terminal, nothing elsewhere.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(output: &Output) -> Self {
        let target = if output.is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(spinner());
        Self(bar)
    }

    pub(super) fn show(&self, status: &Status) {
        let parts = &status.parts;
        let mut words = match &status.progress {
            Some(progress) if status.yielded == 0 => {
                format!("{} {:.0} % {}", status.task, progress.percent, progress.info)
            }
            _ => format!("{} {}", status.task, status.state),
        };
        if parts.failed > 0 {
            words = format!("{words}, {} failed", parts.failed);
        }
        match status.total {
            Some(total) if total > 0 => {
                self.0.set_style(with_length());
                self.0.set_length(total);
                self.0.set_position(parts.settled());
            }
            _ if status.yielded > 0 => {
                words = format!("{words}, {} of {} parts so far", parts.settled(), status.yielded);
            }
            _ => {}
        }
        self.0.set_message(words);
        self.0.tick();
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn with_length() -> ProgressStyle {
    let template = "{bar:30} {pos}/{len} {percent} % {per_sec} {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
