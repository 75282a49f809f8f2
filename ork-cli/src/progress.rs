//! Shows the progress of a job: a bar for its parts, and one line for each step of a workflow run.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::format::{name, printable};
use super::{Failure, Output};
use ork_core::id::JobId;
use ork_core::workflow_run::StepState;
use ork_runtime::app::Ork;
use ork_runtime::client::{Status, StepStatus};

/// The interval at which the running instances of steps are counted on a terminal.
const REFRESH: Duration = Duration::from_millis(200);

/// The updates that are printed about a job before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Updates {
    /// Each change of its status.
    Each,
    /// Only what a terminal shows, and how each step of a run ended.
    End,
}

/// Shows the progress of a job until it has ended.
pub(super) async fn job(ork: &Ork, id: JobId, updates: Updates, output: &Output) -> Result<(), Failure> {
    let bar = Bar::new(output);
    let mut last = None;
    let mut seen = std::pin::pin!(ork.watch(id));
    while let Some(status) = seen.next().await.transpose()? {
        bar.show(&status);
        match updates {
            Updates::Each if output.is_json() => output.json(&status),
            Updates::Each if !output.is_interactive() && last != Some(status.state) => {
                output.note(format_args!("{} {}", name(&status), status.state));
            }
            Updates::Each | Updates::End => {}
        }
        last = Some(status.state);
    }
    Ok(())
}

/// Shows the progress of a workflow run until it has ended.
pub(super) async fn run(ork: &Ork, id: JobId, updates: Updates, output: &Output) -> Result<Status, Failure> {
    let mut lines = Lines::new(output);
    let mut seen = std::pin::pin!(ork.watch(id));
    let mut last: Option<Status> = None;
    loop {
        let look = async {
            if output.is_interactive() && last.is_some() {
                ork.clock().pause(REFRESH).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            status = seen.next() => match status.transpose()? {
                Some(status) => {
                    if updates == Updates::Each && output.is_json() {
                        output.json(&status);
                    }
                    last = Some(status);
                }
                None => break,
            },
            () = look => {}
        }
        if let Some(status) = &last {
            lines.show(ork, status, output).await?;
            if status.state.is_final() {
                break;
            }
        }
    }
    lines.end();
    Ok(ork.status(id).await?)
}

/// A progress bar on a terminal; nothing elsewhere.
#[derive(Debug)]
struct Bar(ProgressBar);

impl Bar {
    fn new(output: &Output) -> Self {
        let target = if output.is_interactive() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(spinner());
        Self(bar)
    }

    fn show(&self, status: &Status) {
        let parts = &status.parts;
        let mut line = match &status.progress {
            Some(progress) if status.yielded == 0 => {
                format!("{} {:.0} % {}", name(status), progress.percent, progress.info)
            }
            _ => format!("{} {}", name(status), status.state),
        };
        if parts.failed > 0 {
            line = format!("{line}, {} failed", parts.failed);
        }
        match status.total {
            Some(total) if total > 0 => {
                self.0.set_style(with_length());
                self.0.set_length(total);
                self.0.set_position(parts.settled());
            }
            _ if status.yielded > 0 => {
                line = format!("{line}, {} of {} parts so far", parts.settled(), status.yielded);
            }
            _ => {}
        }
        self.0.set_message(line);
        self.0.tick();
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn with_length() -> ProgressStyle {
    let template = "{bar:30} {pos}/{len} {percent} % {per_sec} {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// One line for each step: kept up to date on a terminal, elsewhere a note when the step ends.
struct Lines {
    all: MultiProgress,
    bars: HashMap<String, ProgressBar>,
    reported: HashMap<String, StepState>,
}

impl Lines {
    fn new(output: &Output) -> Self {
        let target = if output.is_interactive() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { all: MultiProgress::with_draw_target(target), bars: HashMap::new(), reported: HashMap::new() }
    }

    async fn show(&mut self, ork: &Ork, status: &Status, output: &Output) -> Result<(), Failure> {
        for step in status.run.iter().flat_map(|run| &run.steps) {
            let before = self.reported.insert(step.name.clone(), step.state);
            if before == Some(step.state) && (step.state != StepState::Started || !output.is_interactive()) {
                continue;
            }
            let line = step_line(ork, step).await?;
            if output.is_interactive() {
                let bar = self.bars.entry(step.name.clone()).or_insert_with(|| {
                    let bar = self.all.add(ProgressBar::new_spinner());
                    bar.set_style(
                        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
                    );
                    bar
                });
                bar.set_message(line);
                bar.tick();
            } else if step.state.is_final() {
                output.note(line);
            }
        }
        Ok(())
    }

    fn end(&self) {
        // The lines stay on the screen, because they show how each step ended.
        self.bars.values().for_each(ProgressBar::abandon);
    }
}

/// Formats a step in one line: a mark, its name, its state and progress, how long it took, and why it failed.
async fn step_line(ork: &Ork, step: &StepStatus) -> Result<String, Failure> {
    let mark = match step.state {
        StepState::Waiting => "\u{b7}",
        StepState::Started => "\u{2026}",
        StepState::Succeeded => "\u{2713}",
        StepState::Failed => "\u{2717}",
        StepState::Cancelled | StepState::Skipped => "-",
    };
    let mut line = format!("{mark} {:<24} {}", step.name, step.state.as_str());
    if matches!(step.state, StepState::Waiting | StepState::Skipped) {
        return Ok(line);
    }
    let job = ork.status(step.job).await?;
    if job.yielded > 0 {
        let total = job.total.unwrap_or(job.yielded);
        line = format!("{line}, {} of {total}", job.parts.settled());
    }
    if job.parts.failed > 0 {
        line = format!("{line}, {} failed", job.parts.failed);
    }
    if let Some(progress) = job.progress.filter(|_| step.state == StepState::Started) {
        line = format!("{line}, {:.0} % {}", progress.percent, progress.info);
    }
    if let (Some(started), Some(ended)) = (job.started, job.ended) {
        let took = Duration::from_millis(u64::try_from((ended - started).as_millis()).unwrap_or(u64::MAX));
        line = format!("{line} in {}", humantime::format_duration(took));
    }
    if let Some(failure) = job.failure.filter(|_| step.state == StepState::Failed) {
        line = format!("{line}: {}", printable(failure.to_string().lines().next().unwrap_or_default()));
    }
    Ok(line)
}
