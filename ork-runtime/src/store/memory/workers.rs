//! Heartbeats of processes, and what depends on them.

use std::collections::HashSet;
use std::iter::successors;

use super::tables::Tables;
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::store::{Heartbeat, HeartbeatReply, LiveProcess, UNATTENDED, is_unattended};
use crate::tx::{OutboxKind, StoreNotice};

impl Tables {
    /// Records that a process is alive, and releases what dead processes held. Returns which of its jobs have ended.
    pub fn heartbeat(&mut self, heartbeat: Heartbeat) -> (HeartbeatReply, Vec<StoreNotice>) {
        self.seen(&heartbeat.running, heartbeat.written());
        let attends = heartbeat.attends();
        let Heartbeat { ttl, running, holding: _, waiting, actor } = heartbeat;
        let over = |id: &JobId| self.jobs.get(id).is_some_and(|row| row.entry.job.own_work_ended());
        let ended = running.iter().copied().filter(over).collect();
        let process = LiveProcess {
            running: attends,
            ..LiveProcess::new(actor.worker.name(), actor.worker.boot(), actor.now + ttl)
        };
        self.workers.insert(actor.worker.boot(), process);
        let dead = self.workers.values().filter(|process| process.expires_at < actor.now);
        let dead: Vec<_> = dead.map(|process| process.boot).collect();
        self.workers.retain(|boot, _| !dead.contains(boot));
        self.free(&dead, 1);
        let mut notices = self.settle_permits(&dead);
        notices.extend((!dead.is_empty()).then_some(StoreNotice::OutboxReady));
        (HeartbeatReply { ended, time: None, unattended: self.unattended(&waiting) }, notices)
    }

    /// Records that a process works on these jobs: updates the time of the last activity of all unique keys that
    /// these jobs, or jobs above them, hold.
    fn seen(&mut self, running: &[JobId], now: Timestamp) {
        if self.uniques.is_empty() {
            return;
        }
        let above = |job: &JobId| self.jobs.get(job)?.entry.job.parent;
        let alive: HashSet<_> = running.iter().flat_map(|job| successors(Some(*job), above)).collect();
        self.uniques.values_mut().filter(|(job, _)| alive.contains(job)).for_each(|(_, seen)| *seen = now);
    }

    /// Returns jobs of these tasks that wait for a message, although the outbox has no row for them and no process
    /// works on them.
    fn unattended(&self, tasks: &[String]) -> Vec<JobId> {
        if tasks.is_empty() {
            return Vec::new();
        }
        let work = |kind| matches!(kind, OutboxKind::Start | OutboxKind::Join | OutboxKind::Parts { .. });
        let rows: HashSet<_> = self.outbox.values().filter(|row| work(row.kind)).map(|row| row.job).collect();
        let waits_for = |id: &&JobId| {
            let Some(entry) = self.jobs.get(id).map(|row| &row.entry) else { return false };
            let (job, head) = (&entry.job, entry.ledger.head());
            tasks.contains(&job.task) && !rows.contains(&job.id) && is_unattended(job, head, self.workers.values())
        };
        self.by_age.iter().filter(waits_for).take(UNATTENDED).copied().collect()
    }
}
