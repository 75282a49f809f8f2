//! Retries of single parts: the other parts keep their outcomes.

use std::sync::Arc;

use ork::{JobId, Ork, PartFilter, PartState};

use super::executor::Owner;
use super::names::{Property, Reached};
use super::world::World;

impl World {
    /// A client retries one part of a job.
    pub(crate) async fn retry_part(self: &Arc<Self>, ork: &Ork, number: u64, index: u64) {
        let Some(id) = self.clients.control(number) else { return };
        let owner = self.executor.polled();
        self.oracle(|oracle| oracle.retried.insert(id));
        self.clients.retries.lock().unwrap().push((owner, id, Some(index)));
        let done = ork.retry_part(id, index).await;
        self.end_retry((owner, id, Some(index)));
        if done.is_ok() {
            self.oracle(|oracle| oracle.reaches(Reached::PartRetried));
        }
        let done = done.map_or_else(|detail| format!("refused: {detail}"), |()| "done".to_owned());
        self.note(owner, format_args!("client retries part {index} of {id}: {done}"));
    }

    pub(crate) fn end_retry(&self, retry: (Owner, JobId, Option<u64>)) {
        let mut retries = self.clients.retries.lock().unwrap();
        if let Some(at) = retries.iter().position(|other| *other == retry) {
            retries.remove(at);
        }
    }

    /// Checks a job that this process has reopened: if it was to retry one part, then this is the only one that has not
    /// ended.
    pub(crate) fn check_part_retry(&self, owner: Owner, job: JobId) {
        let retries: Vec<_> = {
            let retries = self.clients.retries.lock().unwrap();
            retries.iter().filter(|(of, id, _)| (*of, *id) == (owner, job)).map(|(_, _, index)| *index).collect()
        };
        let Some(Some(index)) = retries.first().copied() else { return };
        if retries.iter().any(|other| *other != Some(index)) {
            return;
        }
        let open = vec![PartState::Ready, PartState::Running, PartState::Retrying];
        let open = PartFilter { states: open, limit: usize::MAX, ..PartFilter::default() };
        let parts: Vec<_> =
            self.truth(|tables| tables.list_parts(job, &open)).into_iter().map(|part| part.index).collect();
        if parts != [index] {
            let detail = format!("part {index} of {job} is retried, and of its parts {parts:?} have not ended");
            self.oracle(|oracle| oracle.report(Property::Parts, detail));
        }
    }
}
