//! Describes for the trace what a transaction changed of a job.

use ork::{JobId, JobState};
use ork_ports::store::{JobView, PartFilter, PartStatus};
use ork_runtime::store::memory::Tables;

use super::store::virtual_micros;
use super::trace::Moment;

/// A job before or after a transaction.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) view: Option<JobView>,
    /// Filled only if the trace is printed: to read all parts takes long.
    parts: Vec<PartStatus>,
    /// How many permits its limit has, and how many of them are taken, while it waits for one.
    permits: Option<(u32, u32)>,
}

impl Seen {
    /// Reads a job; with its parts and permits if the trace is printed.
    pub(crate) fn of(tables: &Tables, job: JobId, is_printed: bool) -> Self {
        let view = tables.job(job);
        if !is_printed || view.is_none() {
            return Self { view, parts: Vec::new(), permits: None };
        }
        let all = PartFilter { limit: usize::MAX, ..PartFilter::default() };
        let pending = tables.diagnostics(job).outbox;
        let permits = pending.limit.map(|(limit, taken)| (limit.permits, taken));
        Self { parts: tables.list_parts(job, &all), permits, view }
    }

    /// Describes the differences. An operation does not have a name here, so that these are all that is known of it.
    pub(crate) fn changed_to(&self, after: &Self) -> String {
        let Some(now) = &after.view else { return "removed".to_owned() };
        let (state, attempt) = (now.job.state, now.job.attempt);
        let mut changes = vec![match &self.view {
            None => format!("is new, {state}, attempt {attempt}"),
            Some(before) if before.job.state != state => {
                format!("from {} to {state}, attempt {attempt}", before.job.state)
            }
            Some(_) => format!("stays {state}, attempt {attempt}"),
        }];
        if let Some(before) = &self.view {
            changes.extend(differences(before, now));
        }
        changes.extend(self.differences_of_parts(after));
        if let Some((permits, taken)) = after.permits.filter(|_| self.permits != after.permits) {
            changes.push(format!("waits for a permit, {taken} of {permits} are taken"));
        }
        if self.view == after.view && self.permits == after.permits {
            changes.push("as before".to_owned());
        }
        changes.join(", ")
    }

    fn differences_of_parts(&self, after: &Self) -> Vec<String> {
        let before = |part: &PartStatus| self.parts.iter().find(|other| other.index == part.index);
        let is_changed = |part: &&PartStatus| {
            before(part).is_none_or(|before| (before.state, before.attempts) != (part.state, part.attempts))
        };
        // New parts that wait are counted with their job.
        let is_noted = |part: &&PartStatus| before(part).is_some() || part.attempts > 0;
        let changed = after.parts.iter().filter(is_changed).filter(is_noted);
        changed.map(|part| format!("part {} {}", part.index, part.state.as_str())).collect()
    }
}

/// Lists what is different of a job, apart from its state, its attempt and single parts.
fn differences(before: &JobView, now: &JobView) -> Vec<String> {
    let mut changes = Vec::new();
    if now.job.state == JobState::Running
        && let Some(worker) = now.job.worker.as_ref().filter(|_| before.job.worker != now.job.worker)
    {
        changes.push(format!("by {}", worker.split('/').next().unwrap_or_default()));
    }
    if before.head.epoch != now.head.epoch {
        changes.push(format!("run {} of its split", now.head.epoch));
    }
    let is_other = (before.head.appended, before.head.sealed) != (now.head.appended, now.head.sealed);
    if is_other && now.head.appended > 0 {
        let all = if now.head.sealed.is_some() { " in all" } else { " so far" };
        changes.push(format!("{} parts{all}", now.head.appended));
    }
    if before.counts != now.counts {
        let (ended, not_ok, running) = (now.counts.settled(), now.counts.unsuccessful(), now.counts.running);
        let not_ok = if not_ok > 0 { format!(" and {not_ok} of them not ok") } else { String::new() };
        changes.push(format!("parts ended {ended}{not_ok}, running {running}"));
    }
    if let Some(due) = now.job.due.filter(|_| before.job.due != now.job.due) {
        changes.push(format!("due at {}", Moment(virtual_micros(due))));
    }
    if let Some(failure) = now.job.failure.as_ref().filter(|_| before.job.failure != now.job.failure) {
        changes.push(format!("{:?}: {}", failure.kind, failure.message));
    }
    if before.job.losses != now.job.losses {
        changes.push(format!("lost calls {}", now.job.losses));
    }
    if before.job.tree.open_children != now.job.tree.open_children {
        changes.push(format!("open jobs below it {}", now.job.tree.open_children));
    }
    if before.job.tree.cancel_mode.is_none() && now.job.tree.cancel_mode.is_some() {
        changes.push("interrupted".to_owned());
    }
    changes
}
