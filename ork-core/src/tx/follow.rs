//! Followers: jobs that start after other jobs have ended.
//!
//! The first outbox row of a follower waits in the same way as a row that waits for a permit. The name that it waits
//! for is released only by the ends of jobs: `end of JOB` if it follows one job, `ends before FOLLOWER` if several.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::outbox::OutboxRow;
use super::permits::Limit;
use super::transaction::Transaction;
use super::types::StoreNotice;
use crate::id::JobId;
use crate::mutant::{self, Mutant};

/// The largest number of jobs that one job can follow.
pub const MAX_FOLLOWED: usize = 1_000;

/// The prefix of names for the end of one job.
const END_OF: &str = "end of ";

/// The prefix of names for the ends of several jobs.
const ENDS_BEFORE: &str = "ends before ";

/// Returns the name that the row of a job waits for if it follows only this job.
pub fn end_of(job: JobId) -> Arc<str> {
    format!("{END_OF}{job}").into()
}

/// Returns the job of a name that [`end_of`] made.
pub fn job_of_end(name: &str) -> Option<JobId> {
    name.strip_prefix(END_OF)?.parse().ok()
}

/// Returns the name that the row of a job waits for if it follows several jobs. The store records which of these are
/// open.
pub fn ends_before(follower: JobId) -> Arc<str> {
    format!("{ENDS_BEFORE}{follower}").into()
}

/// The decision on the start of a follower: at once, later, or never.
pub(super) enum FollowPlan {
    /// Now: all jobs that it follows have ended.
    Now,
    /// Later: the end of the last open one releases the rows that wait for this name.
    Later(Limit),
    /// Never: this job does not exist.
    Never(JobId),
}

impl Transaction {
    /// Prepares a job to start after these jobs have ended. Nothing changes if one of them does not exist.
    pub(super) fn follow(&mut self, follower: JobId, jobs: &[JobId]) -> FollowPlan {
        if let Some(unknown) = jobs.iter().find(|job| self.get(**job).is_none()) {
            return FollowPlan::Never(*unknown);
        }
        let is_open = |job: &JobId| self.get(*job).is_some_and(|loaded| !loaded.job.state.is_final());
        let open: BTreeSet<JobId> = jobs.iter().copied().filter(is_open).collect();
        for job in &open {
            if let Some(loaded) = self.get_mut(*job) {
                loaded.job.tree.has_followers = true;
                loaded.dirty = true;
            }
        }
        // If a job has ended and was resumed in this same transaction, its end still releases the rows that wait for
        // its name when the transaction is written, so such rows need another name.
        let has_ended = open.iter().any(|job| self.writes().ended.contains(job));
        let name = match (open.first(), open.len()) {
            _ if mutant::is_on(Mutant::FollowsAtOnce) => return FollowPlan::Now,
            (None, _) => return FollowPlan::Now,
            (Some(job), 1) if !has_ended => end_of(*job),
            (Some(_), _) => {
                self.writes().followed.extend(open.into_iter().map(|job| (job, follower)));
                ends_before(follower)
            }
        };
        // No permit of this name ever exists: only the ends of jobs release the rows that wait for it.
        FollowPlan::Later(Limit { name, permits: 0 })
    }

    /// Releases the followers of a job that has ended. Followers that were submitted in this transaction are not in the
    /// store yet, so their rows are changed here.
    pub(super) fn release_followers(&mut self, ended: JobId) {
        let writes = self.writes();
        writes.woken.insert(end_of(ended), u32::MAX);
        writes.ended.push(ended);
        let (new, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut writes.followed).into_iter().partition(|(job, _)| *job == ended);
        writes.followed = others;
        let mut is_released = false;
        for (_, follower) in new {
            if writes.followed.iter().any(|(_, other)| *other == follower) {
                continue;
            }
            let name = ends_before(follower);
            let waits = |row: &&mut OutboxRow| row.waits_for.as_ref().is_some_and(|limit| limit.name == name);
            writes.outbox.iter_mut().filter(waits).for_each(|row| row.waits_for = None);
            is_released = true;
        }
        if is_released {
            self.notify(StoreNotice::OutboxReady);
        }
    }
}
