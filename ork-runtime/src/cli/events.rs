//! `jobs watch --events`: what happens to one job, or to all of them, a line each.

use futures_util::StreamExt as _;

use super::{Failure, Output};
use crate::app::Ork;
use crate::event::{EndedParts, Event};
use crate::id::JobId;

/// Prints events until the job has ended, or for ever.
pub(super) async fn watch(ork: &Ork, id: Option<JobId>, output: &Output) -> Result<(), Failure> {
    // This process does nothing that could be heard.
    if !ork.engine().broker.needs_relay() {
        let words = "without a broker what happens is told only in the process that does the work";
        return Err(Failure::user(words).hint("`jobs watch ID`, without `--events`, follows a job wherever it runs"));
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
    let mut words = vec![format!("{time} {kind:<20} {job}{part} {task}")];
    words.extend(progress.map(|percent| format!("{percent:.0} %")));
    words.extend(info.clone().filter(|info| !info.is_empty()));
    words.extend(parts.map(|EndedParts { total, completed, failed, canceled, .. }| {
        format!("{total} parts: {completed} completed, {failed} failed, {canceled} canceled")
    }));
    words.extend(error.as_ref().and_then(|error| error.to_string().lines().next().map(str::to_owned)));
    words.join(" ")
}
