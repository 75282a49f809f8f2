//! What a store knows of a job besides the job: what is owed for it, who lives, and which of its parts are open.

use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::State;
use crate::tx::{Limit, OutboxKind, OutboxRow};

/// At most so many open parts are named.
pub const OPEN: usize = 5;

/// What a store knows of a job besides the job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobDiagnostics {
    /// What the outbox has for it.
    pub to_send: PendingOutbox,
    /// The processes that are not known to have ended.
    pub processes: Vec<LiveProcess>,
    /// The first of its parts that have not ended, at most [`OPEN`].
    pub open: Vec<u64>,
    /// The jobs that it follows and that have not ended, if it follows several.
    pub follows: Vec<JobId>,
}

/// What the outbox has for one job. A row that stands for many parts counts as many messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PendingOutbox {
    /// Messages that are due and that nobody has taken.
    pub free: u64,
    /// Messages that a process has taken, by the process.
    pub held: Vec<([u8; 16], u64)>,
    /// Messages that are not due yet.
    pub later: u64,
    /// When the first of those is due.
    pub next_due: Option<Timestamp>,
    /// How often processes died with one of them, at most.
    pub lost: u32,
    /// Messages that wait for a permit.
    pub waiting: u64,
    /// The limit of which they need one, and how many of its permits are taken.
    pub limit: Option<(Limit, u32)>,
    /// Outcomes that are still to be told.
    pub replies: u64,
    /// Runs of hooks that are still to be sent.
    pub hooks: u64,
}

impl PendingOutbox {
    /// Counts one row.
    pub fn add(&mut self, row: &OutboxRow) {
        let n = row.n_messages();
        self.lost = self.lost.max(row.losses);
        match (row.kind, row.holder, row.due) {
            (OutboxKind::Reply, ..) => self.replies += n,
            (OutboxKind::Hooks { .. }, ..) => self.hooks += n,
            // Of these nobody waits.
            (OutboxKind::Event(_), ..) => {}
            _ if row.waits_for.is_some() => {
                self.waiting += n;
                self.limit = row.waits_for.clone().map(|limit| (limit, 0));
            }
            (_, Some(holder), _) => match self.held.iter_mut().find(|(known, _)| *known == holder) {
                Some((_, count)) => *count += n,
                None => self.held.push((holder, n)),
            },
            (_, None, Some(due)) => {
                self.later += n;
                self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
            }
            (_, None, None) => self.free += n,
        }
    }
}

/// A process that has said that it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveProcess {
    /// How jobs name it.
    pub worker: String,
    /// The bytes that tell this start from every other.
    pub boot: [u8; 16],
    /// Until when that is believed.
    pub until: Timestamp,
    /// The jobs that it works on or holds messages of, as it last said.
    pub running: Vec<JobId>,
}

impl LiveProcess {
    /// A process of this name.
    pub fn new(name: &str, boot: [u8; 16], until: Timestamp) -> Self {
        let [a, b, c, d, ..] = boot;
        let worker = format!("{name}/{:08x}", u32::from_be_bytes([a, b, c, d]));
        Self { worker, boot, until, running: Vec::new() }
    }

    /// Whether it works on a job: on parts of it, or as the worker that the job names.
    pub fn works_on(&self, job: JobId, state: State, worker: Option<&str>) -> bool {
        self.running.contains(&job) || (state == State::Running && worker == Some(&self.worker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WorkerId;

    #[test]
    fn a_process_is_named_as_jobs_name_it() {
        let worker = WorkerId::new("one");
        assert_eq!(LiveProcess::new(worker.name(), worker.boot(), Timestamp::default()).worker, worker.to_string());
    }
}
