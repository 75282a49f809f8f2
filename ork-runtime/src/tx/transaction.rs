//! The books: the jobs and ledgers that one transaction has open, and what it will write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::limits::{Limit, Permits};
use super::outbox::{HeldRow, NOT_HELD, OutboxId, OutboxKind, OutboxRow, kind_of};
use super::unique::KeyHolder;
use super::{Actor, StoreNotice};
use crate::clock::Timestamp;
use crate::event::EventRouting;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{Effect, Job, Phase};
use crate::ledger::Ledger;
use crate::message::Outgoing;

/// A job with its ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedJob {
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
    pub to_send: Vec<OutboxRow>,
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
pub struct Transaction {
    entries: HashMap<JobId, Option<LoadedJob>>,
    /// Those that may have been changed since the books were written.
    touched: Vec<JobId>,
    pub(super) permits: HashMap<Arc<str>, Permits>,
    pub(super) uniques: HashMap<Arc<str>, Option<KeyHolder>>,
    pub(super) next_outbox_id: OutboxId,
    /// Jobs that were made because a message of another program asks for them.
    pub(super) created: HashSet<JobId>,
    /// Jobs that were claimed: told once it is written, yet nobody waits for that.
    started: Vec<JobId>,
    writes: Writes,
    pub(super) changes: Vec<StoreNotice>,
}

impl Transaction {
    /// Books in which rows of the outbox are numbered from `next_outbox_id`.
    pub fn new(next_outbox_id: OutboxId) -> Self {
        Self { next_outbox_id, ..Self::default() }
    }

    /// Whether this job was looked up.
    pub fn is_open(&self, id: JobId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Takes what the store knows of a job: nothing, or the job and its ledger.
    pub fn open(&mut self, id: JobId, entry: Option<(Job, Ledger)>) {
        self.entries.insert(id, entry.map(|(job, ledger)| LoadedJob { job, ledger, dirty: false }));
    }

    /// Takes a whole entry.
    pub fn put(&mut self, id: JobId, entry: LoadedJob) {
        self.entries.insert(id, Some(entry));
    }

    /// A job that is open and known.
    pub fn get(&self, id: JobId) -> Option<&LoadedJob> {
        self.entries.get(&id)?.as_ref()
    }

    /// A job that is open and known, to be changed.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut LoadedJob> {
        let entry = self.entries.get_mut(&id)?.as_mut();
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
        entry
    }

    /// A job whose start was claimed as this attempt, to be changed, if nothing has overtaken that.
    pub(super) fn current(&mut self, id: JobId, attempt: u32) -> Option<&mut LoadedJob> {
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
        self.writes.inputs.is_empty() && self.writes.to_send.is_empty() && self.changes.is_empty()
    }

    /// From now on rows of the outbox are numbered from here.
    pub const fn number_from(&mut self, next_outbox_id: OutboxId) {
        self.next_outbox_id = next_outbox_id;
    }

    /// The number after the last row of the outbox.
    pub const fn next_outbox_id(&self) -> OutboxId {
        self.next_outbox_id
    }

    /// What is to be written: the changed entries and the rest, and the news to tell once it is.
    pub fn finish(&mut self) -> (Writes, Vec<StoreNotice>) {
        // The permits of a process end with it, without an operation: they are looked up anew.
        self.permits.clear();
        // Other processes take keys, too.
        self.uniques.clear();
        self.created.clear();
        let mut changes = std::mem::take(&mut self.changes);
        changes.extend(self.started.drain(..).map(StoreNotice::JobChanged));
        (std::mem::take(&mut self.writes), changes)
    }

    /// The jobs that may have been changed since this was asked last, some of them twice.
    pub fn take_touched(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.touched)
    }

    /// A job whose changes are about to be written.
    pub fn written(&mut self, id: JobId) -> Option<&mut LoadedJob> {
        self.entries.get_mut(&id)?.as_mut()
    }

    /// Hands out every entry.
    pub fn into_entries(self) -> impl Iterator<Item = LoadedJob> {
        self.entries.into_values().flatten()
    }

    pub(super) fn writes(&mut self) -> &mut Writes {
        &mut self.writes
    }

    pub(super) fn notify_started(&mut self, job: JobId) {
        self.started.push(job);
    }

    pub(super) fn notify(&mut self, change: StoreNotice) {
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    /// Adds a job.
    pub(super) fn create(&mut self, mut job: Job, input: Bytes) {
        self.attach_to_parent(&mut job);
        self.writes.inputs.push((job.id, input));
        self.touched.push(job.id);
        self.entries.insert(job.id, Some(LoadedJob { job, ledger: Ledger::default(), dirty: true }));
    }

    /// Adds a row to the outbox; answers it with its messages if the caller holds it.
    pub(super) fn enqueue(
        &mut self,
        job: &Job,
        (kind, attempt, due): (OutboxKind, u32, Option<Timestamp>),
        actor: &Actor,
        messages: Option<impl FnOnce(&OutboxRow) -> Vec<Outgoing>>,
    ) -> Option<HeldRow> {
        let id = self.next_outbox_id;
        self.next_outbox_id += 1;
        let held = messages.filter(|_| actor.hold && due.is_none());
        let row = OutboxRow {
            id,
            job: job.id,
            task: job.task.clone(),
            kind,
            attempt,
            priority: job.priority,
            due,
            holder: held.as_ref().map(|_| actor.worker.boot()),
            lost: 0,
            waits_for: None,
        };
        let to_send =
            held.map(|messages| HeldRow { id, lost: 0, messages: messages(&row), release_after_events: false });
        self.writes.to_send.push(row);
        if to_send.is_none() {
            self.notify(StoreNotice::OutboxReady);
        }
        to_send
    }

    /// Adds a row to the outbox that is due later, and that the caller holds until what is owed before it is told.
    fn enqueue_after_event(
        &mut self,
        job: &Job,
        (kind, attempt, due): (OutboxKind, u32, Timestamp),
        actor: &Actor,
    ) -> HeldRow {
        let id = self.next_outbox_id;
        let row = self.enqueue(job, (kind, attempt, Some(due)), &Actor { hold: false, ..actor.clone() }, NOT_HELD);
        debug_assert_eq!(row, None, "it is not due");
        if let Some(row) = self.writes.to_send.last_mut() {
            row.holder = Some(actor.worker.boot());
        }
        HeldRow { id, lost: 0, messages: Vec::new(), release_after_events: true }
    }

    /// Adds a row to the outbox that waits for a permit.
    pub(super) fn enqueue_waiting(&mut self, job: &Job, (kind, attempt, lost): (OutboxKind, u32, u32), limit: &Limit) {
        let (id, task, priority) = (self.next_outbox_id, job.task.clone(), job.priority);
        self.next_outbox_id += 1;
        let waits_for = Some(limit.clone());
        let row =
            OutboxRow { id, job: job.id, task, kind, attempt, priority, due: None, holder: None, lost, waits_for };
        self.writes.to_send.push(row);
    }

    /// Carries out what a change of a job owes. An input is read again when its row is taken, so that only messages
    /// that need none are held at once.
    pub(super) fn apply_effects(
        &mut self,
        job: &Job,
        effects: Vec<Effect>,
        output: Option<&Bytes>,
        actor: &Actor,
    ) -> Vec<HeldRow> {
        if job.own_work_ended() {
            self.notify(StoreNotice::JobEnded(job.id));
        }
        let mut to_send = Vec::new();
        for effect in effects {
            let one = match effect {
                // Somebody else may send it as soon as it is due, and must not before it is told why.
                Effect::Dispatch { phase, attempt, due: Some(due) }
                    if actor.hold && matches!(actor.events, EventRouting::Outbox(_)) =>
                {
                    Some(self.enqueue_after_event(job, (kind_of(phase), attempt, due), actor))
                }
                Effect::Dispatch { phase: phase @ Phase::Join, attempt, due } => {
                    let work = |row: &OutboxRow| vec![row.work(job, Bytes::new())];
                    self.enqueue(job, (kind_of(phase), attempt, due), actor, Some(work))
                }
                Effect::Dispatch { phase: phase @ Phase::Start, attempt, due } => {
                    self.enqueue(job, (kind_of(phase), attempt, due), actor, NOT_HELD)
                }
                // An output that was written before is read again.
                Effect::Reply if output.is_none() && self.has_written(job) => {
                    self.enqueue(job, (OutboxKind::Reply, job.attempt, None), actor, NOT_HELD)
                }
                Effect::Reply => {
                    let reply = |_: &OutboxRow| OutboxRow::replies(job, output);
                    self.enqueue(job, (OutboxKind::Reply, job.attempt, None), actor, Some(reply))
                }
                Effect::Hooks(which) => {
                    let hooks = |_: &OutboxRow| vec![OutboxRow::hooks(job, which)];
                    self.enqueue(job, (OutboxKind::Hooks { which }, job.attempt, None), actor, Some(hooks))
                }
                Effect::Emit(kind) => self.emit(job, kind, actor),
                Effect::Ended => {
                    to_send.extend(self.propagate_end(job, actor));
                    None
                }
                Effect::Reopened { was } => {
                    to_send.extend(self.propagate_reopen(job, was, actor));
                    None
                }
            };
            to_send.extend(one);
        }
        to_send
    }

    /// Whether a job may have returned its output before it ended: it waited for the jobs below it, or for its parts.
    fn has_written(&self, job: &Job) -> bool {
        job.tree.verdict.is_some() || self.get(job.id).is_some_and(|entry| entry.ledger.head().epoch > 0)
    }

    /// Ends a job's wait for its parts if the last one is settled.
    pub(super) fn finish_parts(&mut self, id: JobId, actor: &Actor) -> Vec<HeldRow> {
        let Some(entry) = self.get_mut(id) else {
            return Vec::new();
        };
        let Some(counts) = entry.ledger.complete() else {
            return Vec::new();
        };
        let effects = entry.job.on_parts_completed(entry.ledger.head(), counts, actor.now);
        entry.dirty = true;
        let job = entry.job.clone();
        self.apply_effects(&job, effects, None, actor)
    }
}
