//! Formats names, failures and counts of parts of jobs as text for people.

use ork_core::workflow_run::{PROCESS, PYTHON};
use ork_runtime::client::Status;

/// Escapes the control characters in a text of a task, so that it cannot control the terminal.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && !matches!(c, '\n' | '\t') { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(shown).collect()
}

/// Returns the first 60 characters of the first line of a failure, for a table.
pub(super) fn brief(failure: Option<&ork_core::failure::Failure>) -> String {
    let why = failure.map(|failure| printable(&failure.to_string())).unwrap_or_default();
    why.lines().next().unwrap_or_default().chars().take(60).collect()
}

/// Formats how many parts of a job have ended, out of how many; empty for a job without parts.
pub(super) fn settled(job: &Status) -> String {
    match (job.yielded, job.total) {
        (0, _) => String::new(),
        (yielded, None) => format!("{}/{yielded}+", job.parts.settled()),
        (_, Some(total)) => format!("{}/{total}", job.parts.settled()),
    }
}

/// Returns the name of a job for people: its task, with the name of the workflow for a run and the name of the step
/// for a step.
pub(super) fn name(job: &Status) -> String {
    match (&job.run, &job.step) {
        (Some(run), _) => format!("{} ({})", run.workflow, job.task),
        (None, Some(step)) => match job.task.as_str() {
            PYTHON => format!("{step} (python)"),
            PROCESS => format!("{step} (process)"),
            task if task == step => task.to_owned(),
            task => format!("{step} ({task})"),
        },
        (None, None) => job.task.clone(),
    }
}
