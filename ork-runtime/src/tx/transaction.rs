//! A transaction: the jobs and ledgers that it has loaded, and what it will write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::limits::{Limit, Permits};
use super::outbox::{HeldRow, NewRow, OutboxId, OutboxKind, OutboxRow};
use super::types::{Actor, StoreNotice};
use super::unique::KeyHolder;
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{Job, Phase};
use crate::ledger::Ledger;
use crate::message::Outgoing;

/// A job with its ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedJob {
    /// The job.
    pub job: Job,
    /// The ledger of its parts; empty for a job without parts.
    pub ledger: Ledger,
    /// Whether it differs from what is stored.
    pub dirty: bool,
}

/// How the row of one part changes.
#[derive(Debug, Clone, PartialEq)]
pub struct PartWrite {
    /// The attempt that has ended.
    pub attempt: u32,
    /// The output, or the failure, whether it is final or retried.
    pub ended: Result<Bytes, Failure>,
}

/// What a transaction writes besides the jobs and ledgers that it has changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Writes {
    /// The inputs of new jobs.
    pub inputs: Vec<(JobId, Bytes)>,
    /// The outputs of jobs.
    pub outputs: Vec<(JobId, Bytes)>,
    /// Jobs whose parts, shards and outbox rows of parts are deleted before anything else is written.
    pub cleared: Vec<JobId>,
    /// New parts: the job, the index of the first part, the inputs.
    pub pages: Vec<(JobId, u64, Vec<Bytes>)>,
    /// Changed rows of parts: the job, the index, the change.
    pub parts: Vec<(JobId, u64, PartWrite)>,
    /// New rows of the outbox.
    pub outbox: Vec<OutboxRow>,
    /// Unique keys that jobs have acquired, and when.
    pub uniques: BTreeMap<Arc<str>, (JobId, Timestamp)>,
    /// The number of permits of a limit that a process holds from now on.
    pub permits: BTreeMap<(Arc<str>, [u8; 16]), u32>,
    /// How many rows that wait for a limit are released: those with the highest priority, among these the oldest.
    pub woken: BTreeMap<Arc<str>, u32>,
    /// Jobs that have ended and have followers. The store releases each row that waits for one of them and for no other
    /// job that is open.
    pub ended: Vec<JobId>,
    /// Pairs of an open job and a new job that follows it. They are written after all of `ended`.
    pub followed: Vec<(JobId, JobId)>,
}

/// The jobs and ledgers that a transaction has loaded, and what it will write.
#[derive(Debug, Default)]
pub struct Transaction {
    jobs: HashMap<JobId, Option<LoadedJob>>,
    /// Jobs that may have changed since the last write.
    touched: Vec<JobId>,
    pub(super) permits: HashMap<Arc<str>, Permits>,
    pub(super) uniques: HashMap<Arc<str>, Option<KeyHolder>>,
    pub(super) next_outbox_id: OutboxId,
    /// Jobs that were created for messages of other programs.
    pub(super) created: HashSet<JobId>,
    /// Jobs that were claimed. Listeners are notified after the commit, but no caller waits for that.
    started: Vec<JobId>,
    writes: Writes,
    /// Rows that this process holds and that no operation has returned yet.
    held: Vec<HeldRow>,
    pub(super) notices: Vec<StoreNotice>,
}

impl Transaction {
    /// Creates a transaction whose outbox rows are numbered from `next_outbox_id`.
    pub fn new(next_outbox_id: OutboxId) -> Self {
        Self { next_outbox_id, ..Self::default() }
    }

    /// Whether the store has looked up this job.
    pub fn is_open(&self, id: JobId) -> bool {
        self.jobs.contains_key(&id)
    }

    /// Takes a job and its ledger from the store, or that there is no such job.
    pub fn open(&mut self, id: JobId, found: Option<(Job, Ledger)>) {
        self.jobs.insert(id, found.map(|(job, ledger)| LoadedJob { job, ledger, dirty: false }));
    }

    /// Takes a loaded job that another transaction has left.
    pub fn put(&mut self, id: JobId, loaded: LoadedJob) {
        self.jobs.insert(id, Some(loaded));
    }

    /// A job that was looked up and exists.
    pub fn get(&self, id: JobId) -> Option<&LoadedJob> {
        self.jobs.get(&id)?.as_ref()
    }

    /// A job that was looked up and exists, to be changed.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut LoadedJob> {
        let loaded = self.jobs.get_mut(&id)?.as_mut();
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
        loaded
    }

    /// A job whose start was claimed as this attempt, to be changed; `None` if the attempt is stale.
    pub(super) fn current(&mut self, id: JobId, attempt: u32) -> Option<&mut LoadedJob> {
        self.get_mut(id).filter(|loaded| loaded.job.is_current(Phase::Start, attempt))
    }

    /// The number of jobs that were looked up.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job was looked up.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether no other process needs to see what will be written soon: it creates no job and no outbox row, and
    /// notifies of nothing except jobs that have started.
    pub fn is_quiet(&self) -> bool {
        self.writes.inputs.is_empty() && self.writes.outbox.is_empty() && self.notices.is_empty()
    }

    /// Numbers further outbox rows from here.
    pub const fn number_from(&mut self, next_outbox_id: OutboxId) {
        self.next_outbox_id = next_outbox_id;
    }

    /// The number of the next outbox row.
    pub const fn next_outbox_id(&self) -> OutboxId {
        self.next_outbox_id
    }

    /// Takes what is to be written besides the changed jobs, and the notices to send after the commit.
    pub fn finish(&mut self) -> (Writes, Vec<StoreNotice>) {
        // Other processes change permits and keys, without an operation of this process: they are looked up again.
        self.permits.clear();
        self.uniques.clear();
        self.created.clear();
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.started.drain(..).map(StoreNotice::JobChanged));
        (std::mem::take(&mut self.writes), notices)
    }

    /// Takes the jobs that may have changed since the last call; some occur twice.
    pub fn take_touched(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.touched)
    }

    /// A job whose changes are about to be written.
    pub fn written(&mut self, id: JobId) -> Option<&mut LoadedJob> {
        self.jobs.get_mut(&id)?.as_mut()
    }

    /// All loaded jobs.
    pub fn into_jobs(self) -> impl Iterator<Item = LoadedJob> {
        self.jobs.into_values().flatten()
    }

    pub(super) const fn writes(&mut self) -> &mut Writes {
        &mut self.writes
    }

    pub(super) fn notify_started(&mut self, job: JobId) {
        self.started.push(job);
    }

    pub(super) fn notify(&mut self, notice: StoreNotice) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// Adds a job.
    pub(super) fn create(&mut self, mut job: Job, input: Bytes) {
        self.attach_to_parent(&mut job);
        self.writes.inputs.push((job.id, input));
        self.touched.push(job.id);
        self.jobs.insert(job.id, Some(LoadedJob { job, ledger: Ledger::default(), dirty: true }));
    }

    /// Takes the rows that the last operation has added and that this process holds: it must send them.
    pub fn take_held(&mut self) -> Vec<HeldRow> {
        std::mem::take(&mut self.held)
    }

    /// Adds an outbox row. If it is due at once and the process holds its rows, the process gets it with its messages.
    pub(super) fn enqueue(
        &mut self,
        job: &Job,
        NewRow { kind, attempt, due }: NewRow,
        actor: &Actor,
        messages: Option<impl FnOnce(&OutboxRow) -> Vec<Outgoing>>,
    ) {
        let mut row = self.row(job, kind, attempt);
        row.due = due;
        if let Some(messages) = messages.filter(|_| actor.hold && due.is_none()) {
            row.holder = Some(actor.worker.boot());
            let messages = messages(&row);
            self.held.push(HeldRow { id: row.id, losses: 0, messages, release_after_events: false });
        } else {
            self.notify(StoreNotice::OutboxReady);
        }
        self.writes.outbox.push(row);
    }

    /// Adds an outbox row that this process holds and does not send. Returns its number.
    pub(super) fn enqueue_lease(&mut self, job: &Job, new: NewRow, actor: &Actor) -> OutboxId {
        let row = self.row(job, new.kind, new.attempt);
        let (id, holder) = (row.id, Some(actor.worker.boot()));
        self.writes.outbox.push(OutboxRow { holder, ..row });
        id
    }

    /// Adds an outbox row that is due later. This process holds it until the events before it are published: another
    /// process could otherwise send it before them.
    pub(super) fn enqueue_after_events(&mut self, job: &Job, new: NewRow, actor: &Actor) {
        let row = self.row(job, new.kind, new.attempt);
        let (id, holder) = (row.id, Some(actor.worker.boot()));
        self.writes.outbox.push(OutboxRow { due: new.due, holder, ..row });
        self.held.push(HeldRow { id, losses: 0, messages: Vec::new(), release_after_events: true });
        self.notify(StoreNotice::OutboxReady);
    }

    /// Adds an outbox row that waits for a permit of a limit.
    pub(super) fn enqueue_waiting(&mut self, job: &Job, new: NewRow, losses: u32, limit: &Limit) {
        let row = self.row(job, new.kind, new.attempt);
        self.writes.outbox.push(OutboxRow { losses, waits_for: Some(limit.clone()), ..row });
    }

    fn row(&mut self, job: &Job, kind: OutboxKind, attempt: u32) -> OutboxRow {
        let id = self.next_outbox_id;
        self.next_outbox_id += 1;
        let (task, priority) = (job.task.clone(), job.priority);
        let (due, holder, losses, waits_for) = (None, None, 0, None);
        OutboxRow { id, job: job.id, task, kind, attempt, priority, due, holder, losses, waits_for }
    }
}
