//! `jobs`: list, show, parts, metrics, why, tree, watch, cancel, retry, prune.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use futures_util::StreamExt as _;

use super::output::printable;
use super::run::{Bar, finish};
use super::signals::Signals;
use super::{Failure, Output};
use crate::app::{Ork, OrkBuilder};
use crate::client::Status;
use crate::id::JobId;
use crate::job::State;
use crate::ledger::PartState;
use crate::store::{Filter, PartFilter, PartStatus};
use crate::worker::retention::earlier;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List jobs, newest first
    List {
        /// Only in this state: ready, running, retrying, waiting, success, failed, cancelled
        #[arg(long)]
        state: Vec<String>,
        /// Only of this task
        #[arg(long)]
        task: Option<String>,
        /// Only this job and those below it
        #[arg(long)]
        root: Option<JobId>,
        /// Only submitted so long ago at most, such as 2h or 7d
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        since: Option<Duration>,
        /// Only older than this job: the last one of the page before
        #[arg(long)]
        before: Option<JobId>,
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show one job
    Show {
        /// Its id
        id: JobId,
        /// Show this many of its parts that did not succeed
        #[arg(long, default_value_t = 10)]
        parts: usize,
    },
    /// List the parts of a job, in order, each with its state, attempts and progress
    Parts(super::parts::Page),
    /// List what a job and all jobs below it have recorded
    Metrics {
        /// Its id
        id: JobId,
    },
    /// Say what a job is waiting for
    Why {
        /// Its id
        id: JobId,
    },
    /// Follow a job to its end and print its result, or follow what happens
    Watch {
        /// Its id; without one `--events` follows all jobs
        #[arg(required_unless_present = "events")]
        id: Option<JobId>,
        /// Print what happens to it and to the jobs below it, a line each
        #[arg(long)]
        events: bool,
    },
    /// Draw a job and all jobs below it, with their states
    Tree {
        /// Its id
        id: JobId,
    },
    /// Cancel a job and all jobs below it: nothing of them starts any more, and what runs is stopped
    Cancel {
        /// Its id
        id: JobId,
        /// Bring to its end what has begun
        #[arg(long)]
        finish_running: bool,
    },
    /// Try again what did not succeed in a job that failed or was cancelled
    Retry {
        /// Its id
        id: JobId,
        /// Only this part of it, and its join
        #[arg(long, value_name = "INDEX")]
        part: Option<u64>,
    },
    /// Remove jobs that ended long ago, with their parts and the jobs below them
    Prune {
        /// How long ago, such as 7d or 12h
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        older_than: Duration,
    },
}

pub(super) async fn jobs(builder: OrkBuilder, command: Command, output: &Output) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let ork = builder.build().await?;
    let done = tokio::select! {
        done = command_of(&ork, command, output) => done,
        () = signals.next() => Ok(ExitCode::from(130)),
    };
    ork.shutdown().await;
    done
}

async fn command_of(ork: &Ork, command: Command, output: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::List { state, task, root, since, before, limit } => {
            let states = state.iter().map(|word| known_state(word)).collect::<Result<_, _>>()?;
            let since = since.map(|since| earlier(ork.engine().clock.now(), since));
            list(&ork.jobs(Filter { states, task, parent: None, root, since, before, limit }).await?, output);
        }
        Command::Tree { id } => super::tree::tree(&ork.tree(id).await?, output),
        Command::Show { id, parts } => show(ork, id, parts, output).await?,
        Command::Parts(page) => super::parts::parts(ork, page, output).await?,
        Command::Metrics { id } => super::metrics::metrics(ork, id, output).await?,
        Command::Why { id } => {
            let why = ork.why(id).await?;
            if output.is_json() {
                output.json(&why);
            } else {
                output.line(format!("{} is {}: {why}", why.task, why.state));
            }
        }
        Command::Watch { id, events: true } => super::events::watch(ork, id, output).await?,
        Command::Watch { id: Some(id), events: false } => return watch(ork, id, output).await,
        Command::Watch { id: None, events: false } => {}
        Command::Cancel { id, finish_running: false } => {
            ork.cancel(id).await?;
            said(output, id, "cancelled");
        }
        Command::Cancel { id, finish_running: true } => {
            ork.interrupt(id).await?;
            said(output, id, "interrupted");
        }
        Command::Retry { id, part } => {
            match part {
                None => ork.retry(id).await?,
                Some(index) => ork.retry_part(id, index).await?,
            }
            said(output, id, "retried");
        }
        Command::Prune { older_than } => {
            let n = ork.prune(older_than).await?;
            if output.is_json() {
                output.json(&serde_json::json!({ "removed": n }));
            } else {
                output.line(format!("{n} jobs removed"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn known_state(word: &str) -> Result<State, Failure> {
    State::from_word(word).ok_or_else(|| {
        let known: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
        Failure::user(format!("there is no state `{word}`: expected {}", known.join(", ")))
    })
}

fn said(output: &Output, id: JobId, verb: &str) {
    if output.is_json() {
        output.json(&serde_json::json!({ "id": id, "done": verb }));
    } else {
        output.line(format!("job {id} {verb}"));
    }
}

/// A failure in as few words as fit in a table.
pub(super) fn brief(failure: Option<&crate::Failure>) -> String {
    let why = failure.map(|failure| printable(&failure.to_string())).unwrap_or_default();
    why.lines().next().unwrap_or_default().chars().take(60).collect()
}

/// A job's task; the workflow of a run, and the name of a task in its run.
pub(super) fn name(job: &Status) -> String {
    match (&job.run, &job.step) {
        (Some(run), _) => format!("{} ({})", run.workflow, job.task),
        (None, Some(step)) if *step != job.task => format!("{step} ({})", job.task),
        (None, _) => job.task.clone(),
    }
}

fn list(jobs: &[Status], output: &Output) {
    if output.is_json() {
        output.json(&jobs);
        return;
    }
    let row = |job: &Status| {
        let parts = match (job.yielded, job.total) {
            (0, _) => String::new(),
            (yielded, None) => format!("{}/{yielded}+", job.parts.settled()),
            (_, Some(total)) => format!("{}/{total}", job.parts.settled()),
        };
        let why = brief(job.failure.as_ref());
        vec![job.id.to_string(), name(job), job.state.to_string(), parts, job.created.to_string(), why]
    };
    if jobs.is_empty() {
        output.note("no jobs");
    } else {
        output.table(&["id", "task", "state", "parts", "submitted", "why"], jobs.iter().map(row));
    }
}

async fn show(ork: &Ork, id: JobId, parts: usize, output: &Output) -> Result<(), Failure> {
    let status = ork.status(id).await?;
    let bad = not_ok(ork, &status, parts).await?;
    if output.is_json() {
        let mut json = serde_json::to_value(&status).unwrap_or_default();
        if let Some(json) = json.as_object_mut() {
            let bad = bad.iter().map(|(index, how, why)| serde_json::json!({"index": index, "how": how, "why": why}));
            json.insert("not_ok".into(), bad.collect());
        }
        output.json(&json);
        return Ok(());
    }
    let moment = |at: Option<crate::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let mut rows = vec![
        ("job", id.to_string()),
        ("task", name(&status)),
        ("state", status.state.to_string()),
        ("attempt", status.attempt.to_string()),
        ("submitted", status.created.to_string()),
        ("started", moment(status.started)),
        ("ended", moment(status.ended)),
        ("next try", moment(status.due)),
        ("worker", status.worker.clone().unwrap_or_default()),
        ("root", if status.root == id { String::new() } else { status.root.to_string() }),
        ("parent", status.parent.map(|parent| parent.to_string()).unwrap_or_default()),
        (
            "below it",
            if status.below == 0 {
                String::new()
            } else {
                format!("{} jobs, {} ended", status.below, status.below_ended)
            },
        ),
        ("progress", status.percent().map(|percent| format!("{percent:.0} %")).unwrap_or_default()),
        ("info", status.progress.as_ref().map(|progress| progress.info.clone()).unwrap_or_default()),
        ("why", status.failure.as_ref().map(|failure| printable(&failure.to_string())).unwrap_or_default()),
        ("hooks", status.hooks_failed.clone().unwrap_or_default()),
    ];
    if status.yielded > 0 || status.total.is_some() {
        let counts = status.parts;
        let total = status.total.map_or_else(|| format!("{} so far", status.yielded), |total| total.to_string());
        let words = format!(
            "{total}: {} ok, {} failed, {} skipped, {} cancelled, {} running",
            counts.ok, counts.failed, counts.skipped, counts.cancelled, counts.running
        );
        rows.push(("parts", words));
    }
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        output.line(format!("{name:<10} {value}"));
    }
    for task in status.run.iter().flat_map(|run| &run.tasks) {
        output.line(format!("task {:<24} {:<9} {}", task.name, task.stage.as_str(), task.job));
    }
    for (index, how, why) in bad {
        output.line(format!("part {index} {how} {why}"));
    }
    Ok(())
}

/// The first parts that did not succeed.
async fn not_ok(ork: &Ork, status: &Status, most: usize) -> Result<Vec<(u64, &'static str, String)>, Failure> {
    if status.parts.not_ok() == 0 || most == 0 {
        return Ok(Vec::new());
    }
    let bad = vec![PartState::Failed, PartState::Skipped, PartState::Cancelled];
    let parts = ork.list_parts(status.id, PartFilter { states: bad, from: 0, limit: most }).await?;
    let why = |part: PartStatus| {
        (
            part.index,
            part.state.as_str(),
            part.failure.map(|failure| printable(&failure.to_string())).unwrap_or_default(),
        )
    };
    Ok(parts.into_iter().map(why).collect())
}

async fn watch(ork: &Ork, id: JobId, output: &Output) -> Result<ExitCode, Failure> {
    #[cfg(feature = "workflow")]
    if ork.status(id).await?.task == crate::flow::RUN {
        let plan = ork.plan_of(id).await?;
        let status = super::progress::follow(ork, id, output).await?;
        return super::run::finish_run(ork, &status, &plan, output).await;
    }
    let bar = Bar::new(output);
    let mut last = None;
    let mut progress = std::pin::pin!(ork.follow(id));
    while let Some(status) = progress.next().await {
        let status = status?;
        if output.is_json() {
            output.json(&status);
        } else if output.is_watched() {
            bar.show(&status);
        } else if last != Some(status.state) {
            output.note(format!("{} {}", status.task, status.state));
        }
        last = Some(status.state);
    }
    bar.end();
    finish(&ork.wait(id).await?, output)
}
