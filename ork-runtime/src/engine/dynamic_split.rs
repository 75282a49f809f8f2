//! Dynamic splits: a task makes parts of its job while its function runs.

use std::sync::Arc;

use bytes::Bytes;

use super::{Engine, make_parts, pages};
use crate::context::{CallInfo, Data, MadeParts, SplitError};
use crate::id::JobId;
use crate::job::Phase;
use crate::ledger;
use crate::registry::Task;
use crate::store::JobView;
use crate::task::Error;
use crate::tx::{OpenParts, PartPage};

/// Makes parts of the running job, page after page; no item is taken before the previous page is in the store.
pub(super) async fn split(engine: &Engine, info: &CallInfo, data: &mut Data<'_>) -> Result<MadeParts, SplitError> {
    let task = Arc::clone(engine.registry.get(&info.task).map_err(|error| SplitError::Rejected(error.into()))?);
    if let Some(why) = refusal(engine, info, &task) {
        return Err(SplitError::Rejected(Error::permanent(why)));
    }
    let open = OpenParts {
        job: info.job,
        attempt: info.fence,
        policy: make_parts::policy(&task.work),
        has_join: task.join.is_some(),
        schema: Some(task.work.fingerprint()),
    };
    let Some(epoch) = engine.commit(open).await.map_err(|error| SplitError::Rejected(error.into()))? else {
        return Err(SplitError::Rejected(over(info.job)));
    };
    let most = make_parts::page_size(engine, &task.work);
    let (mut n, mut want) = (0, pages::FIRST_PAGE.min(most));
    loop {
        let inputs: Result<Vec<Bytes>, _> = data.take(want).collect();
        let inputs = inputs.map_err(|error| {
            SplitError::Failed(Error::permanent(format!("the data of a part cannot be serialized as JSON: {error}")))
        })?;
        if inputs.is_empty() {
            return Ok(MadeParts { epoch, n });
        }
        let (first, len) = (n, u64::try_from(inputs.len()).unwrap_or(u64::MAX));
        let page = PartPage { job: info.job, epoch, first, inputs };
        match make_parts::append(engine, page).await.map_err(|error| SplitError::Failed(error.into()))? {
            ledger::AppendResult::Added | ledger::AppendResult::Already => n += len,
            ledger::AppendResult::Halted => return halted(engine, info.job, MadeParts { epoch, n }).await,
            ledger::AppendResult::Stale => {
                make_parts::wait_for_current_run(engine, info.job, info.fence).await;
                let detail = format!("another worker has split job {} again, so this split was stopped", info.job);
                return Err(SplitError::Superseded(Error::permanent(detail)));
            }
            ledger::AppendResult::TooMany => return Err(SplitError::Failed(make_parts::too_many())),
        }
        want = (want * 2).min(most);
    }
}

/// Returns why this call cannot make parts, if so.
fn refusal(engine: &Engine, info: &CallInfo, task: &Task) -> Option<String> {
    let CallInfo { job, phase, index, member, .. } = info;
    let name = task.name();
    if let Some(index) = index {
        Some(format!("part {index} of job {job} cannot be split: parts cannot be split"))
    } else if *member {
        Some(format!("job {job} is a part of an external part set, and parts cannot be split"))
    } else if *phase == Phase::Join {
        Some(format!("the join of job {job} cannot be split: its parts have ended"))
    } else if let Some(split) = task.split {
        Some(format!("the function of `{name}` cannot split its job: the task has a split, `{}`", split.function))
    } else if !engine.store.records_jobs() {
        Some(format!("`{name}` cannot split its job without a store: set ORK_STORE"))
    } else {
        None
    }
}

fn over(job: JobId) -> Error {
    Error::permanent(format!("job {job} was cancelled or has ended and can no longer be split"))
}

/// No further part is wanted: either the job was cancelled, or too many parts have failed for it to succeed. The
/// latter is no error here: the parts report it when the job ends.
async fn halted(engine: &Engine, job: JobId, made: MadeParts) -> Result<MadeParts, SplitError> {
    match engine.store.job(job).await {
        Ok(Some(JobView { job, .. })) if job.accepts_children() => Ok(made),
        Ok(_) => Err(SplitError::Failed(over(job))),
        Err(error) => Err(SplitError::Failed(error.into())),
    }
}
