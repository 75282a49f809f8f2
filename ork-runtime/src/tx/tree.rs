//! What the jobs of a tree owe to each other, in the transaction in which one of them is made, ends or goes on.
//!
//! Every job above the one that changes is open in the books: stores open them with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::limits::Limit;
use super::outbox::{HeldRow, OutboxRow};
use super::transaction::Transaction;
use super::{Actor, StoreNotice};
use crate::id::JobId;
use crate::job::{Effect, Job, State};
use crate::mutant::{self, Mutant};
use crate::tree::{CancelMode, DEEPEST};

/// A job follows at most so many others.
pub const MOST_FOLLOWED: usize = 1_000;

/// How the names begin of what rows of the outbox wait for that follow one job.
const END_OF: &str = "end of ";

/// The same of those that follow several.
const ENDS_BEFORE: &str = "ends before ";

/// What rows of the outbox wait for that follow the end of one job.
pub fn end_of(job: JobId) -> Arc<str> {
    format!("{END_OF}{job}").into()
}

/// The job whose end is waited for under this name.
pub fn ends(name: &str) -> Option<JobId> {
    name.strip_prefix(END_OF)?.parse().ok()
}

/// What the row of the outbox of a job waits for that follows several others. Which of them have not ended, the store knows.
pub fn ends_before(follower: JobId) -> Arc<str> {
    format!("{ENDS_BEFORE}{follower}").into()
}

/// Whether what is waited for under this name are the ends of several jobs.
pub fn are_ends(name: &str) -> bool {
    name.starts_with(ENDS_BEFORE)
}

/// Why a job takes no child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildError {
    /// There is no such job.
    ParentNotFound,
    /// Its own work has ended, in the end or for now so.
    ParentEnded(State),
    /// It, or this job above it, was interrupted.
    AncestorCancelled(JobId),
    /// It is at the bottom of the deepest tree that may be.
    TooDeep,
}

/// Whether a job can begin after the ends of others.
pub(super) enum FollowPlan {
    /// All of them have ended.
    Now,
    /// A row of the outbox that waits for this goes with the last end.
    Later(Limit),
    /// There is no such job as this one.
    Never(JobId),
}

/// The place of a job among the tasks of the run above it, if it is the one that counts there.
fn place(run: &Job, job: &Job) -> Option<usize> {
    run.counted(job).filter(|(_, counts)| *counts == job.id).map(|(at, _)| at)
}

impl Transaction {
    /// A new job is to begin after the ends of these. Nothing is changed if one of them is unknown.
    pub(super) fn follow(&mut self, follower: JobId, jobs: &[JobId]) -> FollowPlan {
        if let Some(unknown) = jobs.iter().find(|job| self.get(**job).is_none()) {
            return FollowPlan::Never(*unknown);
        }
        let is_open = |job: &JobId| self.get(*job).is_some_and(|entry| !entry.job.state.is_final());
        let open: BTreeSet<JobId> = jobs.iter().copied().filter(is_open).collect();
        for job in &open {
            if let Some(entry) = self.get_mut(*job) {
                entry.job.tree.has_followers = true;
                entry.dirty = true;
            }
        }
        // What is waited for under the name of a job goes with the end that this transaction has noted, too: after that the
        // job was taken up again.
        let again = open.iter().any(|job| self.writes().ended.contains(job));
        let name = match (open.first(), open.len()) {
            _ if mutant::is_on(Mutant::FollowsAtOnce) => return FollowPlan::Now,
            (None, _) => return FollowPlan::Now,
            (Some(job), 1) if !again => end_of(*job),
            (Some(_), _) => {
                self.writes().followed.extend(open.into_iter().map(|job| (job, follower)));
                ends_before(follower)
            }
        };
        // Nothing ever has a permit of this: only the ends of the jobs let go what waits for them.
        FollowPlan::Later(Limit { name, permits: 0 })
    }

    /// The jobs above one, the nearest first.
    pub(super) fn ancestors(&self, job: &Job) -> Vec<JobId> {
        let up = |id: &JobId| self.get(*id).and_then(|entry| entry.job.parent);
        std::iter::successors(job.parent, up).take(DEEPEST + 1).collect()
    }

    /// How the nearest of the jobs above one that was interrupted was.
    pub(super) fn cancelled_above(&self, job: &Job) -> Option<(JobId, CancelMode)> {
        let above = self.ancestors(job).into_iter().filter_map(|id| self.get(id));
        above.filter_map(|entry| Some((entry.job.id, entry.job.tree.cancel_mode?))).max_by_key(|(_, mode)| *mode)
    }

    /// Whether this job can have a child that is new.
    pub(super) fn check_accepts_child(&self, parent: JobId) -> Result<(), ChildError> {
        let Some(entry) = self.get(parent) else {
            return Err(ChildError::ParentNotFound);
        };
        let job = &entry.job;
        if let Some((above, _)) = self.cancelled_above(job) {
            return Err(ChildError::AncestorCancelled(above));
        }
        if job.tree.cancel_mode.is_some() {
            return Err(ChildError::AncestorCancelled(parent));
        }
        if !job.accepts_children() {
            return Err(ChildError::ParentEnded(job.tree.verdict.unwrap_or(job.state)));
        }
        if self.ancestors(job).len() >= DEEPEST {
            return Err(ChildError::TooDeep);
        }
        Ok(())
    }

    /// Counts a new job on every level above it. One whose parent takes none is on its own.
    pub(super) fn attach_to_parent(&mut self, job: &mut Job) {
        let Some(parent) = job.parent else { return };
        if self.check_accepts_child(parent).is_err() {
            (job.parent, job.root) = (None, job.id);
            return;
        }
        for (level, above) in self.ancestors(job).into_iter().enumerate() {
            self.update_job(above, |job| {
                job.tree.descendants += 1;
                job.tree.open_children += u64::from(level == 0);
            });
        }
    }

    /// A job has ended: it is counted above, and what waits for it goes on.
    pub(super) fn propagate_end(&mut self, job: &Job, actor: &Actor) -> Vec<HeldRow> {
        if job.tree.has_followers {
            self.release_followers(job.id);
        }
        for above in self.ancestors(job) {
            self.update_job(above, |job| job.tree.descendants_ended += 1);
        }
        let Some(parent) = job.parent else { return Vec::new() };
        let effects = self.update_job(parent, |parent| {
            if let (Some(at), Some(flow)) = (place(parent, job), parent.workflow_run_mut()) {
                flow.ended(at, job.state, job.failure.as_ref());
            }
            parent.child_ended(job.state, actor.now)
        });
        let mut to_send = self.apply_job_effects(parent, effects, actor);
        to_send.extend(self.advance_workflow(parent, actor));
        to_send
    }

    /// A job has ended that others may follow. What follows several and was submitted in this transaction is not in the store
    /// yet, and is let go here.
    fn release_followers(&mut self, ended: JobId) {
        let writes = self.writes();
        writes.woken.insert(end_of(ended), u32::MAX);
        writes.ended.push(ended);
        let (new, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut writes.followed).into_iter().partition(|(job, _)| *job == ended);
        writes.followed = others;
        let mut is_free = false;
        for (_, follower) in new {
            if writes.followed.iter().any(|(_, other)| *other == follower) {
                continue;
            }
            let name = ends_before(follower);
            let waits_for = |row: &&mut OutboxRow| row.waits_for.as_ref().is_some_and(|limit| limit.name == name);
            writes.to_send.iter_mut().filter(waits_for).for_each(|row| row.waits_for = None);
            is_free = true;
        }
        if is_free {
            self.notify(StoreNotice::OutboxReady);
        }
    }

    /// The job that counts in place of this one, which is of a task that its run has begun anew or is about to.
    pub(super) fn superseded_by(&self, job: &Job) -> Option<JobId> {
        let (_, counts) = self.get(job.parent?)?.job.counted(job)?;
        (counts != job.id).then_some(counts)
    }

    /// A job that had ended goes on.
    pub(super) fn propagate_reopen(&mut self, job: &Job, was: State, actor: &Actor) -> Vec<HeldRow> {
        for above in self.ancestors(job) {
            self.update_job(above, |job| job.tree.descendants_ended = job.tree.descendants_ended.saturating_sub(1));
        }
        let Some(parent) = job.parent else { return Vec::new() };
        let effects = self.update_job(parent, |parent| {
            if let (Some(at), Some(flow)) = (place(parent, job), parent.workflow_run_mut()) {
                flow.reopened(at);
            }
            parent.child_reopened(was)
        });
        self.apply_job_effects(parent, effects, actor)
    }

    pub(super) fn update_job<T: Default>(&mut self, id: JobId, change: impl FnOnce(&mut Job) -> T) -> T {
        let Some(entry) = self.get_mut(id) else { return T::default() };
        entry.dirty = true;
        let done = change(&mut entry.job);
        let root = entry.job.parent.is_none();
        // Whoever watches a tree looks at its root.
        if root {
            self.notify(StoreNotice::JobChanged(id));
        }
        done
    }

    pub(super) fn apply_job_effects(&mut self, id: JobId, effects: Vec<Effect>, actor: &Actor) -> Vec<HeldRow> {
        match self.get(id).map(|entry| entry.job.clone()) {
            Some(job) if !effects.is_empty() || job.state.is_final() => self.apply_effects(&job, effects, None, actor),
            _ => Vec::new(),
        }
    }
}
