//! `jobs watch --events`: what happens to one job, or to all of them, a line each.

use futures_util::StreamExt as _;

use super::{Failure, Output};
use crate::app::Ork;
use crate::event::Event;
use crate::id::JobId;

/// Prints events until the job has ended, or for ever.
pub(super) async fn watch(ork: &Ork, id: Option<JobId>, output: &Output) -> Result<(), Failure> {
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
    let mut words = format!("{time} {kind:<20} {job}{part} {task}");
    if let Some(percent) = progress {
        words.push_str(&format!(" {percent:.0} %"));
    }
    if let Some(info) = info.as_deref().filter(|info| !info.is_empty()) {
        words.push_str(&format!(" {info}"));
    }
    if let Some(parts) = parts {
        let counts = (parts.total, parts.completed, parts.failed, parts.canceled);
        let (total, completed, failed, canceled) = counts;
        words.push_str(&format!(" {total} parts: {completed} completed, {failed} failed, {canceled} canceled"));
    }
    if let Some(error) = error {
        words.push_str(&format!(" {}", error.to_string().lines().next().unwrap_or_default()));
    }
    words
}
