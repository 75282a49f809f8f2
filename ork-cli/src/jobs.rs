//! The commands below `jobs`: list, show, parts, metrics, why, watch, tree, cancel, retry, output, prune.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::format::{brief, name, settled};
use super::progress::Updates;
use super::signals::Signals;
use super::{Failure, Output, events, metrics, outputs, parts, show, tree, watch};
use ork_core::id::JobId;
use ork_core::job::State;
use ork_core::tree::CancelMode;
use ork_ports::store::Filter;
use ork_runtime::app::{Ork, OrkBuilder};
use ork_runtime::client::Status;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List jobs, newest first
    List {
        /// Only jobs in this state; may be repeated: ready, running, retrying, waiting, succeeded, failed, cancelled
        #[arg(long)]
        state: Vec<String>,
        /// Only jobs of this task
        #[arg(long)]
        task: Option<String>,
        /// Only this job and its descendants
        #[arg(long)]
        root: Option<JobId>,
        /// Only jobs submitted within this time, e.g. 2h or 7d
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        since: Option<Duration>,
        /// Only jobs older than this one, e.g. the last one of the previous page
        #[arg(long)]
        before: Option<JobId>,
        /// Maximum number of jobs to list
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show the details of a job
    Show {
        /// The id of the job
        id: JobId,
        /// Maximum number of unsuccessful parts to show
        #[arg(long, default_value_t = 10)]
        parts: usize,
    },
    /// List the parts of a job with their states, attempts and progress
    Parts(parts::Page),
    /// List the metrics of a job and its descendants
    Metrics {
        /// The id of the job
        id: JobId,
    },
    /// Explain what a job is waiting for
    Why {
        /// The id of the job
        id: JobId,
    },
    /// Follow a job until it ends and print its result, or print events
    Watch {
        /// The id of the job; may be left out with --events, to follow all jobs
        #[arg(required_unless_present = "events")]
        id: Option<JobId>,
        /// Print the events of the job and its descendants, one per line
        #[arg(long)]
        events: bool,
    },
    /// Show a job and its descendants as a tree
    Tree {
        /// The id of the job
        id: JobId,
    },
    /// Cancel a job and its descendants; running work is stopped
    Cancel {
        /// The id of the job
        id: JobId,
        /// Let running work finish
        #[arg(long)]
        finish_running: bool,
    },
    /// Retry what did not succeed, or resend the message of a job that lost it
    Retry {
        /// The id of the job
        id: JobId,
        /// Retry only this part, then run the join again
        #[arg(long, value_name = "INDEX")]
        part: Option<u64>,
        /// Wait for the result and print it
        #[arg(long)]
        wait: bool,
    },
    /// Print the output of a job, a workflow run or a task of a run, as JSON
    Output {
        /// A job id, or RUN.STEP for a step of a run; for a run, prints the outputs of its final steps
        #[arg(value_name = "ID|RUN.STEP")]
        target: outputs::OutputTarget,
    },
    /// Remove jobs that ended long ago, with their parts and descendants
    Prune {
        /// Minimum time since the job ended, e.g. 7d or 12h
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        older_than: Duration,
    },
}

pub(super) async fn jobs(builder: OrkBuilder, command: Command, output: &Output) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let ork = builder.build().await?;
    let done = match command {
        Command::Retry { id, part, wait: true } => match retry(&ork, id, part).await {
            Ok(()) => watch::wait(&ork, id, &mut signals, output).await,
            Err(error) => Err(error),
        },
        command => tokio::select! {
            done = command_of(&ork, command, output) => done,
            () = signals.next() => Ok(ExitCode::from(130)),
        },
    };
    ork.shutdown().await;
    done
}

async fn command_of(ork: &Ork, command: Command, output: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::List { state, task, root, since, before, limit } => {
            let states = state.iter().map(|word| known_state(word)).collect::<Result<_, _>>()?;
            let since = since.map(|since| ork.clock().now() - since);
            list(&ork.jobs(Filter { states, task, parent: None, root, since, before, limit }).await?, output);
        }
        Command::Tree { id } => tree::tree(&ork.tree(id).await?, output),
        Command::Show { id, parts } => show::show(ork, id, parts, output).await?,
        Command::Parts(page) => parts::parts(ork, page, output).await?,
        Command::Metrics { id } => metrics::metrics(ork, id, output).await?,
        Command::Why { id } => {
            let why = ork.why(id).await?;
            output.print_result(&why, format_args!("{} is {}: {why}", name(&ork.status(id).await?), why.state));
        }
        Command::Watch { id, events: true } => events::watch(ork, id, output).await?,
        Command::Watch { id: Some(id), events: false } => {
            return watch::follow(ork, id, Updates::Each, output).await;
        }
        Command::Watch { id: None, events: false } => {}
        Command::Cancel { id, finish_running: false } => {
            ork.cancel(id, CancelMode::Immediate).await?;
            print_done(output, id, "cancelled");
        }
        Command::Cancel { id, finish_running: true } => {
            ork.cancel(id, CancelMode::Graceful).await?;
            print_done(output, id, "cancelled gracefully");
        }
        Command::Retry { id, part, .. } => {
            retry(ork, id, part).await?;
            print_done(output, id, "retried");
        }
        Command::Output { target } => outputs::output(ork, target, output).await?,
        Command::Prune { older_than } => {
            let n = ork.prune(older_than).await?;
            output.print_result(json!({ "removed": n }), format_args!("{n} jobs removed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(ork: &Ork, id: JobId, part: Option<u64>) -> Result<(), Failure> {
    match part {
        None => ork.retry(id).await?,
        Some(index) => ork.retry_part(id, index).await?,
    }
    Ok(())
}

fn known_state(word: &str) -> Result<State, Failure> {
    State::from_word(word).ok_or_else(|| {
        let known: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
        Failure::user(format!("unknown state `{word}`: expected one of {}", known.join(", ")))
    })
}

fn print_done(output: &Output, id: JobId, verb: &str) {
    output.print_result(json!({ "id": id, "done": verb }), format_args!("job {id} {verb}"));
}

fn list(jobs: &[Status], output: &Output) {
    let row = |job: &Status| {
        let parts = settled(job);
        let why = brief(job.failure.as_ref());
        vec![job.id.to_string(), name(job), job.state.to_string(), parts, job.created.to_string(), why]
    };
    output.list(jobs, "no jobs", &["id", "task", "state", "parts", "submitted", "error"], row);
}
