//! What a transaction changed of a job, in words for the trace.

use ork::store::memory::Tables;
use ork::store::{JobView, PartFilter, PartStatus};
use ork::{JobId, JobState};

use super::store::virtual_micros;
use super::trace::Moment;

/// A job as it was before a transaction, or is after it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) view: Option<JobView>,
    /// Only what is printed says something of single parts: to look at all of them takes long.
    parts: Vec<PartStatus>,
    /// How many permits its limit has, and how many of them are taken, while it waits for one.
    permits: Option<(u32, u32)>,
}

impl Seen {
    /// Looks at a job; with its parts and permits, if what is seen is printed.
    pub(crate) fn of(tables: &Tables, job: JobId, is_printed: bool) -> Self {
        let view = tables.job(job);
        if !is_printed || view.is_none() {
            return Self { view, parts: Vec::new(), permits: None };
        }
        let all = PartFilter { limit: usize::MAX, ..PartFilter::default() };
        let owed = tables.diagnostics(job).to_send;
        let permits = owed.limit.map(|(limit, taken)| (limit.permits, taken));
        Self { parts: tables.list_parts(job, &all), permits, view }
    }

    /// What is different now. An operation does not say its name, so that this is all that is known of it.
    pub(crate) fn changed_to(&self, after: &Self) -> String {
        let Some(now) = &after.view else { return "removed".to_owned() };
        let (state, attempt) = (now.job.state, now.job.attempt);
        let mut words = vec![match &self.view {
            None => format!("is new, {state}, attempt {attempt}"),
            Some(before) if before.job.state != state => {
                format!("from {} to {state}, attempt {attempt}", before.job.state)
            }
            Some(_) => format!("stays {state}, attempt {attempt}"),
        }];
        if let Some(before) = &self.view {
            words.extend(differences(before, now));
        }
        words.extend(self.differences_of_parts(after));
        if let Some((permits, taken)) = after.permits.filter(|_| self.permits != after.permits) {
            words.push(format!("waits for a permit, {taken} of {permits} are taken"));
        }
        if self.view == after.view && self.permits == after.permits {
            words.push("as before".to_owned());
        }
        words.join(", ")
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

/// What is different of a job, apart from its state, its attempt and single parts.
fn differences(before: &JobView, now: &JobView) -> Vec<String> {
    let mut words = Vec::new();
    if now.job.state == JobState::Running
        && let Some(worker) = now.job.worker.as_ref().filter(|_| before.job.worker != now.job.worker)
    {
        words.push(format!("by {}", worker.split('/').next().unwrap_or_default()));
    }
    if before.head.epoch != now.head.epoch {
        words.push(format!("run {} of its split", now.head.epoch));
    }
    let is_other = (before.head.appended, before.head.sealed) != (now.head.appended, now.head.sealed);
    if is_other && now.head.appended > 0 {
        let all = if now.head.sealed.is_some() { " in all" } else { " so far" };
        words.push(format!("{} parts{all}", now.head.appended));
    }
    if before.counts != now.counts {
        let (ended, not_ok, running) = (now.counts.settled(), now.counts.unsuccessful(), now.counts.running);
        let not_ok = if not_ok > 0 { format!(" and {not_ok} of them not ok") } else { String::new() };
        words.push(format!("parts ended {ended}{not_ok}, running {running}"));
    }
    if let Some(due) = now.job.due.filter(|_| before.job.due != now.job.due) {
        words.push(format!("due at {}", Moment(virtual_micros(due))));
    }
    if let Some(failure) = now.job.failure.as_ref().filter(|_| before.job.failure != now.job.failure) {
        words.push(format!("{:?}: {}", failure.kind, failure.message));
    }
    if before.job.losses != now.job.losses {
        words.push(format!("lost calls {}", now.job.losses));
    }
    if before.job.tree.open_children != now.job.tree.open_children {
        words.push(format!("open jobs below it {}", now.job.tree.open_children));
    }
    if before.job.tree.cancel_mode.is_none() && now.job.tree.cancel_mode.is_some() {
        words.push("interrupted".to_owned());
    }
    words
}
