//! The books: the jobs and ledgers that one transaction has open, and what it will write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::limits::{Limit, Permits};
use super::owed::{NOT_HELD, Owed, OwedAsk, OwedId, OwedRow, ask_of};
use super::unique::Holder;
use super::{By, Change};
use crate::clock::Timestamp;
use crate::event::Telling;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{Effect, Job, Phase};
use crate::ledger::Ledger;
use crate::message::Outgoing;

/// A job with its ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The job.
    pub job: Job,
    /// Its parts; empty for a job without.
    pub ledger: Ledger,
    /// Whether it differs from what is stored.
    pub dirty: bool,
}

/// What became of one part's row.
#[derive(Debug, Clone, PartialEq)]
pub struct PartWrite {
    /// Which attempt at it has ended.
    pub attempt: u32,
    /// What it returned, or why it failed, for good or not.
    pub ended: Result<Bytes, Failure>,
}

/// What a transaction writes besides its entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Writes {
    /// Inputs of new jobs.
    pub inputs: Vec<(JobId, Bytes)>,
    /// Outputs of jobs.
    pub outputs: Vec<(JobId, Bytes)>,
    /// Jobs whose parts, shards and owed parts are removed, before anything else is written.
    pub cleared: Vec<JobId>,
    /// New parts: the job, the first index, the inputs.
    pub pages: Vec<(JobId, u64, Vec<Bytes>)>,
    /// News about parts.
    pub parts: Vec<(JobId, u64, PartWrite)>,
    /// New rows of the outbox.
    pub owed: Vec<OwedRow>,
    /// Which jobs have taken unique keys, and when.
    pub uniques: BTreeMap<Arc<str>, (JobId, Timestamp)>,
    /// How many permits of a limit a process holds now.
    pub permits: BTreeMap<(Arc<str>, [u8; 16]), u32>,
    /// How many rows that wait for a permit of a limit may go now, highest priority first, then the oldest.
    pub woken: BTreeMap<Arc<str>, u32>,
    /// Jobs that have ended and that other jobs may follow: what the store has that follows one of them, and nothing else that
    /// is open, may go.
    pub ended: Vec<JobId>,
    /// Jobs that have not ended, each with a new job that follows it. They are noted after all that has ended.
    pub followed: Vec<(JobId, JobId)>,
}

/// The jobs and ledgers a transaction has open, and what it will write.
#[derive(Debug, Default)]
pub struct Books {
    entries: HashMap<JobId, Option<Entry>>,
    /// Those that may have been changed since the books were written.
    touched: Vec<JobId>,
    pub(super) permits: HashMap<Arc<str>, Permits>,
    pub(super) uniques: HashMap<Arc<str>, Option<Holder>>,
    pub(super) next_owed: OwedId,
    /// Jobs that were made because a message of another program asks for them.
    pub(super) made: HashSet<JobId>,
    /// Jobs that were claimed: told once it is written, yet nobody waits for that.
    begun: Vec<JobId>,
    writes: Writes,
    pub(super) changes: Vec<Change>,
}

impl Books {
    /// Books in which rows of the outbox are numbered from `next_owed`.
    pub fn new(next_owed: OwedId) -> Self {
        Self { next_owed, ..Self::default() }
    }

    /// Whether this job was looked up.
    pub fn is_open(&self, id: JobId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Takes what the store knows of a job: nothing, or the job and its ledger.
    pub fn open(&mut self, id: JobId, entry: Option<(Job, Ledger)>) {
        self.entries.insert(id, entry.map(|(job, ledger)| Entry { job, ledger, dirty: false }));
    }

    /// Takes a whole entry.
    pub fn put(&mut self, id: JobId, entry: Entry) {
        self.entries.insert(id, Some(entry));
    }

    /// A job that is open and known.
    pub fn get(&self, id: JobId) -> Option<&Entry> {
        self.entries.get(&id)?.as_ref()
    }

    /// A job that is open and known, to be changed.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&id)?.as_mut();
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
        entry
    }

    /// A job whose start was claimed as this attempt, to be changed, if nothing has overtaken that.
    pub(super) fn current(&mut self, id: JobId, attempt: u32) -> Option<&mut Entry> {
        self.get_mut(id).filter(|entry| entry.job.is_current(Phase::Start, attempt))
    }

    /// How many jobs were looked up.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no job was looked up.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nobody else has to wait for what is to be written: nothing is made or owed, and nothing told but that
    /// jobs have begun.
    pub fn is_quiet(&self) -> bool {
        self.writes.inputs.is_empty() && self.writes.owed.is_empty() && self.changes.is_empty()
    }

    /// From now on rows of the outbox are numbered from here.
    pub const fn number_from(&mut self, next_owed: OwedId) {
        self.next_owed = next_owed;
    }

    /// The number after the last row of the outbox.
    pub const fn next_owed(&self) -> OwedId {
        self.next_owed
    }

    /// What is to be written: the changed entries and the rest, and the news to tell once it is.
    pub fn finish(&mut self) -> (Writes, Vec<Change>) {
        // The permits of a process end with it, without an operation: they are looked up anew.
        self.permits.clear();
        // Other processes take keys, too.
        self.uniques.clear();
        self.made.clear();
        let mut changes = std::mem::take(&mut self.changes);
        changes.extend(self.begun.drain(..).map(Change::Moved));
        (std::mem::take(&mut self.writes), changes)
    }

    /// The jobs that may have been changed since this was asked last, some of them twice.
    pub fn take_touched(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.touched)
    }

    /// A job whose changes are about to be written.
    pub fn written(&mut self, id: JobId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)?.as_mut()
    }

    /// Hands out every entry.
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_values().flatten()
    }

    pub(super) fn writes(&mut self) -> &mut Writes {
        &mut self.writes
    }

    pub(super) fn tell_begun(&mut self, job: JobId) {
        self.begun.push(job);
    }

    pub(super) fn tell(&mut self, change: Change) {
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    /// Adds a job.
    pub(super) fn create(&mut self, mut job: Job, input: Bytes) {
        self.adopt(&mut job);
        self.writes.inputs.push((job.id, input));
        self.touched.push(job.id);
        self.entries.insert(job.id, Some(Entry { job, ledger: Ledger::default(), dirty: true }));
    }

    /// Adds a row to the outbox; answers it with its messages if the caller holds it.
    pub(super) fn owe(
        &mut self,
        job: &Job,
        (ask, attempt, due): (OwedAsk, u32, Option<Timestamp>),
        by: &By,
        messages: Option<impl FnOnce(&OwedRow) -> Vec<Outgoing>>,
    ) -> Option<Owed> {
        let id = self.next_owed;
        self.next_owed += 1;
        let held = messages.filter(|_| by.hold && due.is_none());
        let row = OwedRow {
            id,
            job: job.id,
            task: job.task.clone(),
            ask,
            attempt,
            priority: job.priority,
            due,
            holder: held.as_ref().map(|_| by.worker.boot()),
            lost: 0,
            waits: None,
        };
        let owed = held.map(|messages| Owed { id, lost: 0, messages: messages(&row), goes_back: false });
        self.writes.owed.push(row);
        if owed.is_none() {
            self.tell(Change::Owed);
        }
        owed
    }

    /// Adds a row to the outbox that is due later, and that the caller holds until what is owed before it is told.
    fn owe_when_told(&mut self, job: &Job, (ask, attempt, due): (OwedAsk, u32, Timestamp), by: &By) -> Owed {
        let id = self.next_owed;
        let row = self.owe(job, (ask, attempt, Some(due)), &By { hold: false, ..by.clone() }, NOT_HELD);
        debug_assert_eq!(row, None, "it is not due");
        if let Some(row) = self.writes.owed.last_mut() {
            row.holder = Some(by.worker.boot());
        }
        Owed { id, lost: 0, messages: Vec::new(), goes_back: true }
    }

    /// Adds a row to the outbox that waits for a permit.
    pub(super) fn wait(&mut self, job: &Job, (ask, attempt, lost): (OwedAsk, u32, u32), limit: &Limit) {
        let (id, task, priority) = (self.next_owed, job.task.clone(), job.priority);
        self.next_owed += 1;
        let waits = Some(limit.clone());
        let row = OwedRow { id, job: job.id, task, ask, attempt, priority, due: None, holder: None, lost, waits };
        self.writes.owed.push(row);
    }

    /// Carries out what a change of a job owes. An input is read again when its row is taken, so that only messages
    /// that need none are held at once.
    pub(super) fn carry_out(&mut self, job: &Job, effects: Vec<Effect>, output: Option<&Bytes>, by: &By) -> Vec<Owed> {
        if job.is_over() {
            self.tell(Change::Ended(job.id));
        }
        let mut owed = Vec::new();
        for effect in effects {
            let one = match effect {
                // Somebody else may send it as soon as it is due, and must not before it is told why.
                Effect::Dispatch { phase, attempt, due: Some(due) }
                    if by.hold && matches!(by.tells, Telling::Owed(_)) =>
                {
                    Some(self.owe_when_told(job, (ask_of(phase), attempt, due), by))
                }
                Effect::Dispatch { phase: phase @ Phase::Join, attempt, due } => {
                    let work = |row: &OwedRow| vec![row.work(job, Bytes::new())];
                    self.owe(job, (ask_of(phase), attempt, due), by, Some(work))
                }
                Effect::Dispatch { phase: phase @ Phase::Start, attempt, due } => {
                    self.owe(job, (ask_of(phase), attempt, due), by, NOT_HELD)
                }
                // An output that was written before is read again.
                Effect::Reply if output.is_none() && self.has_written(job) => {
                    self.owe(job, (OwedAsk::Reply, job.attempt, None), by, NOT_HELD)
                }
                Effect::Reply => {
                    let reply = |_: &OwedRow| OwedRow::replies(job, output);
                    self.owe(job, (OwedAsk::Reply, job.attempt, None), by, Some(reply))
                }
                Effect::Hooks(which) => {
                    let hooks = |_: &OwedRow| vec![OwedRow::hooks(job, which)];
                    self.owe(job, (OwedAsk::Hooks { which }, job.attempt, None), by, Some(hooks))
                }
                Effect::Told(kind) => self.happened(job, kind, by),
                Effect::Ended => {
                    owed.extend(self.ended(job, by));
                    None
                }
                Effect::Reopened { was } => {
                    owed.extend(self.reopened(job, was, by));
                    None
                }
            };
            owed.extend(one);
        }
        owed
    }

    /// Whether a job may have returned its output before it ended: it waited for the jobs below it, or for its parts.
    fn has_written(&self, job: &Job) -> bool {
        job.tree.verdict.is_some() || self.get(job.id).is_some_and(|entry| entry.ledger.head().epoch > 0)
    }

    /// Ends a job's wait for its parts if the last one is settled.
    pub(super) fn complete(&mut self, id: JobId, by: &By) -> Vec<Owed> {
        let Some(entry) = self.get_mut(id) else {
            return Vec::new();
        };
        let Some(counts) = entry.ledger.complete() else {
            return Vec::new();
        };
        let effects = entry.job.parts_done(entry.ledger.head(), counts, by.now);
        entry.dirty = true;
        let job = entry.job.clone();
        self.carry_out(&job, effects, None, by)
    }
}
