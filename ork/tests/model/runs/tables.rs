//! A store of one tree of jobs as pure data: it opens a job and its ancestors, lets a production operation decide, and
//! writes the result.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use ork::JobId;
use ork_core::job::Job;
use ork_core::ledger::Ledger;
use ork_core::tx::{Operation, OutboxKind, OutboxRow, Transaction};
use ork_core::workflow_run::WorkflowRun;

use super::super::store::id;

/// All rows of the store.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tables {
    pub(super) jobs: BTreeMap<JobId, Job>,
}

/// The effects of one operation.
pub(super) struct Applied<A> {
    pub(super) output: A,
    /// The messages that it enqueues, and how many replies.
    pub(super) messages: Vec<OutboxRow>,
    pub(super) replies: usize,
    pub(super) tables: Tables,
}

impl Tables {
    pub(super) fn run(&self) -> Option<&Job> {
        self.jobs.get(&id())
    }

    pub(super) fn workflow_run(&self) -> Option<&WorkflowRun> {
        self.run()?.workflow_run()
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(|job| job.parent.is_some())
    }

    pub(super) fn apply<O: Operation>(&self, operation: &O) -> Applied<O::Output> {
        let mut tx = Transaction::new(1);
        let mut next = Some(operation.job());
        while let Some(job) = next {
            let known = self.jobs.get(&job);
            tx.open(job, known.map(|job| (job.clone(), Ledger::default())));
            next = known.and_then(|job| job.parent);
        }
        let output = operation.apply(&mut tx);
        let (writes, _) = tx.finish();
        let mut tables = self.clone();
        tables.jobs.extend(tx.into_jobs().filter(|entry| entry.dirty).map(|entry| (entry.job.id, entry.job)));
        let of = |row: &OutboxRow, kind| row.kind == kind;
        let replies = writes.outbox.iter().filter(|row| of(row, OutboxKind::Reply)).count();
        let messages = writes.outbox.into_iter().filter(|row| of(row, OutboxKind::Start)).collect();
        Applied { output, messages, replies, tables }
    }
}

/// Times and worker names are left out, because no decision depends on them here.
impl Hash for Tables {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for job in self.jobs.values() {
            (job.id, job.state, job.attempt, job.uncounted_attempts, job.tree, job.workflow_run()).hash(hasher);
        }
    }
}
