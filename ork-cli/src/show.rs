//! The command `jobs show`: prints everything about one job.

use serde_json::json;

use super::format::{name, printable};
use super::{Failure, Output};
use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::job::State;
use ork_core::ledger::PartState;
use ork_ports::store::{PartFilter, PartStatus};
use ork_runtime::app::Ork;
use ork_runtime::client::Status;

/// Prints a job, and the first of its parts that did not succeed.
pub(super) async fn show(ork: &Ork, id: JobId, parts: usize, output: &Output) -> Result<(), Failure> {
    let status = ork.status(id).await?;
    let unsuccessful = unsuccessful_parts(ork, &status, parts).await?;
    // Only a job that has not started can wait for the jobs that it follows.
    let waits = status.state == State::Ready && status.started.is_none();
    let follows = if waits { ork.why(id).await?.follows } else { Vec::new() };
    if output.is_json() {
        let mut json = serde_json::to_value(&status).unwrap_or_default();
        if let Some(json) = json.as_object_mut() {
            let unsuccessful = unsuccessful.iter().map(|part| {
                let details = part.failure.as_ref().and_then(|failure| failure.details.as_ref());
                let why = why(part.failure.as_ref()).0;
                json!({"index": part.index, "state": part.state.as_str(), "error": why, "details": details})
            });
            json.insert("unsuccessful_parts".into(), unsuccessful.collect());
            if !follows.is_empty() {
                json.insert("follows".into(), json!(follows));
            }
        }
        output.json(&json);
        return Ok(());
    }
    let place = place(ork, &status).await?;
    let follows = ("follows", follows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let rows = [job_rows(&status, place), vec![follows], end_rows(&status)].concat();
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        output.line(format!("{name:<10} {value}"));
    }
    for step in status.run.iter().flat_map(|run| &run.steps) {
        output.line(format!("step {:<24} {:<9} {}", step.name, step.state.as_str(), step.job));
    }
    for part in unsuccessful {
        let (why, details) = why(part.failure.as_ref());
        output.line(format_args!("part {} {} {why}", part.index, part.state));
        if !details.is_empty() {
            output.line(format_args!("     details {details}"));
        }
    }
    Ok(())
}

type Row = (&'static str, String);

/// The rows about the job itself, its times and its progress.
fn job_rows(status: &Status, place: String) -> Vec<Row> {
    let moment = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let below = match status.below {
        0 => String::new(),
        below => format!("{below} jobs, {} ended", status.below_ended),
    };
    vec![
        ("job", status.id.to_string()),
        ("task", name(status)),
        ("workflow", place),
        ("state", status.state.to_string()),
        ("attempt", status.attempt.to_string()),
        ("submitted", status.created.to_string()),
        ("started", moment(status.started)),
        ("ended", moment(status.ended)),
        ("next retry", moment(status.due)),
        ("worker", status.worker.clone().unwrap_or_default()),
        ("root", if status.root == status.id { String::new() } else { status.root.to_string() }),
        ("parent", status.parent.map(|parent| parent.to_string()).unwrap_or_default()),
        ("subtree", below),
        ("progress", status.percent().map(|percent| format!("{percent:.0} %")).unwrap_or_default()),
        ("info", status.progress.as_ref().map(|progress| printable(&progress.info)).unwrap_or_default()),
    ]
}

/// The rows about failures and parts.
fn end_rows(status: &Status) -> Vec<Row> {
    let (why, details) = why(status.failure.as_ref());
    let mut rows =
        vec![("error", why), ("details", details), ("hook error", status.hooks_failed.clone().unwrap_or_default())];
    if status.yielded > 0 || status.total.is_some() {
        let counts = status.parts;
        let total = status.total.map_or_else(|| format!("{} so far", status.yielded), |total| total.to_string());
        let message = format!(
            "{total}: {} succeeded, {} failed, {} skipped, {} cancelled, {} running",
            counts.succeeded, counts.failed, counts.skipped, counts.cancelled, counts.running
        );
        rows.push(("parts", message));
    }
    rows
}

/// Returns the workflow, the position and the name of a step; empty for other jobs.
async fn place(ork: &Ork, status: &Status) -> Result<String, Failure> {
    let (Some(step), Some(parent)) = (&status.step, status.parent) else { return Ok(String::new()) };
    let Some(run) = ork.status(parent).await?.run else { return Ok(String::new()) };
    let at = run.steps.iter().position(|of| of.name == *step).map_or(0, |at| at + 1);
    Ok(format!("{}, step {at} of {}: `{step}`", run.workflow, run.steps.len()))
}

/// Returns the first parts that did not succeed.
async fn unsuccessful_parts(ork: &Ork, status: &Status, most: usize) -> Result<Vec<PartStatus>, Failure> {
    if status.parts.unsuccessful() == 0 || most == 0 {
        return Ok(Vec::new());
    }
    let unsuccessful = vec![PartState::Failed, PartState::Skipped, PartState::Cancelled];
    Ok(ork.parts(status.id, PartFilter { states: unsuccessful, from: 0, limit: most }).await?)
}

/// Formats a failure and its details.
fn why(failure: Option<&ork_core::failure::Failure>) -> (String, String) {
    let details = failure.and_then(|failure| failure.details.as_ref()).map(|details| printable(&details.to_string()));
    (failure.map(|failure| printable(&failure.to_string())).unwrap_or_default(), details.unwrap_or_default())
}
