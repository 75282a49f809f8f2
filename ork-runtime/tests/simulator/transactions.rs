//! The transactions of the simulated store, and what is looked at in each.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ork::store::memory::Tables;
use ork::store::{Heartbeat, HeartbeatReply, JobView, Work};
use ork::tx::{Durability, StoreNotice};
use ork::{JobId, JobState};

use super::commits::Seen;
use super::executor::Owner;
use super::names::{Property, Reached};
use super::scenario::StoreKind;
use super::tasks::UNSTORABLE;
use super::trace::Interest;
use super::world::World;

/// A heartbeat that comes so soon after the one before it, in microseconds, says only that its process works.
const IN_TIME: u64 = 6_000_000;

impl World {
    /// Carries out a transaction; answers the places of what the store cannot hold, too.
    pub(crate) fn commit(
        self: &Arc<Self>,
        owner: Owner,
        batch: &mut [Box<dyn Work>],
    ) -> (Vec<StoreNotice>, BTreeSet<usize>) {
        self.flush();
        let (mut changes, mut refused, now) = (Vec::new(), BTreeSet::new(), self.executor.now());
        if now < self.conflicts_until() && self.executor.polls().is_multiple_of(2) {
            // As a transaction that is rolled back, and then carried out again.
            let mut tables = self.truth(|tables| tables.clone());
            for work in batch.iter_mut() {
                let _rolled_back = tables.apply(work.as_mut());
            }
            self.oracle(|oracle| oracle.reaches(Reached::RolledBack));
        }
        // What waits for a permit is in the outbox from now on, and its message is done with.
        let promised = batch.iter().any(|work| work.durability() == Durability::PowerLoss || work.limit(0).is_some());
        for (at, work) in batch.iter_mut().enumerate() {
            let jobs: Vec<_> = (0..work.count()).map(|at| work.job(at)).collect();
            let snapshot = self.has_unstorable.then(|| self.truth(|tables| tables.clone()));
            let seen = |tables: &Tables| -> Vec<_> {
                jobs.iter().map(|job| Seen::of(tables, *job, self.is_printed)).collect()
            };
            let (before, after, news) = self.truth(|tables| {
                let before = seen(tables);
                let news = tables.apply(work.as_mut());
                (before, seen(tables), news)
            });
            if let Some(tables) = snapshot.filter(|_| self.cannot_hold(&jobs)) {
                self.truth(|now| *now = tables);
                refused.insert(at);
                continue;
            }
            changes.extend(news);
            for (before, after) in before.iter().zip(&after) {
                self.check_change(owner, before, after, now);
            }
        }
        for change in &changes {
            if let StoreNotice::JobEnded(job) = change
                && self.truth(|tables| tables.job(*job)).is_some_and(|view| view.job.state.is_final())
            {
                self.oracle(|oracle| oracle.has_ended(*job, now));
            }
        }
        // News of it may have been followed already.
        if promised || !changes.is_empty() {
            self.keep_durable();
        }
        self.client.claimed.notify_waiters();
        self.in_commit(owner);
        self.spread(owner, &changes);
        (changes, refused)
    }

    /// Looks at what a transaction changed of a job.
    fn check_change(&self, owner: Owner, before: &Seen, after: &Seen, now: u64) {
        let (was, is) = (before.view.as_ref(), after.view.as_ref());
        self.oracle(|oracle| oracle.changed(owner, was, is, now));
        let Some(view) = is else { return };
        let job = &view.job;
        if job.state == JobState::Retrying && was.is_some_and(|was| was.job.state == JobState::Running) {
            self.check_not_interrupted(job.id, job.parent);
        }
        let last = |view: &JobView| view.job.schedule_state().and_then(|ticks| ticks.last);
        if let Some(started) = last(view).filter(|_| last(view) != was.and_then(last)) {
            self.check_tick(started);
        }
        self.note(owner, format_args!("commit {} {} {}", job.task, job.id, before.changed_to(after)));
    }

    /// Whether one of these jobs, or a part of one, has now what the store cannot hold.
    fn cannot_hold(&self, jobs: &[JobId]) -> bool {
        let held =
            |row: Option<Bytes>| self.output(row).is_some_and(|output| output == UNSTORABLE.to_string().as_bytes());
        let is_it = jobs.iter().any(|job| {
            let (view, parts) = self.truth(|tables| (tables.job(*job), tables.parts(*job, 0, usize::MAX)));
            held(view.and_then(|view| view.output)) || parts.into_iter().any(|part| held(part.output))
        });
        if is_it {
            self.oracle(|oracle| oracle.reaches(Reached::NotStorable));
        }
        is_it
    }

    /// Nothing is tried again below a job that was interrupted.
    fn check_not_interrupted(&self, job: JobId, parent: Option<JobId>) {
        let above = parent.and_then(|parent| self.truth(|tables| tables.job(parent)));
        if above.is_some_and(|above| above.job.tree.cancel_mode.is_some()) {
            self.oracle(|oracle| {
                oracle
                    .report(Property::Interrupted, format!("{job} is to be tried again, and its tree was interrupted"));
            });
        }
    }

    /// Tells the other processes.
    pub(crate) fn spread(&self, from: Owner, changes: &[StoreNotice]) {
        let news: Vec<_> = changes.iter().filter(|change| !matches!(change, StoreNotice::Event(_))).cloned().collect();
        if news.is_empty() {
            return;
        }
        let others: Vec<_> = self
            .ends
            .lock()
            .unwrap()
            .iter()
            .filter(|(owner, _)| **owner != from)
            .map(|(_, end)| Arc::clone(end))
            .collect();
        for end in others {
            self.executor.spawn(Owner::WORLD, end.notify_of(news.clone()));
        }
    }

    /// Writes a sign of life.
    pub(crate) fn beats(&self, owner: Owner, beat: Heartbeat) -> (HeartbeatReply, Vec<StoreNotice>) {
        let ((mut beaten, changes), taken_for_dead) = self.truth(|tables| {
            let names = |tables: &Tables| {
                let processes = tables.diagnostics(JobId::from_bytes([0; 16])).processes;
                processes.into_iter().map(|process| process.worker).collect::<BTreeSet<_>>()
            };
            let before = names(tables);
            let beaten = tables.heartbeat(beat);
            (beaten, before.difference(&names(tables)).cloned().collect::<Vec<_>>())
        });
        if self.scenario.store == StoreKind::Server {
            beaten.time = Some(self.time());
        }
        let now = self.executor.now();
        let last = self.oracle(|oracle| oracle.last_beat(owner));
        let is_routine = last.is_some_and(|last| now < last + IN_TIME) && taken_for_dead.is_empty();
        let interest = if is_routine { Interest::Routine } else { Interest::Shown };
        let found: Vec<_> = taken_for_dead.iter().filter_map(|worker| worker.split('/').next()).collect();
        let found = if found.is_empty() { String::new() } else { format!(", takes {} for dead", found.join(", ")) };
        self.note_for(interest, owner, format_args!("beats{found}"));
        self.oracle(|oracle| {
            oracle.buries(owner, &taken_for_dead, now);
            oracle.beats(owner, now);
        });
        (beaten, changes)
    }
}
