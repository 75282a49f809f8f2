//! Retrying jobs and parts that failed or were cancelled, and sending lost messages again.

use super::{Client, ClientError};
use crate::id::JobId;
use crate::job::{JobKind, State};
use crate::store::{JobDiagnostics, JobView};
use crate::task::CallError;
use crate::tx::{ControlResult, Resend, Retry, job_of_end};

impl Client {
    /// Retries a job that failed or was cancelled.
    ///
    /// Of a job with parts, exactly the parts without an output run again, then the join. If only jobs below it
    /// failed or were cancelled, those are retried. A job that was cancelled while it waited for other jobs to end
    /// waits for them again.
    ///
    /// A job that has not ended, and for which no message and no running call is left, is sent again: the broker has
    /// lost its message or those of its parts.
    ///
    /// # Errors
    /// Returns an error if the job does not exist, has succeeded, or is still in progress; if another job holds its
    /// unique key; if its task no longer accepts its input; or if the store cannot be written.
    ///
    /// # Cancel safety
    /// If the future is dropped, the job may or may not have been retried.
    pub async fn retry(&self, id: JobId) -> Result<(), ClientError> {
        if self.retry_one(id).await? {
            self.retry_below(id).await?;
        }
        Ok(())
    }

    /// Retries one part of a job that failed or was cancelled, and then runs the join. The other parts keep their
    /// outcomes.
    ///
    /// # Errors
    /// Returns an error if the job or the part does not exist, the job has succeeded or not ended, the part has
    /// succeeded, or the store cannot be written.
    ///
    /// # Cancel safety
    /// If the future is dropped, the part may or may not have been retried.
    pub async fn retry_part(&self, id: JobId, index: u64) -> Result<(), ClientError> {
        let unique = self.view(id).await?.job.unique_key;
        let retry = Retry { part: Some(index), unique: unique.clone(), ..Retry::new(id, self.engine.actor()) };
        match self.engine.commit(retry).await? {
            ControlResult::PartNotRetryable(how) => Err(ClientError::PartNotRetryable { id, index, how }),
            ControlResult::KeyTaken(by) => {
                Err(ClientError::KeyTaken { key: unique.unwrap_or_default().to_string(), by })
            }
            result => Self::checked(id, "retried", result),
        }
    }

    /// Retries one job. Returns `true` if the job's own work succeeded, so that jobs below it are to be retried
    /// instead.
    pub(super) async fn retry_one(&self, id: JobId) -> Result<bool, ClientError> {
        let JobView { job, head, input, .. } = self.view(id).await?;
        // Not for a step: its input is built again from the outputs of the steps before it.
        let from_its_start = (head.sealed.is_none() || head.cut)
            && job.tree.verdict != Some(State::Succeeded)
            && job.kind != JobKind::Step;
        // A task that this program does not know may be known to others.
        if let (true, Ok(task)) = (from_its_start, self.engine.registry.get(&job.task)) {
            let def = if job.kind == JobKind::Single { &task.work } else { task.entry() };
            if let Err(CallError::Input(error)) = def.check(&input) {
                return Err(ClientError::SchemaChanged { id, task: task.name(), error });
            }
        }
        let after = if job.started.is_none() { self.waited_for(id).await? } else { Vec::new() };
        let unique = job.unique_key;
        let retry = Retry { unique: unique.clone(), after, ..Retry::new(id, self.engine.actor()) };
        match self.engine.commit(retry).await? {
            ControlResult::OnlyBelow => Ok(true),
            ControlResult::KeyTaken(by) => {
                Err(ClientError::KeyTaken { key: unique.unwrap_or_default().to_string(), by })
            }
            ControlResult::InvalidState(state) if !state.is_final() => self.send_again(id).await.map(|()| false),
            result => Self::checked(id, "retried", result).map(|()| false),
        }
    }

    /// Returns the jobs that a job which never started was waiting for and that have not ended. Its row in the outbox
    /// still waits for them.
    async fn waited_for(&self, id: JobId) -> Result<Vec<JobId>, ClientError> {
        let JobDiagnostics { outbox, follows, .. } = self.engine.store.diagnostics(id).await?;
        let one = outbox.limit.and_then(|(limit, _)| job_of_end(&limit.name));
        Ok(follows.into_iter().chain(one).collect())
    }

    /// Sends the lost messages of a job again, unless the job is still in progress.
    async fn send_again(&self, id: JobId) -> Result<(), ClientError> {
        let engine = &self.engine;
        let diagnostics = engine.store.diagnostics(id).await?;
        let JobView { job, head, .. } = self.view(id).await?;
        let in_parts = job.state == State::Waiting;
        if job.own_work_ended() || (in_parts && !head.has_all_parts()) {
            return Err(ClientError::InvalidState { id, verb: "retried", state: job.state });
        }
        let (outbox, now) = (&diagnostics.outbox, engine.clock.now());
        let alive = diagnostics.processes.iter().filter(|process| process.expires_at >= now);
        let mut under_way = outbox.free + outbox.later + outbox.waiting > 0
            || !outbox.held.is_empty()
            || alive.into_iter().any(|process| process.works_on(id, job.state, job.worker.as_deref()));
        // Any message that waits in the queue of the task may be the message of this job.
        if let (false, Ok(task)) = (under_way, engine.registry.get(&job.task)) {
            under_way = engine.broker.waiting(task.queue()).await?.unwrap_or(0) > 0;
        }
        let resend = Resend { job: id, attempt: job.attempt, actor: engine.actor() };
        if !under_way && engine.commit(resend).await? {
            return Ok(());
        }
        let why = self.why(id).await?;
        Err(ClientError::InProgress { id, state: why.state, why: why.sentence })
    }
}
