//! The command `jobs watch --events`: prints the events of one job, or of all jobs, one per line.

use futures_util::StreamExt as _;

use super::{Failure, Output};
use ork_core::event::{EndedParts, Event};
use ork_core::id::JobId;
use ork_runtime::app::Ork;

/// Prints events until the job has ended; without a job, until the process is stopped.
pub(super) async fn watch(ork: &Ork, id: Option<JobId>, output: &Output) -> Result<(), Failure> {
    // Without a broker a stream has only the events of its own process, and this one runs no jobs.
    if !ork.broker().needs_relay() {
        let message = "without a broker, events are visible only in the process that runs the job";
        return Err(Failure::user(message).hint("`jobs watch ID` without `--events` follows a job in any process"));
    }
    let mut events = match id {
        Some(id) => ork.events_of(id).await?,
        None => ork.events().await?,
    };
    output.note("watching");
    while let Some(event) = events.next().await {
        let event = event?;
        if output.is_json() {
            output.line(String::from_utf8_lossy(&event.to_json()));
        } else {
            output.line(line(&event));
        }
    }
    Ok(())
}

fn line(event: &Event) -> String {
    let Event { time, kind, job, part, task, progress, info, parts, error, .. } = event;
    let part = part.map(|index| format!(".{index}")).unwrap_or_default();
    let mut columns = vec![format!("{time} {kind:<20} {job}{part} {task}")];
    columns.extend(progress.map(|percent| format!("{percent:.0} %")));
    columns.extend(info.clone().filter(|info| !info.is_empty()));
    columns.extend(parts.map(|EndedParts { total, completed, failed, canceled, .. }| {
        format!("{total} parts: {completed} completed, {failed} failed, {canceled} canceled")
    }));
    columns.extend(error.as_ref().and_then(|error| error.to_string().lines().next().map(str::to_owned)));
    columns.join(" ")
}
