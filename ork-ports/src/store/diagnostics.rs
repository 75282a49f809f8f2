//! Diagnostic information about a job: its rows in the outbox, the live processes, and its open parts.

use ork_core::clock::Timestamp;
use ork_core::id::JobId;
use ork_core::job::{Job, State};
use ork_core::ledger::Head;
use ork_core::mutant::{self, Mutant};
use ork_core::tx::{Limit, OutboxKind, OutboxRow};

/// The maximum number of open parts in [`JobDiagnostics`].
pub const OPEN: usize = 5;

/// Diagnostic information about a job: everything that a store knows about it besides the job itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobDiagnostics {
    /// The rows of the outbox for the job.
    pub outbox: PendingOutbox,
    /// The processes that are not known to have ended.
    pub processes: Vec<LiveProcess>,
    /// The indices of the first parts that have not ended, at most [`OPEN`].
    pub open: Vec<u64>,
    /// The jobs that the job follows and that have not ended. Empty if it follows only one job.
    pub follows: Vec<JobId>,
}

/// The rows of the outbox for one job. A row that stands for many parts counts as many messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PendingOutbox {
    /// Messages that are due and that no process has taken.
    pub free: u64,
    /// Messages that processes have taken: the boot id of each process, and the number of messages.
    pub held: Vec<([u8; 16], u64)>,
    /// Messages that are not due yet.
    pub later: u64,
    /// The time at which the first of the [later](PendingOutbox::later) messages is due.
    pub next_due: Option<Timestamp>,
    /// The number of times that processes died while they held one of these messages; the maximum over all rows.
    pub losses: u32,
    /// Messages that wait for a permit.
    pub waiting: u64,
    /// The concurrency limit that these messages wait for, and how many of its permits are taken.
    pub limit: Option<(Limit, u32)>,
    /// Replies that have not been sent yet.
    pub replies: u64,
    /// Runs of completion hooks that have not been sent yet.
    pub hooks: u64,
    /// The boot ids of the processes that send these hooks.
    pub hook_senders: Vec<[u8; 16]>,
}

impl PendingOutbox {
    /// Adds one row to the counts.
    pub fn add(&mut self, row: &OutboxRow) {
        let n = row.n_messages();
        self.losses = self.losses.max(row.losses);
        match (row.kind, row.holder, row.due) {
            (OutboxKind::Reply, ..) => self.replies += n,
            (OutboxKind::Hooks { .. }, holder, _) => {
                self.hooks += n;
                self.hook_senders.extend(holder);
            }
            // No job waits for an event to be sent.
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

/// A process whose heartbeat is recorded in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveProcess {
    /// The name of the process as jobs record it.
    pub worker: String,
    /// The boot id: random bytes that differ for every start of a process.
    pub boot: [u8; 16],
    /// The time after which the process is presumed dead, unless it writes another heartbeat.
    pub expires_at: Timestamp,
    /// The jobs that the process runs or of which it holds deliveries, as of its last heartbeat.
    pub running: Vec<JobId>,
}

impl LiveProcess {
    /// Creates a process from its name and boot id, without running jobs.
    pub fn new(name: &str, boot: [u8; 16], expires_at: Timestamp) -> Self {
        let [a, b, c, d, ..] = boot;
        let worker = format!("{name}/{:08x}", u32::from_be_bytes([a, b, c, d]));
        Self { worker, boot, expires_at, running: Vec::new() }
    }

    /// Whether the process works on a job: on parts of it, or as the worker that is recorded in the job.
    pub fn works_on(&self, job: JobId, state: State, worker: Option<&str>) -> bool {
        self.running.contains(&job) || (state == State::Running && worker == Some(&self.worker))
    }
}

/// Whether a job without a row in the outbox waits for a message, which was lost: its work has not ended, it does not
/// only wait for children or steps, and none of these processes works on it.
pub fn is_unattended<'a>(job: &Job, head: &Head, processes: impl IntoIterator<Item = &'a LiveProcess>) -> bool {
    let is_on = mutant::is_on(Mutant::SendsRunsAgain);
    let waits_for_parts = if is_on { head.sealed.is_some() } else { head.has_all_parts() };
    let works = |process: &LiveProcess| process.works_on(job.id, job.state, job.worker.as_deref());
    !job.own_work_ended() && (job.state != State::Waiting || waits_for_parts) && !processes.into_iter().any(works)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ork_core::id::WorkerId;

    #[test]
    fn a_process_has_the_worker_name_that_jobs_record() {
        let worker = WorkerId::new("one");
        assert_eq!(LiveProcess::new(worker.name(), worker.boot(), Timestamp::default()).worker, worker.to_string());
    }
}
