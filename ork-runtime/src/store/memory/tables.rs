//! The tables of the store `memory:`, without a lock and without listeners: functions that change them return the
//! notices to send.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::follows::Follows;
use super::metrics::Metrics;
use super::parts::{PartRow, page};
use crate::clock::Timestamp;
use crate::context::Progress;
use crate::id::JobId;
use crate::message::Outgoing;
use crate::metric::{Delta, Metric};
use crate::mutant::{self, Mutant};
use crate::store::{
    Expired, Filter, JobDiagnostics, JobView, LiveProcess, MetricsOf, OPEN, OutboxPage, PartFilter, PartStatus, Prune,
    Pruned, Take, Work,
};
use crate::task::parts::SettledPart;
use crate::tx::{
    ALIVE, Actor, Held, HeldRow, KeyHolder, Limit, LoadedJob, OutboxId, OutboxKind, OutboxRow, Permits, StoreNotice,
    Transaction, ends_before,
};

#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The job and its ledger. An operation that needs them moves them into its transaction and back.
    pub(super) entry: LoadedJob,
    /// The input of the job, as JSON.
    pub(super) input: Bytes,
    /// The output of the job, as JSON; `None` before the job has succeeded, and if its function returns none.
    pub(super) output: Option<Bytes>,
    /// The progress that the job itself last reported.
    pub(super) progress: Option<Progress>,
    /// The rows of the job's parts, by index.
    pub(super) parts: BTreeMap<u64, PartRow>,
}

/// All data of the store: jobs with their parts and metrics, the outbox, permits, unique keys, and live processes.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// All jobs, by id. A job stays after its end, until [`Tables::prune`] removes it.
    pub(super) jobs: HashMap<JobId, Row>,
    /// The ids of all jobs. Ids are ordered by the time at which they were made, so the oldest job comes first.
    pub(super) by_age: BTreeSet<JobId>,
    /// The metrics of jobs. They are removed together with their job.
    pub(super) metrics: Metrics,
    /// The rows of the outbox, whether free, delayed, waiting or held. The process that holds a row deletes it once it
    /// is sent. The next three fields are indexes of the rows that no process holds.
    pub(super) outbox: BTreeMap<OutboxId, OutboxRow>,
    /// The rows that are due and free. The key begins with the inverted priority, so that the first row is the oldest
    /// one of the highest priority.
    free: BTreeSet<(u8, OutboxId)>,
    /// The rows that are not due yet, by the time at which they are. [`Tables::take`] makes them free when this time
    /// has come.
    later: BTreeSet<(Timestamp, OutboxId)>,
    /// The rows that wait for a permit, by the name of its limit, in the order of `free`. Rows of followers also wait
    /// here: the limit then stands for the end of the jobs that they follow.
    waiting: BTreeMap<Arc<str>, BTreeSet<(u8, OutboxId)>>,
    /// Pairs of a job that has not ended and a follower of it, for followers of several jobs. The end of the last
    /// followed job frees the row of the follower.
    follows: Follows,
    /// The permits that each process holds, by the name of the limit and the boot id. Those of a process that has ended
    /// are removed, and rows that wait for them become free.
    pub(super) permits: BTreeMap<Arc<str>, HashMap<[u8; 16], Held>>,
    /// The job that acquired each unique key last, and the time of its last sign of life. The entry remains when the
    /// job ends, although the key is free then, and is removed together with the job.
    pub(super) uniques: HashMap<Arc<str>, (JobId, Timestamp)>,
    /// The processes that are presumed alive, by boot id. A process that holds something always has an entry. Each
    /// heartbeat renews that of its process, and removes those that have expired: what they held becomes free.
    pub(super) workers: HashMap<[u8; 16], LiveProcess>,
    /// The number of the next row of the outbox.
    next_outbox_id: OutboxId,
}

impl Tables {
    /// Applies operations in order. Returns the notices to send.
    pub fn apply(&mut self, work: &mut dyn Work) -> Vec<StoreNotice> {
        (0..work.count()).flat_map(|at| self.apply_one(work, at)).collect()
    }

    fn apply_one(&mut self, work: &mut dyn Work, at: usize) -> Vec<StoreNotice> {
        let mut tx = Transaction::new(self.next_outbox_id);
        // A row is moved into the transaction and back, so that no ledger is copied.
        let mut rows = HashMap::new();
        let one = [Some(work.job(at)), work.with(at)].into_iter().flatten();
        for id in one.chain(work.follows(at).iter().copied()) {
            let mut next = Some(id);
            while let Some(id) = next.filter(|id| !tx.is_open(*id)) {
                tx.open(id, None);
                let Some(row) = self.jobs.remove(&id) else { break };
                next = row.entry.job.parent;
                tx.put(id, row.entry);
                rows.insert(id, (row.input, row.output, row.progress, row.parts));
            }
        }
        if let Some(limit) = work.limit(at) {
            let held = self.permits.get(limit).into_iter().flatten().map(|(boot, held)| (*boot, *held));
            tx.open_permits(Arc::clone(limit), Permits::new(held));
        }
        if let Some(key) = work.unique(at) {
            let holder = self.uniques.get(key).map(|(job, seen)| {
                let row = self.jobs.get(job).map(|row| &row.entry.job);
                let seen = (*seen).max(row.and_then(|job| job.started).unwrap_or_default());
                KeyHolder { job: *job, seen, open: row.is_some_and(|job| !job.state.is_final()) }
            });
            tx.open_unique(Arc::clone(key), holder);
        }
        work.apply(at, &mut tx);
        let (writes, mut notices) = tx.finish();
        self.next_outbox_id = tx.next_outbox_id();
        for (id, input) in writes.inputs {
            rows.insert(id, (input, None, None, BTreeMap::new()));
            self.by_age.insert(id);
        }
        for entry in tx.into_jobs() {
            let id = entry.job.id;
            let (input, output, progress, parts) = rows.remove(&id).unwrap_or_default();
            self.jobs.insert(id, Row { entry, input, output, progress, parts });
        }
        for (id, output) in writes.outputs {
            if let Some(row) = self.jobs.get_mut(&id) {
                row.output = Some(output);
            }
        }
        for id in writes.cleared {
            if let Some(row) = self.jobs.get_mut(&id) {
                row.parts.clear();
            }
        }
        for (id, first, inputs) in writes.pages {
            if let Some(row) = self.jobs.get_mut(&id) {
                row.parts.extend((first..).zip(inputs.into_iter().map(PartRow::new)));
            }
        }
        for (id, index, write) in writes.parts {
            if let Some(part) = self.jobs.get_mut(&id).and_then(|row| row.parts.get_mut(&index)) {
                part.write(write);
            }
        }
        for row in writes.outbox {
            row.holder.into_iter().for_each(|boot| self.holds(boot, None));
            self.insert(row);
        }
        for ((limit, boot), held) in writes.permits {
            self.holds(boot, None);
            self.permits.entry(limit).or_default().insert(boot, held);
        }
        self.uniques.extend(writes.uniques);
        for (limit, count) in writes.woken {
            notices.extend(self.wake(&limit, count));
        }
        let free: Vec<_> = writes.ended.iter().flat_map(|job| self.follows.end(*job)).collect();
        for follower in free {
            notices.extend(self.wake(&ends_before(follower), u32::MAX));
        }
        self.follows.insert(writes.followed);
        notices
    }

    fn insert(&mut self, row: OutboxRow) {
        match (row.holder, row.due) {
            (Some(_), _) => {}
            _ if let Some(limit) = &row.waits_for => {
                let waiting = self.waiting.entry(Arc::clone(&limit.name)).or_default();
                waiting.insert((u8::MAX - row.priority, row.id));
            }
            (None, None) => drop(self.free.insert((u8::MAX - row.priority, row.id))),
            (None, Some(due)) => drop(self.later.insert((due, row.id))),
        }
        self.outbox.insert(row.id, row);
    }

    /// Takes rows of the outbox that are due and that no process holds.
    pub fn take(&mut self, take: &Take) -> OutboxPage {
        while let Some(&(due, id)) = self.later.first() {
            if due > take.actor.now {
                break;
            }
            self.later.remove(&(due, id));
            if let Some(row) = self.outbox.get_mut(&id) {
                row.due = None;
                self.free.insert((u8::MAX - row.priority, id));
            }
        }
        let mut left = u64::try_from(take.limit).unwrap_or(u64::MAX);
        let mut rows = Vec::new();
        let is_wanted = |row: &OutboxRow| take.tasks.as_ref().is_none_or(|tasks| tasks.contains(&row.task));
        let wanted = self.free.iter().filter(|(_, id)| self.outbox.get(id).is_some_and(is_wanted));
        let free: Vec<_> = wanted.copied().take(take.limit).collect();
        if !free.is_empty() {
            self.holds(take.actor.worker.boot(), Some(take.actor.now + ALIVE));
        }
        for key @ (_, id) in free {
            if left == 0 {
                break;
            }
            let Some(row) = self.outbox.get_mut(&id) else {
                continue;
            };
            let most = if row.losses > 0 { 1 } else { left };
            let mut held = if let Some(cut) = row.split_off(self.next_outbox_id, most) {
                self.next_outbox_id += 1;
                cut
            } else {
                self.free.remove(&key);
                row.clone()
            };
            held.holder = Some(take.actor.worker.boot());
            left -= held.n_messages().min(left);
            // A row whose job was removed is returned without messages, so that it gets deleted.
            let messages = self.messages(&held).unwrap_or_default();
            rows.push(HeldRow { id: held.id, losses: held.losses, messages, release_after_events: false });
            self.outbox.insert(held.id, held);
        }
        OutboxPage { rows, next_due: self.later.first().map(|(due, _)| *due), more: left == 0 }
    }

    fn messages(&self, row: &OutboxRow) -> Option<Vec<Outgoing>> {
        let Row { entry, input, output, parts, .. } = self.jobs.get(&row.job)?;
        Some(match row.kind {
            OutboxKind::Start | OutboxKind::Join => vec![row.work(&entry.job, input.clone())],
            OutboxKind::Reply => OutboxRow::replies(&entry.job, output.as_ref()),
            OutboxKind::Hooks { mask: which } => vec![OutboxRow::hooks(&entry.job, which)],
            OutboxKind::Event(what) => vec![row.pending_event(&entry.job, what)],
            OutboxKind::Parts { epoch, first, len, .. } => {
                let parts = parts.range(first..first + len);
                let parts = parts.filter_map(|(index, part)| Some((*index, part.input.clone()?)));
                parts.map(|(index, input)| row.part(&entry.job, epoch, index, input)).collect()
            }
        })
    }

    /// Frees up to `count` rows that wait for a permit of a limit. Returns the notice to send.
    fn wake(&mut self, limit: &str, count: u32) -> Option<StoreNotice> {
        let waiting = self.waiting.get_mut(limit)?;
        for _ in 0..count {
            let Some((priority, id)) = waiting.pop_first() else { break };
            if let Some(row) = self.outbox.get_mut(&id) {
                row.waits_for = None;
                self.free.insert((priority, id));
            }
        }
        if waiting.is_empty() {
            self.waiting.remove(limit);
        }
        Some(StoreNotice::OutboxReady)
    }

    /// Removes the permits of processes that have ended, and frees as many waiting rows as there are free permits.
    pub(super) fn settle_permits(&mut self, ended: &[[u8; 16]]) -> Vec<StoreNotice> {
        for held in self.permits.values_mut() {
            held.retain(|boot, held| held.count > 0 && !ended.contains(boot));
        }
        self.permits.retain(|_, held| !held.is_empty());
        let room = |(limit, rows): (&Arc<str>, &BTreeSet<(u8, OutboxId)>)| {
            let Limit { permits, .. } = self.outbox.get(&rows.first()?.1)?.waits_for.as_ref()?;
            let used = self.permits.get(limit).into_iter().flatten().map(|(_, held)| held.count).sum();
            Some((Arc::clone(limit), permits.saturating_sub(used)))
        };
        let rooms: Vec<_> = self.waiting.iter().filter_map(room).filter(|(_, room)| *room > 0).collect();
        rooms.into_iter().filter_map(|(limit, room)| self.wake(&limit, room)).collect()
    }

    /// Makes sure that a process which is about to hold something has a heartbeat: only the end of that heartbeat
    /// releases what the process holds. A process that was presumed dead, and continues, has no heartbeat until its
    /// next one.
    fn holds(&mut self, boot: [u8; 16], expires_at: Option<Timestamp>) {
        if mutant::is_on(Mutant::HoldsUnseen) {
            return;
        }
        let newest = || self.workers.values().map(|process| process.expires_at).max().unwrap_or_default();
        let expires_at = expires_at.unwrap_or_else(newest);
        self.workers.entry(boot).or_insert_with(|| LiveProcess::new("", boot, expires_at));
    }

    /// Frees the rows that these processes hold, and adds `lost` to the number of times that a holder died.
    pub(super) fn free(&mut self, holders: &[[u8; 16]], lost: u32) {
        let held = self.outbox.values_mut().filter(|row| row.holder.is_some_and(|holder| holders.contains(&holder)));
        for row in held {
            row.holder = None;
            row.losses += lost;
            match row.due {
                None => drop(self.free.insert((u8::MAX - row.priority, row.id))),
                Some(due) => drop(self.later.insert((due, row.id))),
            }
        }
    }

    /// Returns diagnostic information about a job.
    pub fn diagnostics(&self, id: JobId) -> JobDiagnostics {
        let mut diagnostics = JobDiagnostics::default();
        self.outbox.values().filter(|row| row.job == id).for_each(|row| diagnostics.outbox.add(row));
        if let Some((limit, taken)) = &mut diagnostics.outbox.limit {
            *taken = self.permits.get(&limit.name).into_iter().flatten().map(|(_, held)| held.count).sum();
        }
        diagnostics.processes = self.workers.values().cloned().collect();
        diagnostics.follows = self.follows.of(id);
        diagnostics.processes.sort_by(|a, b| a.worker.cmp(&b.worker));
        if let Some(Row { entry, .. }) = self.jobs.get(&id) {
            let open = (0..entry.ledger.head().appended).filter(|index| entry.ledger.outcome(*index).is_none());
            diagnostics.open = open.take(OPEN).collect();
        }
        diagnostics
    }

    /// Returns at most `limit` jobs whose whole tree ended before a given time.
    pub fn expired(&self, before: Timestamp, limit: usize) -> Expired {
        // For each tree the time when its last job ended; `None` if a job of it has not ended.
        let mut trees: HashMap<JobId, Option<Timestamp>> = HashMap::new();
        for Row { entry, .. } in self.jobs.values() {
            let last = trees.entry(entry.job.root).or_insert(entry.job.ended);
            *last = (*last).zip(entry.job.ended).map(|(last, ended)| last.max(ended));
        }
        let root = |id: &JobId| self.jobs.get(id).map(|row| row.entry.job.root);
        let is_due = |id: &&JobId| {
            let last = root(id).and_then(|root| *trees.get(&root)?);
            last.is_some_and(|last| last < before)
        };
        let mut jobs: Vec<_> = self.by_age.iter().filter(is_due).copied().collect();
        jobs.sort_by_key(|id| root(id) == Some(*id));
        jobs.truncate(limit);
        Expired { jobs, next: trees.values().flatten().filter(|last| **last >= before).min().copied() }
    }

    /// Removes jobs with all data about them.
    pub fn prune(&mut self, prune: &Prune) -> Pruned {
        let mut pruned = Pruned::default();
        for id in &prune.jobs {
            let ended =
                |id: &JobId| self.jobs.get(id).map(|row| row.entry.job.ended.is_some_and(|at| at < prune.before));
            let root = self.jobs.get(id).map(|row| row.entry.job.root);
            if ended(id) == Some(true) && root.is_some_and(|root| ended(&root) != Some(false)) {
                self.jobs.remove(id);
                self.by_age.remove(id);
                self.metrics.delete(*id);
                self.uniques.retain(|_, (job, _)| job != id);
                pruned.jobs += 1;
            }
            pruned.done += 1;
        }
        pruned
    }

    /// Returns a job.
    pub fn job(&self, id: JobId) -> Option<JobView> {
        let row = self.jobs.get(&id)?;
        Some(JobView {
            job: row.entry.job.clone(),
            counts: row.entry.ledger.counts(),
            head: *row.entry.ledger.head(),
            progress: row.progress.clone(),
            input: row.input.clone(),
            output: row.output.clone(),
        })
    }

    /// Removes rows of the outbox that this process holds.
    pub fn delete_outbox(&mut self, rows: &[OutboxId], actor: &Actor) {
        for id in rows {
            if self.outbox.get(id).is_some_and(|row| row.holder == Some(actor.worker.boot())) {
                self.outbox.remove(id);
            }
        }
    }

    /// Releases rows of the outbox that this process holds.
    pub fn release_outbox(&mut self, rows: &[OutboxId], actor: &Actor) -> Vec<StoreNotice> {
        self.release(rows, actor.worker.boot())
    }

    pub(super) fn release(&mut self, rows: &[OutboxId], holder: [u8; 16]) -> Vec<StoreNotice> {
        for id in rows {
            if let Some(mut row) = self.outbox.remove(id) {
                if row.holder == Some(holder) {
                    row.holder = None;
                }
                self.insert(row);
            }
        }
        vec![StoreNotice::OutboxReady]
    }

    /// Records that a process ends, and releases everything that it holds.
    pub fn leave(&mut self, actor: &Actor) -> Vec<StoreNotice> {
        self.workers.remove(&actor.worker.boot());
        self.free(&[actor.worker.boot()], 0);
        self.settle_permits(&[actor.worker.boot()]);
        vec![StoreNotice::OutboxReady]
    }

    /// Records the progress of a job, or of one of its parts.
    pub fn progress(&mut self, job: JobId, part: Option<u64>, progress: Progress) -> Vec<StoreNotice> {
        if let Some(row) = self.jobs.get_mut(&job) {
            match part {
                None => row.progress = Some(progress),
                Some(index) => drop(row.parts.get_mut(&index).map(|part| part.record(progress))),
            }
        }
        vec![StoreNotice::JobChanged(job)]
    }

    /// Adds measurements. Returns the jobs of which a measurement was dropped.
    pub fn record(&mut self, deltas: Vec<Delta>) -> Vec<JobId> {
        let mut crowded = Vec::new();
        for delta in deltas {
            let job = delta.job;
            if self.jobs.contains_key(&job) && !self.metrics.add(delta) {
                crowded.push(job);
            }
        }
        crowded.sort_unstable();
        crowded.dedup();
        crowded
    }

    /// Returns the metrics of jobs, in order.
    pub fn recorded(&self, of: MetricsOf) -> Vec<Metric> {
        match of {
            MetricsOf::Job(id) => self.jobs.get(&id).map(|row| self.metrics.of(&row.entry.job)).unwrap_or_default(),
            MetricsOf::Tree(root) => {
                let rows = self.metrics.jobs().filter_map(|id| self.jobs.get(&id));
                let jobs = rows.map(|row| &row.entry.job).filter(|job| job.root == root);
                jobs.flat_map(|job| self.metrics.of(job)).collect()
            }
        }
    }

    /// Returns the jobs that match a filter, newest first.
    pub fn jobs(&self, filter: &Filter) -> Vec<JobView> {
        let ids = self.by_age.iter().rev().filter(|id| filter.before.is_none_or(|before| **id < before));
        let fits = |view: &JobView| {
            (filter.states.is_empty() || filter.states.contains(&view.job.state))
                && filter.task.as_ref().is_none_or(|task| *task == view.job.task)
                && filter.parent.is_none_or(|parent| view.job.parent == Some(parent))
                && filter.root.is_none_or(|root| view.job.root == root)
                && filter.since.is_none_or(|since| view.job.created >= since)
        };
        ids.filter_map(|id| self.job(*id)).filter(fits).take(filter.limit).collect()
    }

    /// Returns at most `limit` settled parts of a job, in order, starting at index `from`.
    pub fn parts(&self, job: JobId, from: u64, limit: usize) -> Vec<SettledPart> {
        let Some(row) = self.jobs.get(&job) else {
            return Vec::new();
        };
        let settled = row.parts.range(from..).filter_map(|(index, part)| {
            let how = row.entry.ledger.outcome(*index)?;
            Some(SettledPart { index: *index, how, output: part.output.clone(), failure: part.notes.failure.clone() })
        });
        settled.take(limit).collect()
    }

    /// Returns the status of a page of the parts of a job.
    pub fn list_parts(&self, job: JobId, filter: &PartFilter) -> Vec<PartStatus> {
        self.jobs.get(&job).map(|row| page(&row.entry.ledger, &row.parts, filter)).unwrap_or_default()
    }

    /// Returns which of these jobs exist.
    pub fn known(&self, mut jobs: Vec<JobId>) -> HashSet<JobId> {
        jobs.retain(|id| self.jobs.contains_key(id));
        jobs.into_iter().collect()
    }
}
