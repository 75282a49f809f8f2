//! What a transaction tells of jobs: rows that owe events, or news of this process.

use super::outbox::{HeldRow, OutboxKind, OutboxRow};
use super::transaction::Transaction;
use super::{Actor, StoreNotice};
use crate::event::{self, Event, EventKind, EventRouting, PendingEvent, sequence};
use crate::failure::Failure;
use crate::job::Job;
use crate::message::Outgoing;
use crate::mutant::{self, Mutant};

impl Transaction {
    /// Something happened to a job: it is told, if events are.
    pub(super) fn emit(&mut self, job: &Job, kind: EventKind, actor: &Actor) -> Option<HeldRow> {
        let is_untold = mutant::is_on(Mutant::TellsNoEnd) && job.state.is_final();
        if actor.events == EventRouting::Off || is_untold {
            return None;
        }
        let ended = self.get(job.id).filter(|_| kind == EventKind::PartsCompleted).map(|entry| entry.ledger.counts());
        let event = |row| {
            let event = Event::of(job, kind, sequence(kind, job.attempt, row), actor.now);
            Event { parts: ended.map(Into::into), ..event }
        };
        if let EventRouting::Outbox(_) = actor.events {
            let told = |row: &OutboxRow| vec![Outgoing::Event(event(row.id).into())];
            return self.enqueue(
                job,
                (OutboxKind::Event(PendingEvent::Job(kind)), job.attempt, None),
                actor,
                Some(told),
            );
        }
        // Here nobody hears of one twice.
        let number = self.next_event_number();
        self.changes.push(StoreNotice::Event(event(number).into()));
        None
    }

    /// Parts of a job have ended so, at this attempt: that is told.
    pub(super) fn emit_parts_ended(
        &mut self,
        job: &Job,
        attempt: u32,
        ended: Vec<(u64, (EventKind, Option<Failure>))>,
        actor: &Actor,
    ) -> Option<HeldRow> {
        let first = ended.iter().map(|(index, _)| *index).min()?;
        let last = ended.iter().map(|(index, _)| *index).max()?;
        let event = |(index, (kind, error)), row| {
            let about = event::EventSubject { part: Some(index), attempt, ..event::EventSubject::job(job) };
            Event { error, ..Event::new(kind, about, row, actor.now) }
        };
        if let EventRouting::Outbox(_) = actor.events {
            let what = OutboxKind::Event(PendingEvent::Parts { first, len: last - first + 1 });
            let events =
                |row: &OutboxRow| ended.into_iter().map(|one| Outgoing::Event(event(one, row.id).into())).collect();
            return self.enqueue(job, (what, attempt, None), actor, Some(events));
        }
        for one in ended {
            let number = self.next_event_number();
            self.changes.push(StoreNotice::Event(event(one, number).into()));
        }
        None
    }

    /// A number for an event that no row owes.
    fn next_event_number(&mut self) -> u64 {
        self.next_outbox_id += 1;
        self.next_outbox_id - 1
    }
}
