//! Fans a step out: one part for each item, or a given number of parts.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::super::make_parts::{self, SplitEnd};
use super::super::{Engine, ProcessError};
use super::output::{NoOutput, Outputs};
use super::{Instances, Step};
use crate::job::Job;
use crate::ledger::MOST_PARTS;
use crate::policy::Policy;
use crate::task::call::Items;
use crate::task::def::{Options, TaskDef};
use crate::task::{CallError, Error};
use crate::tx::OpenParts;

/// Creates the parts of a claimed step.
pub(in super::super) async fn fan_out(
    engine: &Arc<Engine>,
    job: &Job,
    step: &Step,
    cancelled: &CancellationToken,
) -> Result<SplitEnd, ProcessError> {
    let failed = |error| Ok(SplitEnd::Failed(error));
    if let Some(error) = step.error() {
        return failed(error);
    }
    let Some(Instances { foreach, items: _, each, run }) = step.many() else { return Ok(SplitEnd::Sealed) };
    let items = match foreach {
        None => vec![Bytes::from_static(b"null")],
        Some(reference) => match (Outputs { engine, run }).items(reference).await {
            Ok(items) => items,
            Err(NoOutput::Wrong(why)) => return failed(CallError::Task(Error::permanent(why))),
            Err(NoOutput::Process(error)) => return Err(error),
        },
    };
    let each = each.unwrap_or(1);
    let n = u64::try_from(items.len()).unwrap_or(u64::MAX).saturating_mul(each);
    if n > MOST_PARTS {
        return failed(CallError::Task(make_parts::too_many()));
    }
    let open =
        OpenParts { job: job.id, attempt: job.attempt, policy: Policy::default(), has_join: false, schema: None };
    let Some(epoch) = engine.commit(open).await? else {
        return Ok(SplitEnd::Sealed);
    };
    let parts = items.into_iter().flat_map(move |item| (0..each).map(move |_| Ok(item.clone())));
    let parts = async { Ok(Items::Iterator(Box::new(parts))) };
    // The timeout of an attempt applies to the instances, not to the fan-out itself.
    let work = &step.task.work;
    let def = TaskDef { options: Options { timeout: None, ..work.options }, ..*work };
    make_parts::make(engine, job, epoch, &def, cancelled, parts).await
}
