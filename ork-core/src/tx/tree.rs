//! Trees of jobs: which jobs accept children, and how the ancestors of a job count it.
//!
//! The store always loads a job together with all its ancestors.

use super::transaction::Transaction;
use super::types::StoreNotice;
use crate::id::JobId;
use crate::job::tree::{CancelMode, DEEPEST};
use crate::job::{Job, State};

/// The reason why a job does not accept a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildError {
    /// The parent does not exist.
    ParentNotFound,
    /// The parent's own work has ended in this state.
    ParentEnded(State),
    /// The parent, or this ancestor of it, was cancelled.
    AncestorCancelled(JobId),
    /// The parent is at the largest depth that a tree can have.
    TooDeep,
}

impl Transaction {
    /// Returns the ancestors of a job, the nearest first.
    pub(super) fn ancestors(&self, job: &Job) -> Vec<JobId> {
        let up = |id: &JobId| self.get(*id).and_then(|loaded| loaded.job.parent);
        std::iter::successors(job.parent, up).take(DEEPEST + 1).collect()
    }

    /// Returns the ancestor of a job that was cancelled with the strictest mode, and that mode.
    pub(super) fn cancelled_above(&self, job: &Job) -> Option<(JobId, CancelMode)> {
        let above = self.ancestors(job).into_iter().filter_map(|id| self.get(id));
        above.filter_map(|loaded| Some((loaded.job.id, loaded.job.tree.cancel_mode?))).max_by_key(|(_, mode)| *mode)
    }

    /// Checks that a job accepts a new child.
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

    /// Counts a new job in all its ancestors. If its parent does not accept children, the job becomes a root instead.
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

    /// Returns the job that the workflow run counts for the step of this job, if it is another one because the run has
    /// restarted the step, or is about to.
    pub(super) fn superseded_by(&self, job: &Job) -> Option<JobId> {
        let (_, counts) = self.get(job.parent?)?.job.counted(job)?;
        (counts != job.id).then_some(counts)
    }

    /// Changes a job that is related to the job of the operation, if it is loaded. Returns the result of `update`.
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
