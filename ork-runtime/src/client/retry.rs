//! Taking up jobs that did not end well, and sending again those that wait for what is lost.

use super::{Client, ClientError};
use crate::id::JobId;
use crate::job::{JobKind, State};
use crate::store::{JobDiagnostics, JobView};
use crate::task::CallError;
use crate::tx::{ControlResult, Resend, Retry, job_of_end};

impl Client {
    /// Takes up a job that failed or was cancelled: exactly the parts that are not `ok`, then its join. A job that
    /// has not ended, and for which nothing is under way, is sent again: the broker has lost its message, or those of
    /// its parts. One that was cancelled while it waited for the ends of other jobs waits for them again.
    ///
    /// # Errors
    /// When there is no such job, it has succeeded, something is under way for it, another job has its unique key,
    /// its task does not take its input any more, or the store cannot be written.
    ///
    /// # Cancel safety
    /// The job may or may not have been taken up if the future is dropped.
    pub async fn retry(&self, id: JobId) -> Result<(), ClientError> {
        if self.retry_one(id).await? {
            self.retry_below(id).await?;
        }
        Ok(())
    }

    /// Takes up one part of a job that failed or was cancelled, then its join; the other parts stay as they are.
    ///
    /// # Errors
    /// When there is no such job or part, the job has not ended or succeeded, the part ended well, or the store
    /// cannot be written.
    ///
    /// # Cancel safety
    /// The part may or may not have been taken up if the future is dropped.
    pub async fn retry_part(&self, id: JobId, index: u64) -> Result<(), ClientError> {
        let unique = self.view(id).await?.job.unique_key;
        let retry = Retry { part: Some(index), unique: unique.clone(), ..Retry::new(id, self.engine.actor()) };
        match self.engine.commit(retry).await? {
            ControlResult::PartNotRetryable(how) => Err(ClientError::PartStays { id, index, how }),
            ControlResult::KeyTaken(by) => Err(ClientError::Taken { key: unique.unwrap_or_default().to_string(), by }),
            steered => Self::steered(id, "retried", steered),
        }
    }

    /// Answers whether what is to be retried is below it.
    pub(super) async fn retry_one(&self, id: JobId) -> Result<bool, ClientError> {
        let JobView { job, head, input, .. } = self.view(id).await?;
        // The input of a step is made anew.
        let from_its_start = (head.sealed.is_none() || head.cut)
            && job.tree.verdict != Some(State::Succeeded)
            && job.kind != JobKind::Step;
        // What this program does not know, others may.
        if let (true, Ok(task)) = (from_its_start, self.engine.registry.get(&job.task)) {
            let def = if job.kind == JobKind::Single { &task.work } else { task.entry() };
            if let Err(CallError::Input(error)) = def.check(&input) {
                return Err(ClientError::Outgrown { id, task: task.name(), error });
            }
        }
        let after = if job.started.is_none() { self.waited_for(id).await? } else { Vec::new() };
        let unique = job.unique_key;
        let retry = Retry { unique: unique.clone(), after, ..Retry::new(id, self.engine.actor()) };
        match self.engine.commit(retry).await? {
            ControlResult::OnlyBelow => Ok(true),
            ControlResult::KeyTaken(by) => Err(ClientError::Taken { key: unique.unwrap_or_default().to_string(), by }),
            ControlResult::InvalidState(state) if !state.is_final() => self.send_again(id).await.map(|()| false),
            steered => Self::steered(id, "retried", steered).map(|()| false),
        }
    }

    /// The jobs that have not ended and that a job waited for which never began: its row in the outbox still waits
    /// for them.
    async fn waited_for(&self, id: JobId) -> Result<Vec<JobId>, ClientError> {
        let JobDiagnostics { to_send: owed, follows, .. } = self.engine.store.diagnostics(id).await?;
        let one = owed.limit.and_then(|(limit, _)| job_of_end(&limit.name));
        Ok(follows.into_iter().chain(one).collect())
    }

    /// Sends again what a job waits for, if nothing is under way for it.
    async fn send_again(&self, id: JobId) -> Result<(), ClientError> {
        let engine = &self.engine;
        let situation = engine.store.diagnostics(id).await?;
        let JobView { job, head, .. } = self.view(id).await?;
        let in_parts = job.state == State::Waiting;
        if job.own_work_ended() || (in_parts && !head.has_all_parts()) {
            return Err(ClientError::WrongState { id, verb: "retried", state: job.state });
        }
        let (owed, now) = (&situation.to_send, engine.clock.now());
        let alive = situation.processes.iter().filter(|process| process.until >= now);
        let mut under_way = owed.free + owed.later + owed.waiting > 0
            || !owed.held.is_empty()
            || alive.into_iter().any(|process| process.works_on(id, job.state, job.worker.as_deref()));
        // Whatever waits in its queue may be what it waits for.
        if let (false, Ok(task)) = (under_way, engine.registry.get(&job.task)) {
            under_way = engine.broker.waiting(task.queue()).await?.unwrap_or(0) > 0;
        }
        let resend = Resend { job: id, attempt: job.attempt, actor: engine.actor() };
        if !under_way && engine.commit(resend).await? {
            return Ok(());
        }
        let why = self.why(id).await?;
        Err(ClientError::UnderWay { id, state: why.state, why: why.sentence })
    }
}
