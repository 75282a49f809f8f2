//! Splits a job whose task has a split: calls it, and makes a part of each item that it yields.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::invoke::call;
use super::make_parts::{SplitEnd, make, policy};
use super::outcome::{CallOutcome, WorkOutcome};
use super::pages::items;
use super::work::{Common, Item};
use super::{Engine, ProcessError, call_info, invoke, lease, place};
use crate::job::Job;
use crate::task::CallError;
use crate::tx::OpenParts;

/// Splits a claimed job: takes the place of the call, and replaces the delivery with a lease if the split takes long.
pub(super) async fn claimed(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    job: &Job,
) -> Result<WorkOutcome, ProcessError> {
    let running = engine.running.enter(job.id);
    let Some(_place) = place::take(engine, common, item, &running).await else {
        return Ok(WorkOutcome::called(CallOutcome::Interrupted));
    };
    let input = item.input().clone();
    let split = Box::pin(split(engine, job, common, &input, running.token()));
    lease::keep(engine, &item.message, &mut item.guard, split).await.map(WorkOutcome::from)
}

/// Calls the split of a job, and makes a part of each item that it yields.
async fn split(
    engine: &Arc<Engine>,
    job: &Job,
    common: &Common,
    input: &Bytes,
    cancelled: &CancellationToken,
) -> Result<SplitEnd, ProcessError> {
    let (task, def) = (&common.task, common.def());
    if let Err(error) = def.check_rules(input) {
        return Ok(SplitEnd::Failed(CallError::Input(error)));
    }
    if engine.drain.is_cancelled() {
        return Ok(SplitEnd::Interrupted);
    }
    let schemas = Some(task.work.fingerprint());
    let open = OpenParts {
        job: job.id,
        attempt: job.attempt,
        policy: policy(def),
        has_join: task.join.is_some(),
        schema: schemas,
    };
    let Some(epoch) = engine.commit(open).await? else {
        return Ok(SplitEnd::Sealed);
    };
    let token = invoke::token(def, cancelled);
    let call = call(engine, def, input, call_info::job(job), None, &token);
    make(engine, job, epoch, def, &token, items(engine, def, call)).await
}
