//! What a transaction tells of jobs: rows that owe events, or news of this process.

use super::books::Books;
use super::owed::{Owed, OwedAsk, OwedRow};
use super::{By, Change};
use crate::event::{self, Event, EventKind, Telling, ToTell, serial};
use crate::failure::Failure;
use crate::job::Job;
use crate::message::Outgoing;
use crate::mutant::{self, Mutant};

impl Books {
    /// Something happened to a job: it is told, if events are.
    pub(super) fn happened(&mut self, job: &Job, kind: EventKind, by: &By) -> Option<Owed> {
        let is_untold = mutant::is_on(Mutant::TellsNoEnd) && job.state.is_final();
        if by.tells == Telling::Nothing || is_untold {
            return None;
        }
        let ended = self.get(job.id).filter(|_| kind == EventKind::PartsCompleted).map(|entry| entry.ledger.counts());
        let event = |row| {
            let event = Event::of(job, kind, serial(kind, job.attempt, row), by.now);
            Event { parts: ended.map(Into::into), ..event }
        };
        if let Telling::Owed(_) = by.tells {
            let told = |row: &OwedRow| vec![Outgoing::Event(event(row.id).into())];
            return self.owe(job, (OwedAsk::Tell(ToTell::Job(kind)), job.attempt, None), by, Some(told));
        }
        // Here nobody hears of one twice.
        let number = self.next_told();
        self.changes.push(Change::Told(event(number).into()));
        None
    }

    /// Parts of a job have ended so, at this attempt: that is told.
    pub(super) fn parts_ended(
        &mut self,
        job: &Job,
        attempt: u32,
        ended: Vec<(u64, (EventKind, Option<Failure>))>,
        by: &By,
    ) -> Option<Owed> {
        let first = ended.iter().map(|(index, _)| *index).min()?;
        let last = ended.iter().map(|(index, _)| *index).max()?;
        let event = |(index, (kind, error)), row| {
            let about = event::About { part: Some(index), attempt, ..event::About::job(job) };
            Event { error, ..Event::new(kind, about, row, by.now) }
        };
        if let Telling::Owed(_) = by.tells {
            let what = OwedAsk::Tell(ToTell::Parts { first, len: last - first + 1 });
            let events =
                |row: &OwedRow| ended.into_iter().map(|one| Outgoing::Event(event(one, row.id).into())).collect();
            return self.owe(job, (what, attempt, None), by, Some(events));
        }
        for one in ended {
            let number = self.next_told();
            self.changes.push(Change::Told(event(one, number).into()));
        }
        None
    }

    /// A number for an event that no row owes.
    fn next_told(&mut self) -> u64 {
        self.next_owed += 1;
        self.next_owed - 1
    }
}
