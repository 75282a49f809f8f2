//! The transactions of the simulated store, and the checks of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ork::{JobId, JobState};
use ork_core::tx::{Durability, StoreNotice};
use ork_ports::store::{Heartbeat, HeartbeatReply, JobView, Work};
use ork_runtime::store::memory::Tables;

use super::commits::Seen;
use super::executor::Owner;
use super::names::{Property, Reached};
use super::scenario::StoreKind;
use super::tasks::UNSTORABLE;
use super::trace::Interest;
use super::world::World;

/// A heartbeat that follows the one before within this time, in microseconds, only shows that its process works.
const IN_TIME: u64 = 6_000_000;

impl World {
    /// Carries out a transaction; also returns the positions of the operations that the store cannot hold.
    pub(crate) fn commit(
        self: &Arc<Self>,
        owner: Owner,
        batch: &mut [Box<dyn Work>],
    ) -> (Vec<StoreNotice>, BTreeSet<usize>) {
        self.flush();
        let (mut changes, mut refused, now) = (Vec::new(), BTreeSet::new(), self.executor.now());
        if now < self.conflicts_until() && self.executor.polls().is_multiple_of(2) {
            // Carries it out once before, like a transaction that is rolled back and repeated.
            let mut tables = self.truth(|tables| tables.clone());
            for work in batch.iter_mut() {
                let _rolled_back = tables.apply(work.as_mut());
            }
            self.oracle(|oracle| oracle.reaches(Reached::RolledBack));
        }
        // A job that waits for a permit is in the outbox from now on, and its message is acknowledged.
        // A file returns lazy claims before their commit, but not if others learn of them.
        let is_server = self.scenario.store == StoreKind::Server;
        let has_lazy = batch.iter().any(|work| work.durability() == Durability::Lazy);
        let must_survive = batch.iter().any(|work| {
            let durability = work.durability();
            let may_wait = work.limit(0).is_some() && (is_server || durability == Durability::Lazy);
            durability == Durability::PowerLoss || may_wait
        });
        for (at, work) in batch.iter_mut().enumerate() {
            let jobs: Vec<_> = (0..work.count()).map(|at| work.job(at)).collect();
            let snapshot = self.has_unstorable.then(|| self.truth(|tables| tables.clone()));
            let seen = |tables: &Tables| -> Vec<_> {
                jobs.iter().map(|job| Seen::of(tables, *job, self.is_printed)).collect()
            };
            let (before, after, notices) = self.truth(|tables| {
                let before = seen(tables);
                let notices = tables.apply(work.as_mut());
                (before, seen(tables), notices)
            });
            if let Some(tables) = snapshot.filter(|_| self.cannot_hold(&jobs)) {
                self.truth(|now| *now = tables);
                refused.insert(at);
                continue;
            }
            changes.extend(notices);
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
        // Other processes may have acted on a notice of it. Those of a file end with their computer.
        if must_survive || (!changes.is_empty() && (is_server || has_lazy)) {
            self.keep_durable();
        }
        self.clients.claimed.notify_waiters();
        self.in_commit(owner);
        self.broadcast(owner, &changes);
        (changes, refused)
    }

    /// Checks what a transaction has changed of a job.
    fn check_change(&self, owner: Owner, before: &Seen, after: &Seen, now: u64) {
        let (was, is) = (before.view.as_ref(), after.view.as_ref());
        self.oracle(|oracle| oracle.changed(owner, was, is, now));
        let Some(view) = is else { return };
        let job = &view.job;
        if job.state == JobState::Retrying && was.is_some_and(|was| was.job.state == JobState::Running) {
            self.check_not_interrupted(job.id, job.parent);
        }
        if was.is_some_and(|was| was.job.state.is_final()) && !job.state.is_final() {
            self.check_part_retry(owner, job.id);
        }
        let last = |view: &JobView| view.job.schedule_state().and_then(|ticks| ticks.last);
        if let Some(started) = last(view).filter(|_| last(view) != was.and_then(last)) {
            self.check_tick(started);
            if was.and_then(|was| was.job.schedule_state()).is_some_and(|state| state.paused) {
                let detail = format!("{started} is started by a schedule that is paused, {}", job.id);
                self.oracle(|oracle| oracle.report(Property::Schedule, detail));
            }
        }
        self.note(owner, format_args!("commit {} {} {}", job.task, job.id, before.changed_to(after)));
    }

    /// Returns whether one of these jobs, or a part of one, now has a value that the store cannot hold.
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

    /// Checks that nothing is retried below a job that was cancelled.
    fn check_not_interrupted(&self, job: JobId, parent: Option<JobId>) {
        let above = parent.and_then(|parent| self.truth(|tables| tables.job(parent)));
        if above.is_some_and(|above| above.job.tree.cancel_mode.is_some()) {
            self.oracle(|oracle| {
                oracle
                    .report(Property::Interrupted, format!("{job} is to be tried again, and its tree was interrupted"));
            });
        }
    }

    /// Sends the notices to the other processes.
    pub(crate) fn broadcast(&self, from: Owner, changes: &[StoreNotice]) {
        let notices: Vec<_> =
            changes.iter().filter(|change| !matches!(change, StoreNotice::Event(_))).cloned().collect();
        if notices.is_empty() {
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
            self.executor.spawn(Owner::WORLD, end.notify_of(notices.clone()));
        }
    }

    /// Writes a heartbeat.
    pub(crate) fn beats(&self, owner: Owner, beat: Heartbeat) -> (HeartbeatReply, Vec<StoreNotice>) {
        let ((mut reply, changes), presumed_dead) = self.truth(|tables| {
            let names = |tables: &Tables| {
                let processes = tables.diagnostics(JobId::from_bytes([0; 16])).processes;
                processes.into_iter().map(|process| process.worker).collect::<BTreeSet<_>>()
            };
            let before = names(tables);
            let reply = tables.heartbeat(beat);
            (reply, before.difference(&names(tables)).cloned().collect::<Vec<_>>())
        });
        if self.scenario.store == StoreKind::Server {
            reply.time = Some(self.time());
        }
        let now = self.executor.now();
        let last = self.oracle(|oracle| oracle.last_beat(owner));
        let is_routine = last.is_some_and(|last| now < last + IN_TIME) && presumed_dead.is_empty();
        let interest = if is_routine { Interest::Routine } else { Interest::Shown };
        let found: Vec<_> = presumed_dead.iter().filter_map(|worker| worker.split('/').next()).collect();
        let found = if found.is_empty() { String::new() } else { format!(", presumes {} dead", found.join(", ")) };
        self.note_for(interest, owner, format_args!("beats{found}"));
        self.oracle(|oracle| {
            oracle.check_presumed_dead(owner, &presumed_dead, now);
            oracle.beats(owner, now);
        });
        (reply, changes)
    }
}
