//! A store as pure data: what `store/sqlite` keeps, in the same form and with the same contract. It opens a
//! transaction, lets a production operation decide, and writes the result; nothing else ever changes it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use ork::{JobId, JobState, WorkerId};
use ork_core::job::{Job, Phase};
use ork_core::ledger::{Counts, Head, Ledger, PartResult, Shard, place};
use ork_core::tx::{
    Durability, Held, Operation, OutboxId, OutboxKind, OutboxRow, PartWrite, Permits, Shards, Transaction, Writes,
};

use super::fixtures::NOW;

/// The only job there is.
pub(crate) fn id() -> JobId {
    JobId::from_bytes([7; 16])
}

/// The worker at a place; a client uses the first free place.
pub(crate) fn worker(at: usize) -> &'static WorkerId {
    static WORKERS: LazyLock<[WorkerId; 4]> = LazyLock::new(|| std::array::from_fn(|_| WorkerId::new("w")));
    &WORKERS[at]
}

fn boot(at: usize) -> [u8; 16] {
    worker(at).boot()
}

/// A job with its ledger, as rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobRow {
    pub(crate) job: Job,
    pub(crate) head: Head,
    /// The sets of each shard as they would be on disk, and its counts.
    pub(crate) shards: BTreeMap<u64, (Counts, Vec<u8>)>,
}

/// The row of a part.
#[derive(Debug, Clone, PartialEq, Hash, Default)]
pub(crate) struct PartRow {
    pub(crate) input: Option<Bytes>,
    pub(crate) output: Option<Bytes>,
}

/// All rows of the store.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tables {
    pub(crate) job: Option<JobRow>,
    pub(crate) parts: BTreeMap<u64, PartRow>,
    pub(crate) outbox: Vec<OutboxRow>,
    pub(crate) next_outbox_id: OutboxId,
    /// How many permits of the only limit each worker holds; empty if there is no limit.
    pub(crate) permits: Vec<u32>,
    /// How often the job has ended, and how many replies to its client were enqueued: not stored, only counted.
    pub(crate) ends: u8,
    pub(crate) replies: u8,
    /// The number that a mutant counts instead of keeping the sets.
    pub(crate) counter: u64,
}

/// The effects of one operation.
pub(crate) struct Applied<A> {
    pub(crate) output: A,
    /// Whether the operation only promises to be written soon.
    pub(crate) soon: bool,
    /// Whether its writes have no consequence for any other process.
    pub(crate) quiet: bool,
    pub(crate) writes: Writes,
    pub(crate) tables: Tables,
}

/// The state of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) how: Option<PartResult>,
    pub(crate) running: bool,
    pub(crate) attempt: u32,
}

impl JobRow {
    fn ledger(&self) -> Ledger {
        Ledger::new(self.head, self.shards.iter().map(|(number, (counts, _))| (*number, *counts)))
    }

    /// Returns the state of a part, read from the sets and not from any count.
    pub(crate) fn part(&self, index: u64) -> Part {
        let (number, low) = place(index);
        match self.shards.get(&number) {
            None => Part { how: None, running: false, attempt: 1 },
            Some((_, sets)) => {
                let shard = Shard::decode(sets).expect("written sets can be decoded");
                Part { how: shard.outcome(low), running: shard.is_running(low), attempt: shard.attempt(low) }
            }
        }
    }

    pub(crate) fn parts(&self) -> Vec<Part> {
        (0..self.head.appended).map(|index| self.part(index)).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shards.values().map(|(counts, _)| *counts).sum()
    }
}

impl Tables {
    pub(crate) fn state(&self) -> Option<JobState> {
        self.job.as_ref().map(|row| row.job.state)
    }

    /// Lets a production operation decide over the rows. The permits of workers for which `counts` is false are left
    /// out, and `mutate` may falsify the decision, which only the mutants do.
    pub(crate) fn apply<O: Operation>(
        &self,
        operation: &O,
        counts: impl Fn(usize) -> bool,
        mutate: impl FnOnce(&mut Transaction, &mut Writes),
    ) -> Applied<O::Output> {
        let mut tx = Transaction::new(self.next_outbox_id);
        tx.open(id(), self.job.as_ref().map(|row| (row.job.clone(), row.ledger())));
        assert_eq!(operation.job(), id(), "an operation is about the only job");
        let shards = operation.shards(&tx);
        self.load(&mut tx, shards);
        if let Some(limit) = operation.limit() {
            let held = self.permits.iter().enumerate().filter(|(at, _)| counts(*at));
            let held = held.filter(|(_, count)| **count > 0);
            let held = held.map(|(at, count)| (boot(at), Held { count: *count, since: NOW }));
            tx.open_permits(Arc::clone(limit), Permits::new(held));
        }
        let output = operation.apply(&mut tx);
        let (soon, quiet) = (operation.durability() == Durability::Lazy, tx.is_quiet());
        let (mut writes, _) = tx.finish();
        mutate(&mut tx, &mut writes);
        let mut tables = self.clone();
        tables.next_outbox_id = tx.next_outbox_id();
        tables.write(tx, &writes);
        Applied { output, soon, quiet, writes, tables }
    }

    /// Loads only what the operation requested: one that reads more fails in the ledger.
    fn load(&self, tx: &mut Transaction, shards: Shards) {
        let range = match shards {
            Shards::None => return,
            Shards::Of(_, index) => place(index).0..=place(index).0,
            Shards::Between(_, first, last) => place(first).0..=place(last).0,
            Shards::All(_) => 0..=u64::MAX,
        };
        let (Some(entry), Some(row)) = (tx.get_mut(id()), &self.job) else { return };
        for (number, (_, sets)) in row.shards.range(range) {
            entry.ledger.load(*number, Shard::decode(sets).expect("written sets can be decoded"));
        }
    }

    fn write(&mut self, tx: Transaction, writes: &Writes) {
        if !writes.cleared.is_empty() {
            self.parts.clear();
            if let Some(row) = &mut self.job {
                row.shards.clear();
            }
        }
        for mut entry in tx.into_jobs() {
            let dirty: Vec<_> =
                entry.ledger.take_dirty().into_iter().map(|(number, shard)| (number, shard.clone())).collect();
            let head = *entry.ledger.head();
            let row = match &mut self.job {
                Some(row) => row,
                none => none.insert(JobRow { job: entry.job.clone(), head, shards: BTreeMap::new() }),
            };
            // An entry that no operation has marked as changed is not written, as in SQLite.
            if entry.dirty {
                (row.job, row.head) = (entry.job, head);
            }
            row.shards.extend(dirty.into_iter().map(|(number, shard)| (number, (shard.counts(), shard.encode()))));
        }
        for (_, first, inputs) in &writes.pages {
            let part = |input: &Bytes| PartRow { input: Some(input.clone()), output: None };
            self.parts.extend((*first..).zip(inputs.iter().map(part)));
        }
        for (_, index, write) in &writes.parts {
            if let (Some(part), PartWrite { ended: Ok(output), .. }) = (self.parts.get_mut(index), write) {
                *part = PartRow { input: None, output: Some(output.clone()) };
            }
        }
        self.outbox.extend(writes.outbox.iter().cloned());
        for ((_, of), held) in &writes.permits {
            let at = (0..self.permits.len()).find(|at| boot(*at) == *of).expect("a worker has taken it");
            self.permits[at] = held.count;
        }
        writes.woken.values().for_each(|count| self.wake(*count));
    }

    /// Releases rows that wait for a permit, the oldest first, as nothing else distinguishes them here.
    fn wake(&mut self, count: u32) {
        let waiting = self.outbox.iter_mut().filter(|row| row.waits_for.is_some());
        waiting.take(usize::try_from(count).unwrap()).for_each(|row| row.waits_for = None);
    }

    /// Releases as many rows as there are free permits, as every heartbeat does.
    pub(crate) fn sweep(&mut self) {
        self.wake(self.room());
    }

    /// The number of free permits, if a row waits for one.
    pub(crate) fn room(&self) -> u32 {
        let limit = self.outbox.iter().find_map(|row| Some(row.waits_for.as_ref()?.permits));
        limit.unwrap_or(0).saturating_sub(self.permits.iter().sum())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.outbox.iter().filter(|row| row.waits_for.is_some()).count()
    }

    /// Frees a row that a worker holds, any of those for the same work; `lost` if the worker died.
    pub(crate) fn free(&mut self, (kind, attempt): (OutboxKind, u32), lost: bool) {
        if let Some(row) =
            self.outbox.iter_mut().find(|row| row.holder.is_some() && (row.kind, row.attempt) == (kind, attempt))
        {
            row.holder = None;
            row.losses = (row.losses + u32::from(lost)).min(1);
        }
    }

    /// Removes a row that a worker holds.
    pub(crate) fn forget(&mut self, (kind, attempt): (OutboxKind, u32)) {
        let held =
            self.outbox.iter().position(|row| row.holder.is_some() && (row.kind, row.attempt) == (kind, attempt));
        held.map(|row| self.outbox.remove(row));
    }

    /// Returns what the messages of an outbox row would carry now: each part with its input, except parts that have
    /// ended.
    pub(crate) fn inputs(&self, row: &OutboxRow) -> Vec<(u64, Bytes)> {
        let OutboxKind::Parts { first, len, .. } = row.kind else { return Vec::new() };
        let parts = self.parts.range(first..first + len);
        parts.filter_map(|(index, part)| Some((*index, part.input.clone()?))).collect()
    }
}

/// Times and worker names are left out, because no decision depends on them here.
impl Hash for Tables {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        if let Some(JobRow { job, head, shards }) = &self.job {
            (job.state, job.phase == Phase::Join, job.attempt, job.uncounted_attempts, job.due.is_some()).hash(hasher);
            job.failure.as_ref().map(|failure| failure.kind).hash(hasher);
            (head.epoch, head.appended, head.sealed, head.halted, head.cut).hash(hasher);
            for (number, (_, sets)) in shards {
                (number, sets).hash(hasher);
            }
        }
        self.parts.hash(hasher);
        for row in &self.outbox {
            (row.kind, row.attempt, row.losses, row.holder.is_some(), row.waits_for.is_some()).hash(hasher);
        }
        (&self.permits, self.ends, self.replies, self.counter).hash(hasher);
    }
}
