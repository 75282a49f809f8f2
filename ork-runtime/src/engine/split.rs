//! Splits a job: the items that the user's function yields become parts, page after page, and the last page is
//! sealed.
//!
//! A page is appended after the previous one is committed and sent, and at most one page is pulled ahead. So a split
//! of any length needs the memory of a few pages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::invoke::{call, flatten, guard};
use super::outcome::{CallOutcome, Outcome};
use super::work::{Common, Item};
use super::{Done, Engine, ProcessError, about, invoke, lease, place};
use crate::id::JobId;
use crate::job::{Job, Phase, State};
use crate::ledger;
use crate::message::Message;
use crate::policy::Policy;
use crate::store::{JobView, StoreError};
use crate::task::CallError;
use crate::task::call::Call;
use crate::task::call::Items;
use crate::task::def::{Run, TaskDef};
use crate::tx::{AppendParts, OpenParts, PartPage, SealParts, SettleResult};

/// The first page is small, so that the first parts start soon; each page doubles up to the configured size.
pub(super) const FIRST_PAGE: usize = 16;

/// A page that takes longer than this to fill is sent as it is.
const PAGE_TIME: Duration = Duration::from_millis(50);

/// How often a worker with a stale run of a split checks whether the current run has ended.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How a split ended.
pub(super) enum Split {
    /// All parts are there, or no more are wanted: the job waits for them.
    Sealed,
    /// Another run of the split has taken over. Its process may die, so the delivery of this one is not done.
    Overtaken,
    /// The split did not finish.
    Ended(CallOutcome<()>),
}

impl From<Split> for Outcome {
    fn from(split: Split) -> Self {
        match split {
            Split::Sealed | Split::Ended(CallOutcome::Returned(())) => Self::Recorded(Done::Settled),
            Split::Overtaken => Self::Recorded(Done::Interrupted),
            Split::Ended(CallOutcome::Failed(error)) => Self::called(CallOutcome::Failed(error)),
            Split::Ended(CallOutcome::Interrupted) => Self::called(CallOutcome::Interrupted),
        }
    }
}

/// Splits a claimed job in the store.
pub(super) async fn claimed(
    engine: &Arc<Engine>,
    common: &Common,
    item: &mut Item,
    job: &Job,
) -> Result<Outcome, ProcessError> {
    let running = engine.running.enter(job.id);
    let Some(_place) = place::take(engine, common, item, &running).await else {
        return Ok(Outcome::called(CallOutcome::Interrupted));
    };
    let split = Box::pin(split(engine, job, common, &item.message, running.token()));
    lease::keep(engine, &item.message, &mut item.guard, split).await.map(Outcome::from)
}

/// Calls the split of a job, and makes a part of each item that it yields.
async fn split(
    engine: &Arc<Engine>,
    job: &Job,
    common: &Common,
    message: &Message,
    cancelled: &CancellationToken,
) -> Result<Split, ProcessError> {
    let (task, def) = (&common.task, common.def());
    if let Err(error) = def.check_rules(&message.body) {
        return Ok(Split::Ended(CallOutcome::Failed(CallError::Input(error))));
    }
    if engine.drain.is_cancelled() {
        return Ok(Split::Ended(CallOutcome::Interrupted));
    }
    let schemas = Some(task.work.fingerprint());
    let open = OpenParts {
        job: job.id,
        attempt: job.attempt,
        policy: policy(def),
        joined: task.join.is_some(),
        schema: schemas,
    };
    let Some(epoch) = engine.commit(open).await? else {
        return Ok(Split::Sealed);
    };
    let token = invoke::token(def, cancelled);
    let call = call(engine, def, message, about::job(job), None, &token);
    make(engine, job, epoch, def, &token, items(engine, def, call)).await
}

/// Calls the split and returns the items that it yields.
async fn items(engine: &Engine, def: &TaskDef, call: Call) -> Result<Items, CallError> {
    match def.run {
        Run::AsyncSplit(run) => run(call).await,
        Run::BlockingSplit(run) => flatten(engine.runtime.call_blocking(move || run(call)).await),
        Run::Async(_) | Run::Blocking(_) => Err(CallError::Panicked("a task was called as a split".into())),
    }
}

/// Makes a part of each item, page after page, and seals them.
pub(super) async fn make(
    engine: &Arc<Engine>,
    job: &Job,
    epoch: u32,
    def: &TaskDef,
    token: &CancellationToken,
    items: impl Future<Output = Result<Items, CallError>>,
) -> Result<Split, ProcessError> {
    let run = async {
        let mut pages = pages(engine, items.await?, page_size(engine, def));
        append_all(engine, job, epoch, &mut pages).await
    };
    let run = async { flatten(futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(run)).await) };
    let split = guard(engine, def, token, run).await;
    invoke::emit_last_progress(engine, (job.id, None));
    let stored = match split {
        CallOutcome::Returned(stored) => stored,
        CallOutcome::Failed(error) => return Ok(Split::Ended(CallOutcome::Failed(error))),
        CallOutcome::Interrupted => return Ok(Split::Ended(CallOutcome::Interrupted)),
    };
    let n = stored?;
    let seal = SealParts { job: job.id, epoch, n, output: None, permit: None, actor: engine.actor() };
    Ok(match engine.commit(seal).await? {
        SettleResult::Applied => Split::Sealed,
        SettleResult::Stale => {
            wait_for_current_run(engine, job.id, job.attempt).await;
            Split::Overtaken
        }
    })
}

/// Waits while another worker, with a duplicate of this message, runs the current run of the split. Requeued at once,
/// this copy would overtake that run in turn, and so on. So it waits here until that run has ended or was given up.
pub(super) async fn wait_for_current_run(engine: &Engine, job: JobId, attempt: u32) {
    let mut changes = engine.store.notifier().of(job, true);
    loop {
        let runs = match engine.store.job(job).await {
            Ok(view) => view.is_some_and(|JobView { job, .. }| {
                job.state == State::Running && job.is_current(Phase::Start, attempt)
            }),
            // The store may be available again at the next check.
            Err(_) => true,
        };
        if !runs {
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

/// Returns the error policy for the parts of this function.
pub(super) fn policy(def: &TaskDef) -> Policy {
    Policy { on_error: def.options.on_error, tolerate: def.options.tolerate.unwrap_or_default() }
}

/// Returns how many parts of this function go into one page.
pub(super) fn page_size(engine: &Engine, def: &TaskDef) -> usize {
    def.options.chunk.and_then(|chunk| usize::try_from(chunk).ok()).unwrap_or(engine.settings.page)
}

/// Runs a split and collects its items, which must not exceed `most` bytes in total.
pub(super) async fn collect(
    engine: &Arc<Engine>,
    def: &TaskDef,
    call: Call,
    most: usize,
) -> Result<Vec<Bytes>, CallError> {
    let all = async {
        let mut pages = pages(engine, items(engine, def, call).await?, engine.settings.page);
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        while let Some(page) = pages.next().await {
            for item in page? {
                bytes += item.len();
                items.push(item);
            }
            if bytes > most {
                let detail = format!(
                    "the inputs of the parts exceed {most} bytes, and without a store all are held in memory: set \
                     ORK_STORE"
                );
                return Err(CallError::Task(crate::task::Error::permanent(detail)));
            }
        }
        Ok(items)
    };
    flatten(futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(all)).await)
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

pub(super) fn too_many() -> crate::task::Error {
    let most = ledger::MOST_PARTS;
    crate::task::Error::permanent(format!("the split yields more than {most} parts, which is the maximum of a job"))
}

/// Groups items into pages, at most one page ahead of the store.
fn pages(engine: &Arc<Engine>, items: Items, size: usize) -> BoxStream<'static, Result<Vec<Bytes>, CallError>> {
    match items {
        Items::Stream(items) => stream_pages(engine, items, size),
        Items::Iterator(items) => iterator_pages(engine, items, size),
    }
}

fn stream_pages(
    engine: &Arc<Engine>,
    items: BoxStream<'static, Result<Bytes, CallError>>,
    size: usize,
) -> BoxStream<'static, Result<Vec<Bytes>, CallError>> {
    let state = (Some(items), FIRST_PAGE.min(size), Arc::clone(engine));
    futures_util::stream::unfold(state, move |(items, want, engine)| async move {
        let mut items = items?;
        let mut page = Vec::with_capacity(want);
        let mut full = engine.clock.pause(PAGE_TIME);
        loop {
            let next = tokio::select! {
                biased;
                item = items.next() => item,
                () = &mut full, if !page.is_empty() => {
                    return Some((Ok(page), (Some(items), (want * 2).min(size), engine)));
                }
            };
            match next {
                Some(Ok(item)) => page.push(item),
                Some(Err(error)) => return Some((Err(error), (None, want, engine))),
                None if page.is_empty() => return None,
                None => return Some((Ok(page), (None, want, engine))),
            }
            if page.len() >= want {
                return Some((Ok(page), (Some(items), (want * 2).min(size), engine)));
            }
        }
    })
    .boxed()
}

type IteratorItems = Box<dyn Iterator<Item = Result<Bytes, CallError>> + Send>;
/// A page, and the iterator over the items after it.
type Pulled = Result<(Vec<Bytes>, Option<IteratorItems>), CallError>;

/// While the store commits one page, the next one is pulled.
fn iterator_pages(
    engine: &Arc<Engine>,
    items: IteratorItems,
    size: usize,
) -> BoxStream<'static, Result<Vec<Bytes>, CallError>> {
    let want = FIRST_PAGE.min(size);
    let state = Some((pull(engine, items, want), want, Arc::clone(engine)));
    futures_util::stream::unfold(state, move |state| async move {
        let (pulled, want, engine) = state?;
        match pulled.await {
            Err(error) => Some((Err(error), None)),
            Ok((page, None)) => (!page.is_empty()).then_some((Ok(page), None)),
            Ok((page, Some(items))) => {
                let want = (want * 2).min(size);
                Some((Ok(page), Some((pull(&engine, items, want), want, engine))))
            }
        }
    })
    .boxed()
}

/// Starts to pull one page. The iterator may block, so it is pulled on a blocking thread.
fn pull(engine: &Engine, mut items: IteratorItems, want: usize) -> BoxFuture<'static, Pulled> {
    let clock = Arc::clone(&engine.clock);
    let pulled = engine.runtime.call_blocking(move || {
        let (begun, mut page) = (clock.now(), Vec::with_capacity(want));
        while let Some(item) = items.next() {
            page.push(item?);
            if page.len() >= want || clock.now() - begun > PAGE_TIME {
                return Ok((page, Some(items)));
            }
        }
        Ok((page, None))
    });
    Box::pin(async { flatten(pulled.await) })
}
