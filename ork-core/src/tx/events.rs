//! Events of a transaction. They become outbox rows if a broker carries events, and notices if the listeners are in
//! this process.

use super::outbox::{NewRow, OutboxKind, OutboxRow};
use super::transaction::Transaction;
use super::types::{Actor, StoreNotice};
use crate::event::{Event, EventKind, EventRouting, EventSubject, PendingEvent, sequence};
use crate::failure::Failure;
use crate::job::Job;
use crate::message::Outgoing;
use crate::mutant::{self, Mutant};

/// A part that has ended, as its event describes it.
#[derive(Debug, Clone)]
pub(super) struct EndedPart {
    pub(super) index: u64,
    pub(super) kind: EventKind,
    pub(super) error: Option<Failure>,
}

impl Transaction {
    /// Emits an event about a job, if events are on.
    pub(super) fn emit(&mut self, job: &Job, kind: EventKind, actor: &Actor) {
        let is_left_out = mutant::is_on(Mutant::PublishesNoEnd) && job.state.is_final();
        if actor.events == EventRouting::Off || is_left_out {
            return;
        }
        let parts = self.get(job.id).filter(|_| kind == EventKind::PartsCompleted).map(|loaded| loaded.ledger.counts());
        let event = |number| {
            let event = Event::of(job, kind, sequence(kind, job.attempt, number), actor.now);
            Event { parts: parts.map(Into::into), ..event }
        };
        if let EventRouting::Outbox(_) = actor.events {
            let new = NewRow::new(OutboxKind::Event(PendingEvent::Job(kind)), job.attempt);
            let messages = |row: &OutboxRow| vec![Outgoing::Event(event(row.id).into())];
            return self.enqueue(job, new, actor, Some(messages));
        }
        // An event of this kind is never published twice, so a fresh number identifies it.
        let number = self.next_event_number();
        self.notices.push(StoreNotice::Event(event(number).into()));
    }

    /// Emits an event for each part of a job that has ended at this attempt.
    pub(super) fn emit_parts_ended(&mut self, job: &Job, attempt: u32, ended: Vec<EndedPart>, actor: &Actor) {
        let indices = ended.iter().map(|part| part.index);
        let (Some(first), Some(last)) = (indices.clone().min(), indices.max()) else { return };
        let event = |EndedPart { index, kind, error }, number| {
            let subject = EventSubject { part: Some(index), attempt, ..EventSubject::job(job) };
            Event { error, ..Event::new(kind, subject, number, actor.now) }
        };
        if let EventRouting::Outbox(_) = actor.events {
            let what = OutboxKind::Event(PendingEvent::Parts { first, len: last - first + 1 });
            let messages =
                |row: &OutboxRow| ended.into_iter().map(|part| Outgoing::Event(event(part, row.id).into())).collect();
            return self.enqueue(job, NewRow::new(what, attempt), actor, Some(messages));
        }
        for part in ended {
            let number = self.next_event_number();
            self.notices.push(StoreNotice::Event(event(part, number).into()));
        }
    }

    /// Returns a number for an event without an outbox row.
    const fn next_event_number(&mut self) -> u64 {
        self.next_outbox_id += 1;
        self.next_outbox_id - 1
    }
}
