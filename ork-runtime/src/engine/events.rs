//! Publishing events: which ones, on which way, and in which order.
//!
//! The events of a transaction are part of it, as rows of the outbox or as notices of the store. The process that
//! sends the message of a job publishes that the job was created and is ready, and does so before the message: so no
//! worker can publish an event of a job before its `created` event.

use tokio::sync::oneshot;

use super::Engine;
use crate::broker::Delivery;
use crate::context::{self, Progress};
use crate::event::{Event, EventKind, EventRouting, EventScope, EventSubject, PendingEvent, brief, sequence};
use crate::id::JobId;
use crate::job::Job;
use crate::ledger::{Counts, PartState};
use crate::message::{Message, Outgoing, WorkKind};
use crate::mutant::{self, Mutant};
use crate::store::{PartFilter, PartStatus, StoreError};
use crate::tx::{OutboxId, StoreNotice};

impl Engine {
    /// Returns how this process publishes events.
    pub(crate) fn event_routing(&self) -> EventRouting {
        match self.settings.events {
            EventScope::Off => EventRouting::Off,
            scope if self.broker.needs_relay() => EventRouting::Outbox(scope),
            scope if self.store.notifier().has_listeners() => EventRouting::Local(scope),
            EventScope::Jobs | EventScope::Parts => EventRouting::Off,
        }
    }

    /// Publishes events that are not in the outbox, after those published before. Returns once the broker has them,
    /// or never will.
    pub(crate) async fn emit(&self, events: Vec<Event>) {
        if let Some(confirmed) = self.queue_events(events) {
            // An error means that the process is ending.
            drop(confirmed.await);
        }
    }

    /// Publishes events without waiting. Returns a receiver for the confirmation of the broker, if there is one to
    /// wait for.
    fn queue_events(&self, events: Vec<Event>) -> Option<oneshot::Receiver<()>> {
        match self.event_routing() {
            EventRouting::Outbox(_) => return (!events.is_empty()).then(|| self.outbox.emit(events)),
            EventRouting::Local(_) => {
                for event in events {
                    self.store.notifier().notify(StoreNotice::Event(event.into()));
                }
            }
            EventRouting::Off => {}
        }
        None
    }

    /// Publishes the progress that a job or a part has reported.
    pub(crate) fn emit_progress(&self, info: &context::CallInfo, progress: &Progress) {
        let scope = self.event_routing().scope();
        if scope == EventScope::Off || (info.index.is_some() && scope != EventScope::Parts) {
            return;
        }
        let (now, root, task) = (self.clock.now(), info.root, info.task.clone());
        // As in the other events about it: that of a job counts over all phases and retries.
        let is_counted_alone = info.index.is_some() || mutant::is_on(Mutant::CountsProgressAlone);
        let attempt = if is_counted_alone { info.attempt } else { info.fence };
        let subject = EventSubject { job: info.job, part: info.index, root, parent: info.parent, task, attempt };
        let number = u64::try_from(now.as_millis()).unwrap_or(0);
        let mut event = Event::new(EventKind::Progress, subject, number, now);
        (event.progress, event.info) = (Some(progress.percent), Some(progress.info.clone()));
        drop(self.queue_events(vec![event]));
    }

    /// Returns the events that precede a message: that the work is ready and, if `new`, that it was created.
    pub(crate) fn events_before(&self, message: &Message, new: bool) -> Vec<Event> {
        let part = match message.kind {
            WorkKind::Job | WorkKind::Single | WorkKind::Step => None,
            WorkKind::Part { index, .. } => Some(index),
            WorkKind::Join | WorkKind::Hooks(_) => return Vec::new(),
        };
        let scope = self.event_routing().scope();
        if scope == EventScope::Off || (part.is_some() && scope != EventScope::Parts) {
            return Vec::new();
        }
        let (new, now) = ((new || part.is_some()) && message.attempt == 1, self.clock.now());
        let event = |kind| {
            let info = EventSubject {
                job: message.job,
                part,
                root: message.root,
                parent: message.parent,
                task: message.task.clone(),
                attempt: message.attempt,
            };
            Event::new(kind, info, sequence(kind, message.attempt, 0), now)
        };
        new.then_some(EventKind::Created).into_iter().chain([EventKind::Ready]).map(event).collect()
    }

    /// Publishes that work is ready when the store itself delivers its message.
    pub(crate) fn emit_ready(&self, delivery: &Delivery) {
        if let (EventRouting::Local(_), Ok(message)) = (self.event_routing(), &delivery.message) {
            drop(self.queue_events(self.events_before(message, false)));
        }
    }

    /// Publishes an event of a storeless job.
    pub(super) async fn emit_job_event(&self, job: &Job, kind: EventKind) {
        if self.event_routing() != EventRouting::Off {
            self.emit(vec![Event::of(job, kind, sequence(kind, job.attempt, job.attempt.into()), self.clock.now())])
                .await;
        }
    }

    /// Publishes that the parts of a storeless job have ended.
    pub(super) async fn emit_parts_completed(&self, job: &Job, counts: Counts) {
        if self.event_routing() != EventRouting::Off {
            let kind = EventKind::PartsCompleted;
            let mut event = Event::of(job, kind, job.attempt.into(), self.clock.now());
            event.parts = Some(counts.into());
            self.emit(vec![event]).await;
        }
    }
}

/// Returns the events of an outbox row that another process left behind, as far as the store still knows them.
pub(crate) async fn read(
    engine: &Engine,
    id: JobId,
    row: OutboxId,
    pending: PendingEvent,
) -> Result<Vec<Outgoing>, StoreError> {
    let Some(view) = engine.store.job(id).await? else { return Ok(Vec::new()) };
    let now = engine.clock.now();
    let events = match pending {
        PendingEvent::Job(kind) => {
            let parts = (kind == EventKind::PartsCompleted).then(|| view.counts.into());
            let mut event = Event::of(&view.job, kind, sequence(kind, view.job.attempt, row), now);
            event.parts = parts;
            vec![event]
        }
        PendingEvent::Parts { first, len } => {
            let states = vec![PartState::Succeeded, PartState::Failed];
            let filter = PartFilter { states, from: first, limit: usize::try_from(len).unwrap_or(usize::MAX) };
            let parts = engine.store.list_parts(id, filter).await?.into_iter();
            let event = |part: PartStatus| {
                let kind = if part.state == PartState::Failed { EventKind::Failed } else { EventKind::Succeeded };
                let info =
                    EventSubject { part: Some(part.index), attempt: part.attempts, ..EventSubject::job(&view.job) };
                let mut event = Event::new(kind, info, row, now);
                event.error = part.failure.as_ref().map(brief);
                event
            };
            parts.filter(|part| part.index < first + len).map(event).collect()
        }
    };
    Ok(events.into_iter().map(|event| Outgoing::Event(event.into())).collect())
}
