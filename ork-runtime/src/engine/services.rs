//! The services that a running task uses through its `Context`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::metrics_buffer::Added;
use super::submit::{SubmitError, SubmitOptions, new_job, submit};
use super::{Engine, dynamic_split, external};
use crate::context::{CallInfo, Child, Context, Data, MadeParts, Progress, Services, SplitError};
use crate::id::JobId;
use crate::metric::{MOST_SERIES, Measured, Series};
use crate::task::{CallError, Result};
use crate::tx::NewJob;

#[async_trait]
impl Services for Engine {
    async fn submit(&self, info: &CallInfo, child: Child) -> Result<JobId> {
        let Child { id, task, kind, body, after, unique } = child;
        let task = Arc::clone(self.registry.get(task)?);
        let mut job = new_job(self, &task, kind);
        (job.id, job.root) = (id, id);
        if after.is_none() {
            (job.root, job.parent) = (info.root, Some(info.job));
        }
        let joins = unique.is_some();
        let after = after.into_iter().collect();
        match submit(self, NewJob { job, input: body }, SubmitOptions { after, unique, ..SubmitOptions::default() })
            .await
        {
            Err(SubmitError::Taken { job, .. }) if joins => Ok(job),
            sent => Ok(sent.map(|_new| id)?),
        }
    }

    async fn split(&self, info: &CallInfo, data: &mut Data<'_>) -> Result<MadeParts, SplitError> {
        dynamic_split::split(self, info, data).await
    }

    fn progress(&self, info: &CallInfo, progress: Progress) {
        if self.store.records_jobs() {
            self.reports.report(info, progress);
        } else {
            // No store records it.
            self.emit_progress(info, &progress);
        }
    }

    fn record(&self, info: &CallInfo, series: Series, value: f64) {
        if !self.store.records_jobs() {
            return;
        }
        let job = info.job;
        match self.metrics.add(job, series, &Measured::one(value, self.clock.now())) {
            Added::Crowded { first: true } => tracing::warn!(
                %job,
                task = info.task,
                "a job has recorded {MOST_SERIES} metric series, dropping further ones"
            ),
            Added::Full { first: true } => {
                tracing::warn!(
                    %job, task = info.task,
                    "too many measurements are waiting for the store, dropping new ones"
                );
            }
            Added::Kept | Added::Crowded { first: false } | Added::Full { first: false } => {}
        }
    }

    async fn execute(&self, context: Context, input: Bytes) -> Result<Bytes, CallError> {
        external::execute(self, context, input).await
    }
}
