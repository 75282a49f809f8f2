//! Makes the parts of a job: the items of a split become parts, page after page, and after the last page their number
//! is sealed.
//!
//! A page is appended after the previous one is committed and sent, and at most one page is pulled ahead. So a split
//! of any length needs the memory of a few pages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::duplicates::next_check;
use super::invoke::{emit_last_progress, flatten, guard};
use super::outcome::{CallOutcome, WorkOutcome};
use super::pages::pages;
use super::{Done, Engine, ProcessError};
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::job::{Job, Phase, State};
use crate::ledger;
use crate::mutant::{self, Mutant};
use crate::policy::Policy;
use crate::store::{JobView, StoreError};
use crate::task::CallError;
use crate::task::call::Items;
use crate::task::def::TaskDef;
use crate::tx::{AppendParts, PartPage, SealParts, SettleResult};

/// The pause between two checks whether the current run of a split has ended.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The end of a split.
pub(super) enum SplitEnd {
    /// All parts are there, or no more are wanted: the job waits for them.
    Sealed,
    /// Another run of the split has taken over. Its process may die, so the delivery of this one is not done.
    Superseded,
    /// The function has failed.
    Failed(CallError),
    /// The worker has to stop, or the job has ended.
    Interrupted,
}

impl From<SplitEnd> for WorkOutcome {
    fn from(split: SplitEnd) -> Self {
        match split {
            SplitEnd::Sealed => Self::Recorded(Done::Settled),
            SplitEnd::Superseded => Self::Recorded(Done::Interrupted),
            SplitEnd::Failed(error) => Self::called(CallOutcome::Failed(error)),
            SplitEnd::Interrupted => Self::called(CallOutcome::Interrupted),
        }
    }
}

/// Makes a part of each item, page after page, and seals their number.
pub(super) async fn make(
    engine: &Arc<Engine>,
    job: &Job,
    epoch: u32,
    def: &TaskDef,
    token: &CancellationToken,
    items: impl Future<Output = Result<Items, CallError>>,
) -> Result<SplitEnd, ProcessError> {
    let run = async {
        let mut pages = pages(engine, items.await?, page_size(engine, def));
        append_all(engine, job, epoch, &mut pages).await
    };
    let run = async { flatten(futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(run)).await) };
    let split = guard(engine, def, token, run).await;
    emit_last_progress(engine, (job.id, None));
    let stored = match split {
        CallOutcome::Returned(stored) => stored,
        CallOutcome::Failed(error) => return Ok(SplitEnd::Failed(error)),
        CallOutcome::Interrupted => return Ok(SplitEnd::Interrupted),
    };
    let n = stored?;
    let seal = SealParts { job: job.id, epoch, n, output: None, permit: None, actor: engine.actor() };
    Ok(match engine.commit(seal).await? {
        SettleResult::Applied => SplitEnd::Sealed,
        SettleResult::Stale => {
            wait_for_current_run(engine, job.id, job.attempt).await;
            SplitEnd::Superseded
        }
    })
}

/// Waits while another worker, which has a duplicate of this message, makes the current run of the split. If this
/// message were requeued at once, its next run would supersede that one in turn, and so on. If the process of that run
/// is dead, its message is delivered again, and in this process it would wait for this one.
pub(super) async fn wait_for_current_run(engine: &Engine, job: JobId, attempt: u32) {
    let mut changes = engine.store.notifier().of(job, true);
    let mut alive = None;
    loop {
        // If the store cannot be read, it may be available again at the next check.
        if let Ok(false) = runs(engine, job, attempt, &mut alive).await {
            return;
        }
        tokio::select! {
            biased;
            () = engine.force.cancelled() => return,
            () = changes.changed() => {}
            // The store sends no notice when a split has ended.
            () = engine.clock.pause(CHECK_INTERVAL) => {}
        }
    }
}

/// Returns whether a live process runs this attempt at a job. `alive` is the process that was found alive last, and
/// when it has to be checked again: such a check reads much more than the job.
async fn runs(
    engine: &Engine,
    job: JobId,
    attempt: u32,
    alive: &mut Option<(String, Timestamp)>,
) -> Result<bool, ProcessError> {
    let view = engine.store.job(job).await?;
    let is_current = |view: &JobView| view.job.state == State::Running && view.job.is_current(Phase::Start, attempt);
    let Some(view) = view.filter(is_current) else { return Ok(false) };
    let Some(worker) = view.job.worker.filter(|_| !mutant::is_on(Mutant::WaitsForDeadRuns)) else { return Ok(true) };
    if alive.as_ref().is_none_or(|(known, until)| *known != worker || engine.clock.now() >= *until) {
        *alive = next_check(engine, job, &worker).await?.map(|until| (worker, until));
    }
    Ok(alive.is_some())
}

/// Returns the error policy for the parts of this function.
pub(super) fn policy(def: &TaskDef) -> Policy {
    Policy { on_error: def.options.on_error, tolerate: def.options.tolerate.unwrap_or_default() }
}

/// Returns how many parts of this function go into one page.
pub(super) fn page_size(engine: &Engine, def: &TaskDef) -> usize {
    def.options.chunk.and_then(|chunk| usize::try_from(chunk).ok()).unwrap_or(engine.settings.split_page_size)
}

/// Appends page after page. Returns the number of parts, or the error of the store.
async fn append_all(
    engine: &Engine,
    job: &Job,
    epoch: u32,
    pages: &mut BoxStream<'static, Result<Vec<Bytes>, CallError>>,
) -> Result<Result<u64, StoreError>, CallError> {
    let mut first = 0;
    while let Some(inputs) = pages.next().await {
        let inputs = inputs?;
        let len = u64::try_from(inputs.len()).unwrap_or(u64::MAX);
        let page = PartPage { job: job.id, epoch, first, inputs };
        match append(engine, page).await {
            Err(error) => return Ok(Err(error)),
            Ok(ledger::AppendResult::Added | ledger::AppendResult::Already) => first += len,
            // The job was stopped or cancelled, or another run of the split has taken over.
            Ok(ledger::AppendResult::Halted | ledger::AppendResult::Stale) => break,
            Ok(ledger::AppendResult::TooMany) => return Err(CallError::Task(too_many())),
        }
    }
    Ok(Ok(first))
}

/// Appends one page, and sends the outbox rows of its parts.
pub(super) async fn append(engine: &Engine, page: PartPage) -> Result<ledger::AppendResult, StoreError> {
    engine.commit(AppendParts { page, actor: engine.actor() }).await
}

/// Returns the error of a split that yields more parts than a job may have.
pub(super) fn too_many() -> crate::task::Error {
    let most = ledger::MOST_PARTS;
    crate::task::Error::permanent(format!("the split yields more than {most} parts, which is the maximum of a job"))
}
