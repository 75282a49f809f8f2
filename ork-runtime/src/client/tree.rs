//! What a client does to whole trees of jobs: cancel, interrupt, retry, show.

use super::{Client, ClientError, Status};
use crate::engine::cancel;
use crate::id::JobId;
use crate::job::State;
use crate::store::{Filter, JobView};
use crate::tree::CancelMode;

/// How many jobs are looked at in one go.
const PAGE: usize = 500;

impl Client {
    /// Cancels a job and all jobs below it: nothing of them starts any more, and what runs is asked to stop. A job whose
    /// children have all ended is final at once.
    ///
    /// # Errors
    /// When there is no such job, it has ended, or the store cannot be written.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been cancelled; if it has, what runs below it may go on to
    /// its end, and nothing begins there.
    pub async fn cancel(&self, id: JobId) -> Result<(), ClientError> {
        self.stop(id, CancelMode::Immediate).await
    }

    /// Interrupts a job and all jobs below it: what has begun is brought to its end, and nothing else starts any more.
    /// Then the job is cancelled.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    ///
    /// # Cancel safety
    /// The job may or may not have been interrupted if the future is dropped; if it has, nothing begins below it.
    pub async fn interrupt(&self, id: JobId) -> Result<(), ClientError> {
        self.stop(id, CancelMode::Graceful).await
    }

    async fn stop(&self, id: JobId, stop: CancelMode) -> Result<(), ClientError> {
        let steered = cancel::stop(&self.engine, id, stop).await?;
        Self::steered(id, "cancelled", steered)
    }

    /// Takes up what did not end well below a job whose own work did.
    pub(super) async fn retry_below(&self, id: JobId) -> Result<(), ClientError> {
        let mut parents = vec![id];
        while let Some(parent) = parents.pop() {
            let mut before = None;
            loop {
                let children = self.children(parent, vec![State::Failed, State::Cancelled], before).await?;
                for child in &children {
                    match self.retry_one(child.job.id).await {
                        Ok(true) => parents.push(child.job.id),
                        // Somebody else was faster.
                        Ok(false) | Err(ClientError::WrongState { .. } | ClientError::UnderWay { .. }) => {}
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

    /// A job and all jobs below it, each after the one that submitted it, with its depth: 0 for the job itself.
    ///
    /// # Errors
    /// When there is no such job, or the store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
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
                // The oldest is taken first.
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
