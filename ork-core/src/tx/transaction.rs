//! A transaction: the jobs and ledgers that it has loaded, and the changes that it will write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::outbox::{HeldRow, NewRow, OutboxId, OutboxKind, OutboxRow};
use super::permits::{Held, Limit, Permits};
use super::types::{Actor, KeyHolder, StoreNotice};
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::JobId;
use crate::job::{Job, Phase};
use crate::ledger::Ledger;
use crate::message::Outgoing;

/// A job with its ledger, as a transaction has loaded or changed it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedJob {
    /// The job.
    pub job: Job,
    /// The ledger of its parts. Empty for a job without parts.
    pub ledger: Ledger,
    /// Whether the job differs from its row in the store, and must be written.
    pub dirty: bool,
}

/// A change of the row of one part: an attempt that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct PartWrite {
    /// The number of the attempt.
    pub attempt: u32,
    /// The output, or the failure, whether the part is retried or has failed.
    pub ended: Result<Bytes, Failure>,
}

/// The changes that a transaction writes besides the changed jobs and ledgers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Writes {
    /// The inputs of new jobs, as JSON.
    pub inputs: Vec<(JobId, Bytes)>,
    /// The outputs of jobs, as JSON.
    pub outputs: Vec<(JobId, Bytes)>,
    /// Jobs whose parts, shards and outbox rows of parts are deleted before anything else is written.
    pub cleared: Vec<JobId>,
    /// Pages of new parts: the job, the index of the first part, and the inputs.
    pub pages: Vec<(JobId, u64, Vec<Bytes>)>,
    /// Changed rows of parts: the job, the index of the part, and the change.
    pub parts: Vec<(JobId, u64, PartWrite)>,
    /// New rows of the outbox.
    pub outbox: Vec<OutboxRow>,
    /// The unique keys that jobs have acquired, each with the job and the time.
    pub uniques: BTreeMap<Arc<str>, (JobId, Timestamp)>,
    /// The permits that a process holds after the transaction, by limit and boot id.
    pub permits: BTreeMap<(Arc<str>, [u8; 16]), Held>,
    /// The number of waiting rows to release for each limit. Rows with the highest priority are released first, and of
    /// these the oldest.
    pub woken: BTreeMap<Arc<str>, u32>,
    /// Jobs that have ended and have followers. The store releases each row that waits for one of them and for no job
    /// that is still open.
    pub ended: Vec<JobId>,
    /// Pairs of an open job and a new job that follows it. They are written after all of `ended`.
    pub followed: Vec<(JobId, JobId)>,
}

/// The jobs and ledgers that a transaction has loaded, and the changes that it will write.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The jobs that the store has looked up or that operations have created, with their ledgers; `None` for a job that
    /// does not exist. A store may keep the transaction after the commit as a cache of these jobs, for as long as no
    /// other process writes.
    jobs: HashMap<JobId, Option<LoadedJob>>,
    /// The jobs that operations have created or may have changed since the last write. A store needs to write only
    /// these, and of them only what differs from their rows. A job may be listed more than once.
    touched: Vec<JobId>,
    /// The permits of each concurrency limit that was looked up, by the name of the limit, including the changes of the
    /// operations applied so far. Emptied by [`Transaction::finish`], because other processes change permits, too.
    pub(super) permits: HashMap<Arc<str>, Permits>,
    /// The job that acquired each looked-up unique key last; `None` for a key that no job has acquired. Emptied by
    /// [`Transaction::finish`], like `permits`.
    pub(super) uniques: HashMap<Arc<str>, Option<KeyHolder>>,
    /// The number of the next outbox row. The store sets it before the first operation, and continues from it in the
    /// next transaction.
    pub(super) next_outbox_id: OutboxId,
    /// The jobs that a claim has created, because their messages came from other programs. The claim reports this in
    /// its output.
    pub(super) created: HashSet<JobId>,
    /// The jobs that were claimed. Listeners are notified of them after the commit. They are kept apart from `notices`,
    /// because no caller waits for these notices: a transaction with no others is [quiet](Transaction::is_quiet).
    started: Vec<JobId>,
    /// The changes besides those of jobs and ledgers. Taken by [`Transaction::finish`].
    writes: Writes,
    /// New rows of the outbox that this process holds, with their messages. After each operation,
    /// [`Transaction::take_held`] takes them: this process must send them once the transaction is committed.
    held: Vec<HeldRow>,
    /// The notices to send to the listeners in this process after the commit, without duplicates. Taken by
    /// [`Transaction::finish`].
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

    /// Adds a job and its ledger, as the store has looked them up. `None` records that the job does not exist.
    pub fn open(&mut self, id: JobId, found: Option<(Job, Ledger)>) {
        self.jobs.insert(id, found.map(|(job, ledger)| LoadedJob { job, ledger, dirty: false }));
    }

    /// Adds a job that an earlier transaction had loaded.
    pub fn put(&mut self, id: JobId, loaded: LoadedJob) {
        self.jobs.insert(id, Some(loaded));
    }

    /// Returns a job that was looked up and exists.
    pub fn get(&self, id: JobId) -> Option<&LoadedJob> {
        self.jobs.get(&id)?.as_ref()
    }

    /// Returns a job that was looked up and exists, to be changed. The caller sets `dirty` if it changes the job.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut LoadedJob> {
        let loaded = self.jobs.get_mut(&id)?.as_mut();
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
        loaded
    }

    /// Returns a job to be changed, if its start was claimed as this attempt. Returns `None` if the attempt is stale.
    pub(super) fn current(&mut self, id: JobId, attempt: u32) -> Option<&mut LoadedJob> {
        self.get_mut(id).filter(|loaded| loaded.job.is_current(Phase::Start, attempt))
    }

    /// Returns the number of jobs that were looked up.
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

    /// Continues the numbers of outbox rows at this number.
    pub const fn number_from(&mut self, next_outbox_id: OutboxId) {
        self.next_outbox_id = next_outbox_id;
    }

    /// Returns the number of the next outbox row.
    pub const fn next_outbox_id(&self) -> OutboxId {
        self.next_outbox_id
    }

    /// Takes the writes besides the changed jobs, and the notices to send after the commit.
    pub fn finish(&mut self) -> (Writes, Vec<StoreNotice>) {
        // Other processes change permits and keys, so the next transaction looks them up again.
        self.permits.clear();
        self.uniques.clear();
        self.created.clear();
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.started.drain(..).map(StoreNotice::JobChanged));
        (std::mem::take(&mut self.writes), notices)
    }

    /// Takes the jobs that may have changed since the last call. The list may contain duplicates.
    pub fn take_touched(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.touched)
    }

    /// Returns a job with changes that are about to be written. Unlike `get_mut`, it does not count as touched.
    pub fn written(&mut self, id: JobId) -> Option<&mut LoadedJob> {
        self.jobs.get_mut(&id)?.as_mut()
    }

    /// Returns all loaded jobs.
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

    /// Adds a new job, and counts it in its ancestors.
    pub(super) fn create(&mut self, mut job: Job, input: Bytes) {
        self.attach_to_parent(&mut job);
        self.writes.inputs.push((job.id, input));
        self.touched.push(job.id);
        self.jobs.insert(job.id, Some(LoadedJob { job, ledger: Ledger::default(), dirty: true }));
    }

    /// Takes the rows that the last operation has added and that this process holds. This process must send them.
    pub fn take_held(&mut self) -> Vec<HeldRow> {
        std::mem::take(&mut self.held)
    }

    /// Adds an outbox row. If `messages` are given, the row is due at once and the actor holds its rows, then this
    /// process holds the row and gets it with its messages.
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

    /// Adds a lease: an outbox row that this process holds and does not send. Returns its number.
    pub(super) fn enqueue_lease(&mut self, job: &Job, new: NewRow, actor: &Actor) -> OutboxId {
        let row = self.row(job, new.kind, new.attempt);
        let (id, holder) = (row.id, Some(actor.worker.boot()));
        self.writes.outbox.push(OutboxRow { holder, ..row });
        id
    }

    /// Adds an outbox row that is due later. This process holds it until the events before it are published, because
    /// another process could otherwise send it before them.
    pub(super) fn enqueue_after_events(&mut self, job: &Job, new: NewRow, actor: &Actor) {
        let row = self.row(job, new.kind, new.attempt);
        let (id, holder) = (row.id, Some(actor.worker.boot()));
        self.writes.outbox.push(OutboxRow { due: new.due, holder, ..row });
        self.held.push(HeldRow { id, losses: 0, messages: Vec::new(), release_after_events: true });
        self.notify(StoreNotice::OutboxReady);
    }

    /// Adds an outbox row that is not taken before a permit of this limit releases it.
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
