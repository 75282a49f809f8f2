//! The events of all processes, as a client receives them over the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use ork::{Event, EventKind, JobId, Ork};

use super::executor::Owner;
use super::names::{Property, Reached};
use super::store::virtual_micros;
use super::world::World;

/// The events that were published so far.
#[derive(Debug, Default)]
pub(crate) struct PublishedEvents {
    /// The ids of the events.
    ids: BTreeSet<String>,
    /// The last new event of each job.
    places: BTreeMap<JobId, Last>,
    /// The jobs with a published end.
    ended: BTreeSet<JobId>,
    /// The jobs of which the client has missed events.
    pub(crate) missed: BTreeSet<JobId>,
    /// Whether it may have missed events of other jobs.
    pub(crate) missed_some: bool,
}

/// The last event of a job.
#[derive(Debug, Clone, Copy)]
struct Last {
    /// Its attempt, and its rank among the events of that attempt.
    place: (u32, u32),
    /// The outbox row that it came from, unless it was sent with a message.
    row: Option<u64>,
    /// The process that has published it.
    from: Owner,
    at: u64,
}

/// Events of two processes that publish within this time of each other may arrive in either order.
const AT_ONCE: u64 = 1_000_000;

/// The rank of the end of a job among the events of an attempt.
const END: u32 = 4;

/// The rank of an event among those of one attempt.
const fn rank(kind: EventKind) -> u32 {
    match kind {
        EventKind::Created => 0,
        EventKind::Retrying => 1,
        EventKind::PartsCompleted => 3,
        EventKind::Succeeded | EventKind::Failed | EventKind::Cancelled => END,
        // `Ready`, and the job's own progress.
        _ => 2,
    }
}

impl World {
    /// Receives the events of all jobs for as long as the run lasts.
    pub(crate) async fn listen(self: Arc<Self>, ork: Arc<Ork>) {
        loop {
            let Ok(mut events) = ork.events().await else {
                self.published_events(|published| published.missed_some = true);
                self.executor.sleep(500_000).await;
                continue;
            };
            while let Some(event) = events.next().await {
                if event.is_err() {
                    self.published_events(|published| published.missed_some = true);
                }
                self.oracle(|oracle| oracle.reaches(Reached::EventsReceived));
            }
        }
    }

    pub(crate) fn published_events<T>(&self, look: impl FnOnce(&mut PublishedEvents) -> T) -> T {
        look(&mut self.published.lock().unwrap())
    }

    /// Checks that the events of a job arrive in the order in which they happened, unless a process was delayed
    /// meanwhile. A repeated event has the same id.
    pub(crate) fn check_event(&self, from: Owner, event: &Event) {
        let (place, at) = ((event.attempt, rank(event.kind)), self.executor.now());
        let is_of_message = matches!(event.kind, EventKind::Created | EventKind::Ready);
        let row = event.id.rsplit('/').next().and_then(|row| row.parse().ok()).filter(|_| !is_of_message);
        // A job that is reopened with its run, or with its tree, keeps the number of its attempt: then only the rows
        // show what happened later.
        let is_revived = self.oracle(|oracle| oracle.revived.contains(&event.job));
        let (is_new, last) = self.published_events(|published| {
            let is_new = published.ids.insert(event.id.clone());
            let last = published.places.get(&event.job).copied();
            let last = last.filter(|last| !is_revived || row.zip(last.row).is_none_or(|(row, last)| row < last));
            if is_new && last.is_none_or(|last| place > last.place) {
                published.places.insert(event.job, Last { place, row, from, at });
            }
            if place.1 == END {
                published.ended.insert(event.job);
            }
            (is_new, last)
        });
        // Without a store, every delivery of a job publishes its events again.
        let last = last.filter(|_| self.has_store());
        // A message may still be sent of a job that was cancelled, or of an attempt before it was retried.
        let is_retried =
            || self.oracle(|oracle| [event.job, event.root].iter().any(|job| oracle.retried.contains(job)));
        let is_late = is_of_message && (last.map(|last| last.place) == Some((event.attempt, END)) || is_retried());
        if let Some(last) = last
            && is_new
            && place < last.place
            && !is_late
        {
            // The process may not know that the job has ended, or was retried. A call that began later is none of those.
            let is_newer_call = || self.oracle(|oracle| oracle.has_call_since(from, event.job, last.at));
            if event.kind == EventKind::Progress && !is_newer_call() {
                return self.oracle(|oracle| oracle.excuses("progress that arrives late"));
            }
            if from != last.from && at < last.at + AT_ONCE {
                // Each process publishes the rows that it has written in order.
                return self.oracle(|oracle| oracle.excuses("an event beside one of another process"));
            }
            let detail = format!("{} is published after attempt, place {:?}: {place:?}", event.id, last.place);
            self.oracle(|oracle| oracle.is_published_late(detail, virtual_micros(event.time), at));
        }
    }

    /// Checks that the end of each job was published.
    pub(crate) fn check_events(&self) {
        if !self.scenario.events || !self.has_store() || self.published_events(|published| published.missed_some) {
            return;
        }
        let ended = self.oracle(|oracle| oracle.ended.keys().copied().collect::<Vec<_>>());
        let is_unpublished = |published: &PublishedEvents, job: &JobId| {
            !published.ended.contains(job) && !published.missed.contains(job)
        };
        let unpublished =
            self.published_events(|published| ended.iter().find(|job| is_unpublished(published, job)).copied());
        self.oracle(|oracle| oracle.reaches(Reached::EndsPublished));
        if let Some(job) = unpublished {
            self.oracle(|oracle| oracle.report(Property::Events, format!("the end of {job} was not published")));
        }
    }
}
