//! The store `memory:`: everything in one process's memory, gone with it. For tests and for jobs that need no trace.

mod follows;
mod metrics;
mod parts;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use self::follows::Follows;
use self::metrics::Metrics;
use self::parts::PartRow;
use super::{
    Beat, Beaten, Changes, Expired, Filter, JobView, OPEN, PartFilter, PartStatus, Process, Prune, Pruned, Recorded,
    Situation, Store, StoreError, Take, Taken, Work,
};
use crate::accounting::{
    Books, By, Change, Entry, Holder, Limit, Owed, OwedAsk, OwedId, OwedRow, Permits, ends_before,
};
use crate::clock::Timestamp;
use crate::context::Progress;
use crate::id::JobId;
use crate::message::Outgoing;
use crate::metric::{Delta, Metric};
use crate::task::parts::SettledPart;

/// Keeps everything in memory.
#[derive(Debug)]
pub struct Memory {
    tables: Mutex<Tables>,
    changes: Changes,
    identity: Uuid,
}

#[derive(Debug)]
struct Row {
    entry: Entry,
    input: Bytes,
    output: Option<Bytes>,
    progress: Option<Progress>,
    parts: BTreeMap<u64, PartRow>,
}

#[derive(Debug, Default)]
struct Tables {
    jobs: HashMap<JobId, Row>,
    by_age: BTreeSet<JobId>,
    metrics: Metrics,
    owed: BTreeMap<OwedId, OwedRow>,
    /// The rows that are due and that nobody holds, highest priority first.
    free: BTreeSet<(u8, OwedId)>,
    /// The rows that are not due yet.
    later: BTreeSet<(Timestamp, OwedId)>,
    /// The rows that wait for a permit of a limit, highest priority first.
    waiting: BTreeMap<Arc<str>, BTreeSet<(u8, OwedId)>>,
    follows: Follows,
    permits: BTreeMap<Arc<str>, HashMap<[u8; 16], u32>>,
    uniques: HashMap<Arc<str>, (JobId, Timestamp)>,
    workers: HashMap<[u8; 16], Process>,
    next_owed: OwedId,
}

impl Memory {
    /// An empty store.
    #[expect(clippy::new_without_default, reason = "every store is another one")]
    pub fn new() -> Self {
        Self { tables: Mutex::default(), changes: Changes::new(), identity: Uuid::new_v4() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Operations are pure and do not panic half-way; what a panic elsewhere left is whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.changes.tell(change);
        }
    }
}

impl Tables {
    fn apply(&mut self, work: &mut dyn Work) -> Vec<Change> {
        (0..work.count()).flat_map(|at| self.apply_one(work, at)).collect()
    }

    fn apply_one(&mut self, work: &mut dyn Work, at: usize) -> Vec<Change> {
        let mut books = Books::new(self.next_owed);
        // A row moves into the books and back, so that no ledger is copied.
        let mut rows = HashMap::new();
        let one = [Some(work.job(at)), work.with(at)].into_iter().flatten();
        for id in one.chain(work.follows(at).iter().copied()) {
            let mut next = Some(id);
            while let Some(id) = next.filter(|id| !books.is_open(*id)) {
                books.open(id, None);
                let Some(row) = self.jobs.remove(&id) else { break };
                next = row.entry.job.parent;
                books.put(id, row.entry);
                rows.insert(id, (row.input, row.output, row.progress, row.parts));
            }
        }
        if let Some(limit) = work.limit(at) {
            let held = self.permits.get(limit).into_iter().flatten().map(|(boot, held)| (*boot, *held));
            books.open_permits(Arc::clone(limit), Permits::new(held));
        }
        if let Some(key) = work.unique(at) {
            let holder = self.uniques.get(key).map(|(job, seen)| {
                let row = self.jobs.get(job).map(|row| &row.entry.job);
                let seen = (*seen).max(row.and_then(|job| job.started).unwrap_or_default());
                Holder { job: *job, seen, open: row.is_some_and(|job| !job.state.is_final()) }
            });
            books.open_unique(Arc::clone(key), holder);
        }
        work.apply(at, &mut books);
        let (writes, mut changes) = books.finish();
        self.next_owed = books.next_owed();
        for (id, input) in writes.inputs {
            rows.insert(id, (input, None, None, BTreeMap::new()));
            self.by_age.insert(id);
        }
        for entry in books.into_entries() {
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
        for row in writes.owed {
            self.insert(row);
        }
        for ((limit, boot), held) in writes.permits {
            self.permits.entry(limit).or_default().insert(boot, held);
        }
        self.uniques.extend(writes.uniques);
        for (limit, count) in writes.woken {
            changes.extend(self.wake(&limit, count));
        }
        let free: Vec<_> = writes.ended.iter().flat_map(|job| self.follows.end(*job)).collect();
        for follower in free {
            changes.extend(self.wake(&ends_before(follower), u32::MAX));
        }
        self.follows.insert(writes.followed);
        changes
    }

    fn insert(&mut self, row: OwedRow) {
        match (row.holder, row.due) {
            (Some(_), _) => {}
            _ if let Some(limit) = &row.waits => {
                let waiting = self.waiting.entry(Arc::clone(&limit.name)).or_default();
                waiting.insert((u8::MAX - row.priority, row.id));
            }
            (None, None) => drop(self.free.insert((u8::MAX - row.priority, row.id))),
            (None, Some(due)) => drop(self.later.insert((due, row.id))),
        }
        self.owed.insert(row.id, row);
    }

    fn take(&mut self, take: &Take) -> Taken {
        while let Some(&(due, id)) = self.later.first() {
            if due > take.by.now {
                break;
            }
            self.later.remove(&(due, id));
            if let Some(row) = self.owed.get_mut(&id) {
                row.due = None;
                self.free.insert((u8::MAX - row.priority, id));
            }
        }
        let mut left = u64::try_from(take.limit).unwrap_or(u64::MAX);
        let mut owed = Vec::new();
        let is_wanted = |row: &OwedRow| take.tasks.as_ref().is_none_or(|tasks| tasks.contains(&row.task));
        let wanted = self.free.iter().filter(|(_, id)| self.owed.get(id).is_some_and(is_wanted));
        let free: Vec<_> = wanted.copied().take(take.limit).collect();
        for key @ (_, id) in free {
            if left == 0 {
                break;
            }
            let Some(row) = self.owed.get_mut(&id) else {
                continue;
            };
            let most = if row.lost > 0 { 1 } else { left };
            let mut held = if let Some(cut) = row.split_off(self.next_owed, most) {
                self.next_owed += 1;
                cut
            } else {
                self.free.remove(&key);
                row.clone()
            };
            held.holder = Some(take.by.worker.boot());
            left -= held.n_messages().min(left);
            // Of a job that is gone nothing is to be done; the row is handed out empty, to be forgotten.
            let messages = self.messages(&held).unwrap_or_default();
            owed.push(Owed { id: held.id, lost: held.lost, messages, goes_back: false });
            self.owed.insert(held.id, held);
        }
        Taken { owed, next_due: self.later.first().map(|(due, _)| *due), more: left == 0 }
    }

    fn messages(&self, row: &OwedRow) -> Option<Vec<Outgoing>> {
        let Row { entry, input, output, parts, .. } = self.jobs.get(&row.job)?;
        Some(match row.ask {
            OwedAsk::Start | OwedAsk::Join => vec![row.work(&entry.job, input.clone())],
            OwedAsk::Reply => OwedRow::replies(&entry.job, output.as_ref()),
            OwedAsk::Hooks { which } => vec![OwedRow::hooks(&entry.job, which)],
            OwedAsk::Tell(what) => vec![row.tell(&entry.job, what)],
            OwedAsk::Parts { epoch, first, len } => {
                let parts = parts.range(first..first + len);
                let parts = parts.filter_map(|(index, part)| Some((*index, part.input.clone()?)));
                parts.map(|(index, input)| row.part(&entry.job, epoch, index, input)).collect()
            }
        })
    }

    /// Lets rows go that wait for a permit of a limit; answers the news of it.
    fn wake(&mut self, limit: &str, count: u32) -> Option<Change> {
        let waiting = self.waiting.get_mut(limit)?;
        for _ in 0..count {
            let Some((priority, id)) = waiting.pop_first() else { break };
            if let Some(row) = self.owed.get_mut(&id) {
                row.waits = None;
                self.free.insert((priority, id));
            }
        }
        if waiting.is_empty() {
            self.waiting.remove(limit);
        }
        Some(Change::Owed)
    }

    /// Takes the permits of these processes, and lets as many rows go as there are permits that nobody holds.
    fn settle_permits(&mut self, ended: &[[u8; 16]]) -> Vec<Change> {
        for held in self.permits.values_mut() {
            held.retain(|boot, held| *held > 0 && !ended.contains(boot));
        }
        self.permits.retain(|_, held| !held.is_empty());
        let room = |(limit, rows): (&Arc<str>, &BTreeSet<(u8, OwedId)>)| {
            let Limit { permits, .. } = self.owed.get(&rows.first()?.1)?.waits.as_ref()?;
            let used = self.permits.get(limit).into_iter().flatten().map(|(_, held)| *held).sum();
            Some((Arc::clone(limit), permits.saturating_sub(used)))
        };
        let rooms: Vec<_> = self.waiting.iter().filter_map(room).filter(|(_, room)| *room > 0).collect();
        rooms.into_iter().filter_map(|(limit, room)| self.wake(&limit, room)).collect()
    }

    /// Frees the rows that any of these processes holds; `lost` more deaths are noted.
    fn free(&mut self, holders: &[[u8; 16]], lost: u32) {
        let held = self.owed.values_mut().filter(|row| row.holder.is_some_and(|holder| holders.contains(&holder)));
        for row in held {
            row.holder = None;
            row.lost += lost;
            match row.due {
                None => drop(self.free.insert((u8::MAX - row.priority, row.id))),
                Some(due) => drop(self.later.insert((due, row.id))),
            }
        }
    }

    fn situation(&self, id: JobId) -> Situation {
        let mut situation = Situation::default();
        self.owed.values().filter(|row| row.job == id).for_each(|row| situation.owed.add(row));
        if let Some((limit, taken)) = &mut situation.owed.limit {
            *taken = self.permits.get(&limit.name).into_iter().flatten().map(|(_, held)| *held).sum();
        }
        situation.processes = self.workers.values().cloned().collect();
        situation.follows = self.follows.of(id);
        situation.processes.sort_by(|a, b| a.worker.cmp(&b.worker));
        if let Some(Row { entry, .. }) = self.jobs.get(&id) {
            let open = (0..entry.ledger.head().appended).filter(|index| entry.ledger.outcome(*index).is_none());
            situation.open = open.take(OPEN).collect();
        }
        situation
    }

    fn expired(&self, before: Timestamp, limit: usize) -> Expired {
        // When the last job of each tree ended; nothing for a tree that goes on.
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

    fn prune(&mut self, prune: &Prune) -> Pruned {
        let mut pruned = Pruned::default();
        for id in &prune.jobs {
            let ended =
                |id: &JobId| self.jobs.get(id).map(|row| row.entry.job.ended.is_some_and(|at| at < prune.before));
            let root = self.jobs.get(id).map(|row| row.entry.job.root);
            if ended(id) == Some(true) && root.is_some_and(|root| ended(&root) != Some(false)) {
                self.jobs.remove(id);
                self.by_age.remove(id);
                self.metrics.forget(*id);
                self.uniques.retain(|_, (job, _)| job != id);
                pruned.jobs += 1;
            }
            pruned.done += 1;
        }
        pruned
    }

    fn view(&self, id: JobId) -> Option<JobView> {
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
}

#[async_trait]
impl Store for Memory {
    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn enqueue(&self, mut work: Box<dyn Work>) {
        let mut tables = self.tables();
        // Nobody else may take what is new before its events are told.
        let changes = self.changes.tell_events(tables.apply(work.as_mut()));
        drop(tables);
        work.finish(Ok(()));
        self.tell(changes);
    }

    async fn take(&self, take: Take) -> Result<Taken, StoreError> {
        Ok(self.tables().take(&take))
    }

    async fn forget(&self, owed: Vec<OwedId>, by: By) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for id in owed {
            if tables.owed.get(&id).is_some_and(|row| row.holder == Some(by.worker.boot())) {
                tables.owed.remove(&id);
            }
        }
        Ok(())
    }

    async fn give_back(&self, owed: Vec<OwedId>, by: By) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for id in owed {
            if let Some(mut row) = tables.owed.remove(&id) {
                if row.holder == Some(by.worker.boot()) {
                    row.holder = None;
                }
                tables.insert(row);
            }
        }
        drop(tables);
        self.tell([Change::Owed]);
        Ok(())
    }

    async fn beat(&self, beat: Beat) -> Result<Beaten, StoreError> {
        let (beaten, changes) = self.tables().beat(beat);
        self.tell(changes);
        Ok(beaten)
    }

    async fn leave(&self, by: By) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.workers.remove(&by.worker.boot());
        tables.free(&[by.worker.boot()], 0);
        tables.settle_permits(&[by.worker.boot()]);
        drop(tables);
        self.tell([Change::Owed]);
        Ok(())
    }

    async fn progress(&self, job: JobId, part: Option<u64>, progress: Progress) -> Result<(), StoreError> {
        if let Some(row) = self.tables().jobs.get_mut(&job) {
            match part {
                None => row.progress = Some(progress),
                Some(index) => drop(row.parts.get_mut(&index).map(|part| part.note(progress))),
            }
        }
        self.tell([Change::Moved(job)]);
        Ok(())
    }

    async fn record(&self, deltas: Vec<Delta>) -> Result<Vec<JobId>, StoreError> {
        Ok(self.tables().record(deltas))
    }

    async fn metrics(&self, of: Recorded) -> Result<Vec<Metric>, StoreError> {
        Ok(self.tables().recorded(of))
    }

    async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        Ok(self.tables().view(id))
    }

    async fn jobs(&self, filter: Filter) -> Result<Vec<JobView>, StoreError> {
        let tables = self.tables();
        let ids = tables.by_age.iter().rev().filter(|id| filter.before.is_none_or(|before| **id < before));
        let fits = |view: &JobView| {
            (filter.states.is_empty() || filter.states.contains(&view.job.state))
                && filter.task.as_ref().is_none_or(|task| *task == view.job.task)
                && filter.parent.is_none_or(|parent| view.job.parent == Some(parent))
                && filter.root.is_none_or(|root| view.job.root == root)
                && filter.since.is_none_or(|since| view.job.created >= since)
        };
        Ok(ids.filter_map(|id| tables.view(*id)).filter(fits).take(filter.limit).collect())
    }

    async fn parts(&self, job: JobId, from: u64, limit: usize) -> Result<Vec<SettledPart>, StoreError> {
        let tables = self.tables();
        let Some(row) = tables.jobs.get(&job) else {
            return Ok(Vec::new());
        };
        let settled = row.parts.range(from..).filter_map(|(index, part)| {
            let how = row.entry.ledger.outcome(*index)?;
            Some(SettledPart { index: *index, how, output: part.output.clone(), failure: part.notes.failure.clone() })
        });
        Ok(settled.take(limit).collect())
    }

    async fn list_parts(&self, job: JobId, filter: PartFilter) -> Result<Vec<PartStatus>, StoreError> {
        Ok(self.tables().jobs.get(&job).map(|row| row.page(&filter)).unwrap_or_default())
    }

    async fn situation(&self, job: JobId) -> Result<Situation, StoreError> {
        Ok(self.tables().situation(job))
    }

    async fn identity(&self) -> Result<Uuid, StoreError> {
        Ok(self.identity)
    }

    async fn known(&self, mut jobs: Vec<JobId>) -> Result<HashSet<JobId>, StoreError> {
        let tables = self.tables();
        jobs.retain(|id| tables.jobs.contains_key(id));
        Ok(jobs.into_iter().collect())
    }

    async fn expired(&self, before: Timestamp, limit: usize) -> Result<Expired, StoreError> {
        Ok(self.tables().expired(before, limit))
    }

    /// A page ends nowhere here: nobody waits for a disk.
    async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        Ok(self.tables().prune(&prune))
    }

    async fn check(&self) -> Result<String, StoreError> {
        Ok("in memory: jobs are gone when the process ends".into())
    }

    async fn close(&self) {}
}
