//! Operations of the client on trees of jobs: cancelling, retrying, reading.

use super::{Client, ClientError, Status};
use crate::engine::cancel;
use crate::id::JobId;
use crate::job::State;
use crate::store::{Filter, JobView};
use crate::tree::CancelMode;

/// The number of jobs read at once.
const PAGE: usize = 500;

impl Client {
    /// Cancels a job and all jobs below it: nothing more of them starts. What happens to running calls depends on the
    /// mode. A job ends as cancelled when its own calls and all its children have ended.
    ///
    /// # Errors
    /// Returns an error if the job does not exist or has ended, or the store cannot be written.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been cancelled. If it has, nothing more starts below it,
    /// but calls that run there may finish in either mode.
    pub async fn cancel(&self, id: JobId, mode: CancelMode) -> Result<(), ClientError> {
        let result = cancel::cancel(&self.engine, id, mode).await?;
        Self::checked(id, "cancelled", result)
    }

    /// Retries the failed and cancelled jobs below a job that itself succeeded.
    pub(super) async fn retry_below(&self, id: JobId) -> Result<(), ClientError> {
        let mut parents = vec![id];
        while let Some(parent) = parents.pop() {
            let mut before = None;
            loop {
                let children = self.children(parent, vec![State::Failed, State::Cancelled], before).await?;
                for child in &children {
                    match self.retry_one(child.job.id).await {
                        Ok(true) => parents.push(child.job.id),
                        // Another process has retried it in the meantime.
                        Ok(false) | Err(ClientError::InvalidState { .. } | ClientError::InProgress { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                match children.last() {
                    Some(last) => before = Some(last.job.id),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Returns a job and all jobs below it, each after its parent, with its depth: 0 for the job itself.
    ///
    /// # Errors
    /// Returns an error if the job does not exist, there is no store, or the store cannot be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it only reads.
    pub async fn tree(&self, id: JobId) -> Result<Vec<(usize, Status)>, ClientError> {
        let mut tree = Vec::new();
        let mut next = vec![(0, self.view(id).await?)];
        while let Some((depth, view)) = next.pop() {
            if view.job.tree.descendants > 0 {
                let (mut below, mut before) = (Vec::new(), None);
                loop {
                    let children = self.children(view.job.id, Vec::new(), before).await?;
                    let Some(last) = children.last() else { break };
                    before = Some(last.job.id);
                    below.extend(children);
                }
                // The stack is popped from its end, so the oldest child comes last.
                below.sort_by_key(|child| std::cmp::Reverse((child.job.created, child.job.id)));
                next.extend(below.into_iter().map(|child| (depth + 1, child)));
            }
            tree.push((depth, Status::new(view)));
        }
        Ok(tree)
    }

    async fn children(
        &self,
        parent: JobId,
        states: Vec<State>,
        before: Option<JobId>,
    ) -> Result<Vec<JobView>, ClientError> {
        let filter = Filter { states, parent: Some(parent), before, limit: PAGE, ..Filter::default() };
        Ok(self.engine.store.jobs(filter).await?)
    }
}
