//! Trees of jobs: which jobs take children, and what the ancestors of a job count.
//!
//! The store loads all ancestors of a job with it.

use super::transaction::Transaction;
use super::types::StoreNotice;
use crate::id::JobId;
use crate::job::{Job, State};
use crate::tree::{CancelMode, DEEPEST};

/// Why a job takes no child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildError {
    /// There is no such parent.
    ParentNotFound,
    /// The parent's own work has ended in this state.
    ParentEnded(State),
    /// The parent, or this ancestor of it, was cancelled.
    AncestorCancelled(JobId),
    /// The parent is at the largest depth that a tree can have.
    TooDeep,
}

impl Transaction {
    /// The ancestors of a job, the nearest first.
    pub(super) fn ancestors(&self, job: &Job) -> Vec<JobId> {
        let up = |id: &JobId| self.get(*id).and_then(|loaded| loaded.job.parent);
        std::iter::successors(job.parent, up).take(DEEPEST + 1).collect()
    }

    /// The ancestor of a job that was cancelled with the strictest mode, and that mode.
    pub(super) fn cancelled_above(&self, job: &Job) -> Option<(JobId, CancelMode)> {
        let above = self.ancestors(job).into_iter().filter_map(|id| self.get(id));
        above.filter_map(|loaded| Some((loaded.job.id, loaded.job.tree.cancel_mode?))).max_by_key(|(_, mode)| *mode)
    }

    /// Whether a job can have a new child.
    pub(super) fn check_accepts_child(&self, parent: JobId) -> Result<(), ChildError> {
        let Some(loaded) = self.get(parent) else {
            return Err(ChildError::ParentNotFound);
        };
        let job = &loaded.job;
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

    /// Counts a new job in all its ancestors. A job whose parent takes no child becomes a root.
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

    /// The job that counts for the same step of the workflow run as this job, if it is another one: the run has restarted
    /// the step, or is about to.
    pub(super) fn superseded_by(&self, job: &Job) -> Option<JobId> {
        let (_, counts) = self.get(job.parent?)?.job.counted(job)?;
        (counts != job.id).then_some(counts)
    }

    /// Changes a job that is related to the one of the operation.
    pub(super) fn update_job<T: Default>(&mut self, id: JobId, update: impl FnOnce(&mut Job) -> T) -> T {
        let Some(loaded) = self.get_mut(id) else { return T::default() };
        loaded.dirty = true;
        let updated = update(&mut loaded.job);
        // Clients that watch a tree watch its root.
        if loaded.job.parent.is_none() {
            self.notify(StoreNotice::JobChanged(id));
        }
        updated
    }
}
